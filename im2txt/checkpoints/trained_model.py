"""A trained model as command lines are given it: a checkpoint and its words."""

import importlib.resources
import os
from typing import NamedTuple

from im2txt import configuration
from im2txt.checkpoints import folder as checkpoints
from im2txt.checkpoints import packed_model
from im2txt.files import file_system
from im2txt.models import captioner
from im2txt.text import vocabulary

# The model that comes with the package; a card in the folder describes it.
PRETRAINED = str(importlib.resources.files('im2txt') / 'pretrained')


class TrainedModel(NamedTuple):
  """What one needs to build the graph and to restore it."""

  prefix: str  # The checkpoint.
  config: configuration.ModelConfig
  vocab: vocabulary.Vocabulary


def find(checkpoint_path: str, vocab_file: str | None) -> TrainedModel:
  """Finds what belongs to a checkpoint.

  Args:
    checkpoint_path: checkpoint, or run folder whose newest one is meant. A
      checkpoint of im2txt itself has no configuration beside it; its own is
      taken.
    vocab_file: the vocabulary; None: the one beside the checkpoint.

  Raises:
    OSError: there is no such checkpoint, or the vocabulary can't be read.
    ValueError: there is no vocabulary, or it has more words than the model
      has outputs.
  """
  prefix = checkpoints.latest(checkpoint_path)
  config = _load_config(prefix)
  return TrainedModel(prefix, config, load_vocabulary(
      config, os.path.dirname(prefix), vocab_file))


def _load_config(prefix: str) -> configuration.ModelConfig:
  folder = os.path.dirname(prefix)
  if packed_model.is_packed(prefix) or file_system.exists(
      os.path.join(folder, configuration.CONFIG_FILE)):
    return captioner.load_config(folder).model
  return checkpoints.im2txt_config(prefix)


def load_vocabulary(
    config: configuration.ModelConfig, folder: str, vocab_file: str | None
) -> vocabulary.Vocabulary:
  """Reads a model's vocabulary.

  Args:
    config: the model.
    folder: its run folder.
    vocab_file: the vocabulary; None: the one in the folder.

  Raises:
    OSError: it cannot be read.
    ValueError: there is none, or it has more words than the model has
      outputs.
  """
  if vocab_file is None:
    vocab_file = os.path.join(folder, vocabulary.FILE_NAME)
    if not file_system.exists(vocab_file):
      raise ValueError(f'{vocab_file} does not exist; give --vocab_file')
  vocab = vocabulary.Vocabulary(
      vocab_file, config.start_word, config.end_word, config.unknown_word)
  if len(vocab) > config.vocab_size:
    raise ValueError(
        f'{vocab_file} has {len(vocab)} words, the unknown one included, but '
        f'the model in {folder} has outputs for {config.vocab_size}: it is '
        'not the vocabulary of this model')
  return vocab
