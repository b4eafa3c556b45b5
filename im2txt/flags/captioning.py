"""Flags of the models and of the search, for commands that give captions."""

from typing import Any

from absl import flags, logging

from im2txt.flags.search import SearchFlags
from im2txt.inference import loaded_model
from im2txt.search import beam_search

# The flags are the command's that constructs them, and in its --help.
flags.disclaim_key_flags()


class CaptioningFlags:
  """Flags of the models and of the search."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.search = SearchFlags(values)
    self.checkpoint_path = flags.DEFINE_multi_string(
        'checkpoint_path', None, 'A checkpoint, or a run folder whose newest '
        'one is used. Given several times, the models choose each word '
        'together. Default: the model that comes with the package, a small one '
        'for images of people and dogs, for research use (im2txt/pretrained).',
        flag_values=values)
    self.vocab_file = flags.DEFINE_string(
        'vocab_file', None, 'The vocabulary. Default: the one in the run '
        'folder.', flag_values=values)
    self.num_captions = flags.DEFINE_integer(
        'num_captions', None, 'Captions of each image, at most --beam_size. '
        'Default: as many.', lower_bound=1, flag_values=values)

  def model(self) -> loaded_model.LoadedModel:
    """Find the model, or the models that choose each word together.

    Raises:
      OSError: there is no such checkpoint, or the vocabulary can't be read.
      ValueError: the vocabulary is not of the model, or the models cannot be
        used together.
    """
    if not self.checkpoint_path.value:
      if self.vocab_file.value:
        raise ValueError('--vocab_file is of a model of your own, whose '
                         '--checkpoint_path is missing')
      logging.info('no --checkpoint_path: the model that comes with the '
                   'package, for research use')
      return loaded_model.load()
    return loaded_model.load(self.checkpoint_path.value, self.vocab_file.value)

  def options(self) -> beam_search.Options:
    """Return how to search.

    Raises:
      ValueError: flags that contradict each other.
    """
    return self.search.options(self.num_captions.value)

  def settings(self) -> dict[str, Any]:
    """Return what captions depend on, but for the checkpoint, by flag."""
    return self.search.settings() | {
        flag.name: flag.value for flag in (self.vocab_file, self.num_captions)}
