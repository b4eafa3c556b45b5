"""The flag of consensus re-ranking, for command lines that caption."""

import dataclasses
from typing import Any

from absl import flags, logging

from im2txt import (
    checkpoints,
    configuration,
    consensus,
    encoder_weights,
    encoders,
    file_system,
    shard_captions,
    shard_faults,
    shard_records,
    trained_model,
)

_CONSENSUS_FILE_PATTERN = flags.DEFINE_string(
    'consensus_file_pattern', None, 'Shards of features of captioned photos, '
    "as data_prep.cache_features makes them with the model's encoder; for "
    "example 'features/train-*'. Of the captions that are found the best is "
    'then the one that agrees most with those of the photos like the picture. '
    'It wants a beam of 5 or more.')


def shards(
    config: configuration.ModelConfig,
) -> configuration.ModelConfig | None:
  """A model's configuration to read the shards with, if there are any."""
  pattern = _CONSENSUS_FILE_PATTERN.value
  return pattern and dataclasses.replace(config, input_file_pattern=pattern)


def read(model: trained_model.TrainedModel) -> consensus.Consensus | None:
  """Reads the photos, if there are any.

  Args:
    model: whose encoder made their features.

  Raises:
    OSError: the model's encoder cannot be read.
    ValueError: the shards cannot be used, or another encoder made them.
  """
  config = shards(model.config)
  if not config:
    return None
  encoder_weights.check_features(
      config, checkpoints.read_scope(
          model.prefix, f'{encoders.make(config).scope}/'))
  logging.info('reading photos and captions of %s', config.input_file_pattern)
  return consensus.read(config, shard_captions.read(
      config.input_file_pattern, shard_faults.left_out(config)))


def settings() -> dict[str, Any]:
  """The flag and the shards that it names; nothing if it is not given."""
  if not _CONSENSUS_FILE_PATTERN.value:
    # As of before there was this flag.
    return {}
  return {_CONSENSUS_FILE_PATTERN.name: [
      file_system.abspath(file)
      for file in shard_records.find_shards(_CONSENSUS_FILE_PATTERN.value)]}
