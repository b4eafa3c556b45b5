"""Flags of the model and the search, for command lines that give captions."""

from typing import Any

from absl import flags

from im2txt import beam_search, search_flags, trained_model

flags.adopt_module_key_flags(search_flags)
_CHECKPOINT_PATH = flags.DEFINE_string(
    'checkpoint_path', None, 'A checkpoint, or a run folder whose newest one '
    'is used.', required=True)
_VOCAB_FILE = flags.DEFINE_string(
    'vocab_file', None, 'The vocabulary. Default: the one in the run folder.')
_NUM_CAPTIONS = flags.DEFINE_integer(
    'num_captions', None, 'Captions of each picture, at most --beam_size. '
    'Default: as many.', lower_bound=1)


def model() -> trained_model.TrainedModel:
  """The model and its vocabulary.

  Raises:
    OSError: there is no such checkpoint, or the vocabulary can't be read.
    ValueError: the vocabulary is not of the model.
  """
  return trained_model.find(_CHECKPOINT_PATH.value, _VOCAB_FILE.value)


def options() -> beam_search.Options:
  """How to search.

  Raises:
    ValueError: flags that contradict each other.
  """
  return search_flags.options(_NUM_CAPTIONS.value)


def settings() -> dict[str, Any]:
  """What captions depend on but for the checkpoint, by the flags' names."""
  return search_flags.settings() | {
      flag.name: flag.value for flag in (_VOCAB_FILE, _NUM_CAPTIONS)}
