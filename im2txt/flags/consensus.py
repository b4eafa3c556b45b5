"""The flag of consensus re-ranking, for command lines that caption."""

import dataclasses
from typing import Any

from absl import flags, logging

from im2txt import configuration
from im2txt.files import file_system
from im2txt.inference import consensus, loaded_model
from im2txt.inputs import bad_records
from im2txt.inputs import captions as shard_captions
from im2txt.inputs import records as shard_records

_CONSENSUS_FILE_PATTERN = flags.DEFINE_string(
    'consensus_file_pattern', None, 'Shards of features of captioned images, '
    "as data_prep.cache_features makes them with the model's encoder; for "
    "example 'features/train-*'. Of the captions that are found the best is "
    'then the one that agrees most with those of the images like the image. '
    'It wants a beam of 5 or more.')


def shards(
    config: configuration.ModelConfig,
) -> configuration.ModelConfig | None:
  """A model's configuration to read the shards with, if there are any."""
  pattern = _CONSENSUS_FILE_PATTERN.value
  return pattern and dataclasses.replace(config, input_file_pattern=pattern)


def read(model: loaded_model.LoadedModel) -> consensus.Consensus | None:
  """Reads the images, if there are any.

  Args:
    model: whose encoder made their features.

  Raises:
    OSError: the model's encoder cannot be read.
    ValueError: the shards cannot be used, or another encoder made them.
  """
  config = shards(model.config)
  if not config:
    return None
  model.check_features(config)
  logging.info('reading images and captions of %s', config.input_file_pattern)
  return consensus.read(config, shard_captions.read(
      config.input_file_pattern, bad_records.left_out(config)))


def settings() -> dict[str, Any]:
  """The flag and the shards that it names; nothing if it is not given."""
  if not _CONSENSUS_FILE_PATTERN.value:
    # As of before there was this flag.
    return {}
  return {_CONSENSUS_FILE_PATTERN.name: [
      file_system.abspath(file)
      for file in shard_records.find_shards(_CONSENSUS_FILE_PATTERN.value)]}
