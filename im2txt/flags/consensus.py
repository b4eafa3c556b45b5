"""The flag of consensus re-ranking, for commands that caption."""

from typing import Any

from absl import flags, logging

from im2txt.files import file_system
from im2txt.inference import consensus
from im2txt.inference.loaded_model import LoadedModel
from im2txt.inputs import bad_records, captions
from im2txt.inputs.shards import Shards

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
        'most similar images in the shards. It wants a beam of 5 or more.',
        flag_values=values)

  def shards(self, bad_records: str) -> Shards | None:
    """Find the shards, if the flag names any.

    Args:
      bad_records: see `Shards`.

    Raises:
      ValueError: as of `Shards.find`.
    """
    pattern = self.consensus_file_pattern.value
    return Shards.find(pattern, bad_records) if pattern else None

  def read(
      self, shards: Shards | None, model: LoadedModel
  ) -> consensus.Consensus | None:
    """Read the images, if there are any.

    Args:
      shards: of their features.
      model: whose encoder made their features.

    Raises:
      OSError: the model's encoder cannot be read.
      ValueError: the shards cannot be used, or another encoder made them.
    """
    if shards is None:
      return None
    model.check_features(shards)
    logging.info('reading images and captions of %s', shards.pattern)
    return consensus.read(shards, model.config, captions.read(
        shards, bad_records.left_out(shards, model.config)))

  def settings(self, shards: Shards | None) -> dict[str, Any]:
    """Return the shards by the flag's name; nothing if there are none."""
    # Nothing, as before there was this flag.
    return {self.consensus_file_pattern.name: [
        file_system.abspath(file) for file in shards.files]} if shards else {}
