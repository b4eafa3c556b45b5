"""The flag of consensus re-ranking, for commands that caption."""

import dataclasses
from typing import Any

from absl import flags, logging

from im2txt import configuration
from im2txt.files import file_system
from im2txt.inference import consensus, loaded_model
from im2txt.inputs import bad_records, captions, records

# The flags are the command's that constructs them, and in its --help.
flags.disclaim_key_flags()


class ConsensusFlags:
  """The flag of consensus re-ranking."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.consensus_file_pattern = flags.DEFINE_string(
        'consensus_file_pattern', None, 'Shards of features of captioned '
        "images, as data_prep.cache_features makes them with the model's "
        "encoder; for example 'features/train-*'. Of the captions that are "
        'found the best is then the one that agrees most with those of the '
        'images like the image. It wants a beam of 5 or more.',
        flag_values=values)

  def shards(
      self, config: configuration.ModelConfig
  ) -> configuration.ModelConfig | None:
    """Return a model's configuration to read the shards with, if any."""
    pattern = self.consensus_file_pattern.value
    if not pattern:
      return None
    return dataclasses.replace(config, input_file_pattern=pattern)

  def read(
      self, model: loaded_model.LoadedModel
  ) -> consensus.Consensus | None:
    """Read the images, if the flag names any.

    Args:
      model: whose encoder made their features.

    Raises:
      OSError: the model's encoder cannot be read.
      ValueError: the shards cannot be used, or another encoder made them.
    """
    config = self.shards(model.config)
    if not config or not config.input_file_pattern:
      return None
    model.check_features(config)
    logging.info('reading images and captions of %s', config.input_file_pattern)
    return consensus.read(config, captions.read(
        config.input_file_pattern, bad_records.left_out(config)))

  def settings(self) -> dict[str, Any]:
    """Return the shards by the flag's name; nothing if it is not given."""
    pattern = self.consensus_file_pattern.value
    if not pattern:
      # As of before there was this flag.
      return {}
    return {self.consensus_file_pattern.name: [
        file_system.abspath(file) for file in records.find_shards(pattern)]}
