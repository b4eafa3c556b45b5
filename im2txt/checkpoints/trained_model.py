"""A trained model: a checkpoint, its configuration and its vocabulary."""

import importlib.resources
import os
from typing import NamedTuple

from im2txt import configuration
from im2txt.checkpoints import packed_model, run_folder
from im2txt.checkpoints.folder import latest
from im2txt.checkpoints.reader import Reader
from im2txt.files import file_system
from im2txt.models.captioner import Captioner
from im2txt.text import vocabulary

# The model that comes with the package; a card in the folder describes it.
PRETRAINED = str(importlib.resources.files('im2txt') / 'pretrained')


class TrainedModel(NamedTuple):
  """What it takes to build the graph, to restore it and to read its words."""

  prefix: str  # The checkpoint or packed model.
  captioner: Captioner
  vocab: vocabulary.Vocabulary

  @property
  def config(self) -> configuration.ModelConfig:
    """The configuration of the model."""
    return self.captioner.config


def find(checkpoint_path: str, vocab_file: str | None) -> TrainedModel:
  """Find a checkpoint, its configuration and its vocabulary.

  Args:
    checkpoint_path: checkpoint, packed model, or a folder whose newest one is
      meant. A checkpoint of im2txt itself has no configuration beside it; it
      is derived from its shapes.
    vocab_file: the vocabulary; None: the one beside the checkpoint.

  Raises:
    OSError: there is no such checkpoint, or the vocabulary can't be read.
    ValueError: there is no vocabulary, or it has more words than the model
      has outputs.
  """
  prefix = latest(checkpoint_path)
  config = load_config(prefix).model
  return TrainedModel(prefix, Captioner(config), load_vocabulary(
      config, os.path.dirname(prefix), vocab_file))


def load_config(prefix: str) -> configuration.Config:
  """Read the configuration beside a checkpoint, or derive im2txt's.

  Args:
    prefix: the checkpoint or packed model.

  Raises:
    ValueError: it has a mistake, or there is none and the checkpoint is not
      im2txt's.
  """
  folder = os.path.dirname(prefix)
  if packed_model.is_packed(prefix) or file_system.exists(
      os.path.join(folder, configuration.CONFIG_FILE)):
    return run_folder.load_config(folder)
  return configuration.Config(model=im2txt_config(prefix))


def im2txt_config(prefix: str) -> configuration.ModelConfig:
  """Derive the configuration of an im2txt checkpoint from its shapes.

  Args:
    prefix: a checkpoint of Show and Tell without a `config.json` beside it.

  Raises:
    ValueError: it is no such checkpoint.
  """
  shapes = Reader(prefix).shapes
  try:
    vocab_size, embedding_size = shapes['seq_embedding/map']
    num_lstm_units, _ = shapes['logits/weights']
  except KeyError as error:
    raise ValueError(
        f'{prefix} has no variable {error} and no config.json beside it; is '
        'it an im2txt checkpoint?') from None
  return configuration.ModelConfig(
      vocab_size=vocab_size, embedding_size=embedding_size,
      num_lstm_units=num_lstm_units)


def load_vocabulary(
    config: configuration.ModelConfig, folder: str, vocab_file: str | None
) -> vocabulary.Vocabulary:
  """Read a model's vocabulary.

  Args:
    config: the model.
    folder: its run folder.
    vocab_file: the vocabulary; None: the one in the folder.

  Raises:
    OSError: it cannot be read.
    ValueError: there is none, it is not the one in the folder, or it has more
      words than the model has outputs.
  """
  markers = (config.start_word, config.end_word, config.unknown_word)
  own = os.path.join(folder, vocabulary.FILE_NAME)
  has_own = file_system.exists(own)
  if vocab_file is None:
    if not has_own:
      raise ValueError(f'{own} does not exist; give --vocab_file')
    vocab_file = own
  vocab = vocabulary.Vocabulary(vocab_file, *markers)
  if has_own and vocab != vocabulary.Vocabulary(own, *markers):
    raise ValueError(
        f'--vocab_file={vocab_file} has other words than the vocabulary of the '
        f'model, {own}; leave the flag out')
  if len(vocab) > config.vocab_size:
    raise ValueError(
        f'{vocab_file} has {len(vocab)} words, the unknown one included, but '
        f'the model in {folder} has outputs for {config.vocab_size}: it is '
        'not the vocabulary of this model')
  return vocab
