"""Flags of the model and the search, for command lines that give captions."""

from typing import Any

from absl import flags, logging

from im2txt.flags import search as search_flags
from im2txt.inference import loaded_model
from im2txt.search import beam_search

flags.adopt_module_key_flags(search_flags)
_CHECKPOINT_PATH = flags.DEFINE_multi_string(
    'checkpoint_path', None, 'A checkpoint, or a run folder whose newest one '
    'is used. Given several times, the models choose each word together. '
    'Default: the model that comes with the package, a small one for images '
    'of people and dogs, for research use (im2txt/pretrained).')
_VOCAB_FILE = flags.DEFINE_string(
    'vocab_file', None, 'The vocabulary. Default: the one in the run folder.')
_NUM_CAPTIONS = flags.DEFINE_integer(
    'num_captions', None, 'Captions of each image, at most --beam_size. '
    'Default: as many.', lower_bound=1)


def model() -> loaded_model.LoadedModel:
  """Find the model, or models, that the flags name.

  Raises:
    OSError: there is no such checkpoint, or the vocabulary can't be read.
    ValueError: the vocabulary is not of the model, or the models cannot be
      used together.
  """
  if not _CHECKPOINT_PATH.value:
    if _VOCAB_FILE.value:
      raise ValueError('--vocab_file is of a model of your own, whose '
                       '--checkpoint_path is missing')
    logging.info('no --checkpoint_path: the model that comes with the package, '
                 'for research use')
    return loaded_model.load()
  return loaded_model.load(_CHECKPOINT_PATH.value, _VOCAB_FILE.value)


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
