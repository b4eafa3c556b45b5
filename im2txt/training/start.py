"""The start of a run: configuration, vocabulary, values of variables."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from im2txt import configuration, encoders
from im2txt.checkpoints import (
    encoder_weights,
    names,
    restore,
    run_folder,
    trained_model,
    variable_loader,
)
from im2txt.checkpoints import folder as checkpoints
from im2txt.files import file_system
from im2txt.inputs import captions
from im2txt.inputs.shards import Shards
from im2txt.models.captioner import Captioner
from im2txt.text import caption_styles, vocabulary
from im2txt.training import optimization, word_initialization

tf1 = tf.compat.v1


class Start(NamedTuple):
  """What a run starts from."""

  config: configuration.Config  # final
  captioner: Captioner          # of `config.model`
  shards: Shards                # to train on
  checkpoint: str | None        # newest of the run folder, else the initial one
  vocab_file: str | None
  # Initial values of a new run by variable name, beside the encoder's.
  first_values: Mapping[str, np.ndarray]


def find(
    config: configuration.Config, train_dir: str, vocab_file: str | None,
    init_checkpoint: str | None, needs_encoder_weights: bool,
) -> Start:
  """Find what a run starts from, and check that it fits together.

  Args:
    config: as it was written; `resolve` makes the final one. Its
      `input_file_pattern` and `bad_records` name the shards.
    train_dir: the run folder.
    vocab_file: the vocabulary, or None to look for it.
    init_checkpoint: a checkpoint or run folder that a new run starts from.
    needs_encoder_weights: whether to refuse an encoder of random weights.

  Raises:
    ValueError: shards, vocabulary, checkpoint and configuration do not fit
      together, or nothing gives the encoder the weights that it needs.
    OSError: a file is missing.
  """
  encoder = encoders.make(config.model)
  found = checkpoints.newest(train_dir)
  checkpoint = found or (
      init_checkpoint and checkpoints.latest(init_checkpoint))
  if needs_encoder_weights and not checkpoint:
    check_encoder(config.model, encoder)
  shards = Shards.find(
      config.model.input_file_pattern, config.model.bad_records)
  vocab_file = find_vocabulary(shards, vocab_file, checkpoint)
  config = resolve(
      config, encoder.image_side, vocab_file, resumes=found is not None)
  if vocab_file and checkpoint:
    check_vocabulary(vocab_file, checkpoint)
  if vocab_file:
    captions.check_markers(
        shards, config.model.caption_feature_name, vocabulary.Vocabulary(
            vocab_file, config.model.start_word, config.model.end_word,
            config.model.unknown_word))
  first_values = {}
  if init_checkpoint:
    check_first_values(config.model)
  elif not found:
    first_values = word_initialization.first_values(config.model, vocab_file)
  return Start(config, Captioner(config.model, encoder), shards, checkpoint,
               vocab_file, first_values)


def critical_vocabulary(train_dir: str, start: Start) -> vocabulary.Vocabulary:
  """Read the vocabulary of the captions that self-critical training draws.

  Raises:
    ValueError: there is no trained model to start from, or no vocabulary.
  """
  if start.checkpoint is None:
    raise ValueError('--self_critical improves a model that has been trained; '
                     'give its checkpoint as --init_checkpoint')
  return needed_vocabulary(train_dir, start, '--self_critical')


def needed_vocabulary(
    train_dir: str, start: Start, flag: str
) -> vocabulary.Vocabulary:
  """Read the vocabulary that a flag needs.

  Raises:
    ValueError: there is none.
  """
  if start.vocab_file is None:
    raise ValueError(f'{flag} needs the vocabulary; give --vocab_file')
  return trained_model.load_vocabulary(
      start.config.model, train_dir, start.vocab_file)


def initial_config(prefix: str) -> configuration.Config | None:
  """Read the configuration beside a checkpoint to start from, if any."""
  folder = os.path.dirname(prefix)
  if not file_system.exists(os.path.join(folder, configuration.CONFIG_FILE)):
    return None
  config = run_folder.load_config(folder)
  # The checkpoint has the values of the word layers.
  return dataclasses.replace(config, model=dataclasses.replace(
      config.model, word_vectors_file=None, bias_from_counts=False))


def find_vocabulary(
    shards: Shards, vocab_file: str | None, begins_with: str | None
) -> str | None:
  """Find the vocabulary of the training shards.

  Args:
    shards: to train on.
    vocab_file: the vocabulary, or None to look beside the shards and then
      beside the checkpoint.
    begins_with: the checkpoint that training begins with, if any.

  Returns:
    The file, or None if none was named or found.

  Raises:
    ValueError: the one that was named has other words than the shards'.
  """
  if vocab_file and shards.vocab_file and not _have_same_words(
      vocab_file, shards.vocab_file):
    raise ValueError(
        f'--vocab_file={vocab_file} has other words than the vocabulary of the '
        f'shards, {shards.vocab_file}; leave the flag out')
  if vocab_file or shards.vocab_file:
    return vocab_file or shards.vocab_file
  if begins_with:
    beside = os.path.join(os.path.dirname(begins_with), vocabulary.FILE_NAME)
    if file_system.exists(beside):
      return beside
  return None


def resolve(
    config: configuration.Config, image_side: int, vocab_file: str | None,
    resumes: bool,
) -> configuration.Config:
  """Return the final configuration, which nothing changes afterwards.

  Image sides of 0 become the encoder's, a `vocab_size` of 0 the vocabulary's,
  an `embedding_size` of 0 the width of the word vectors, and the markers those
  of the vocabulary's captions.

  Args:
    config: as it was written.
    image_side: pixels, that of the encoder.
    vocab_file: the vocabulary, if there is one.
    resumes: whether the run has a checkpoint, so that its width is known.

  Raises:
    OSError: a file cannot be read.
    ValueError: the vocabulary has more words than the model outputs, a size
      cannot be known, or a number is too small or too large.
  """
  model = config.model
  markers = configuration.Markers(
      model.start_word, model.end_word, model.unknown_word)
  vocab_size = 0
  if vocab_file:
    style = caption_styles.read(vocab_file)
    if style:
      markers = configuration.Markers(
          style.start_word, style.end_word, style.unknown_word)
    vocab_size = len(vocabulary.Vocabulary(vocab_file, *markers))
    if vocab_size > model.vocab_size > 0:
      raise ValueError(
          f'{vocab_file} has {vocab_size} words, the unknown one included, but '
          f'vocab_size is {model.vocab_size}')
  elif model.vocab_size == 0:
    raise ValueError(
        'vocab_size is 0, the size of the vocabulary; give --vocab_file')
  embedding_size = model.embedding_size
  if not (resumes and embedding_size):
    embedding_size = word_initialization.find_width(model)
  return configuration.resolve(
      config, image_side, markers, vocab_size, embedding_size)


def check_vocabulary(vocab_file: str, prefix: str) -> None:
  """Refuse to go on with word ids that mean other words.

  Args:
    vocab_file: the shards' vocabulary.
    prefix: the checkpoint that training begins with.

  Raises:
    ValueError: it was trained with another vocabulary.
  """
  copy = os.path.join(os.path.dirname(prefix), vocabulary.FILE_NAME)
  if not file_system.exists(copy):
    logging.warning(
        '%s is not there: whether %s was trained with the words of %s is not '
        'known', copy, prefix, vocab_file)
  elif not _have_same_words(vocab_file, copy):
    raise ValueError(
        f'{vocab_file} is not the vocabulary that {prefix} was trained with, '
        f'{copy}; build the shards with that one, or begin anew: another '
        '--train_dir, no --init_checkpoint')


def _have_same_words(vocab_file: str, other: str) -> bool:
  return vocabulary.read_words(vocab_file) == vocabulary.read_words(other)


def save_run_files(
    config: configuration.Config, vocab_file: str | None, train_dir: str
) -> None:
  """Write the files of a run folder that later commands need.

  Args:
    config: the system.
    vocab_file: its vocabulary, if there is one.
    train_dir: the run folder.
  """
  configuration.save(configuration.with_absolute_paths(config), train_dir)
  copy = os.path.join(train_dir, vocabulary.FILE_NAME)
  if vocab_file and not _is_same(vocab_file, copy):
    vocabulary.copy(vocab_file, train_dir)


def _is_same(path: str, other: str) -> bool:
  return file_system.exists(other) and file_system.same(path, other)


def check_encoder(
    config: configuration.ModelConfig, encoder: encoders.Encoder
) -> None:
  """Refuse to train on a frozen encoder of random weights.

  Raises:
    ValueError: the encoder has no pretrained weights.
  """
  if encoder_weights.find(config, encoder):
    return
  raise ValueError(
      f'the encoder {config.encoder} is frozen but has no pretrained weights: '
      'get them with `python -m data_prep.download inception_v3` and give '
      '--inception_checkpoint_file, or use '
      '--config.model.encoder=efficientnet_lite0, which brings its own '
      '(--allow_random_encoder trains all the same)')


def check_first_values(config: configuration.ModelConfig) -> None:
  """Refuse initial values of word layers that a checkpoint has values of.

  Raises:
    ValueError: the configuration asks for some.
  """
  for name, off in (('word_vectors_file', "''"), ('bias_from_counts', 'false')):
    if getattr(config, name):
      raise ValueError(
          f'--init_checkpoint has values of the words already, which {name} '
          f'would replace; give --config.model.{name}={off}')


def make_init_fn(
    captioner: Captioner,
    train_dir: str,
    init_checkpoint: str | None,
    shards: Iterable[Shards | None],
    first_values: Mapping[str, np.ndarray],
) -> variable_loader.RestoreFn:
  """Make the function that gives variables their values in a new session.

  Values come from the first of these that there is:

  1. the newest checkpoint of the run folder (resume);
  2. the initial checkpoint (warm start, at step 0);
  3. the encoder's pretrained weights, beside `first_values`.

  Only variables without a value then are initialised: in a cluster other
  processes may already train the rest.

  Args:
    captioner: the model.
    train_dir: the run folder.
    init_checkpoint: the initial checkpoint, if any.
    shards: those to train on, and those to evaluate on if any; cached features
      must be of these values.
    first_values: initial values of other variables by name.

  Returns:
    The function. It raises ValueError where values do not fit.
  """
  variables = tf1.global_variables()
  loader = variable_loader.VariableLoader(variables)

  def init(session: tf1.Session) -> None:
    values = _read_values(
        captioner, train_dir, init_checkpoint, first_values, variables)
    for one in filter(None, shards):
      encoder_weights.check_features(
          captioner.config, captioner.encoder, one, values)
    optimization.fill_missing_slots(variables, values)
    session.run([v.initializer for v in variables
                 if v.op.name not in values])
    loader.load(session, values)

  return init


def _read_values(
    captioner: Captioner,
    train_dir: str,
    init_checkpoint: str | None,
    first_values: Mapping[str, np.ndarray],
    variables: Sequence[tf.Variable],
) -> dict[str, np.ndarray]:
  """Read the values that variables start with; see `make_init_fn`."""
  found = checkpoints.newest(train_dir)
  if found:
    logging.info('Resuming from %s', found)
    return restore.read_values(
        found, variables, f'{names.VARIABLE_SCOPE}/')
  if init_checkpoint:
    prefix = checkpoints.latest(init_checkpoint)
    logging.info('Starting warm from %s, at step 0', prefix)
    model_variables = [
        v for v in variables if v is not tf1.train.get_global_step()
        and not v.op.name.startswith(f'{names.VARIABLE_SCOPE}/')]
    return restore.read_values(prefix, model_variables, averaged=True)
  encoder = captioner.encoder
  weights = encoder_weights.find(captioner.config, encoder)
  if weights:
    logging.info('Starting from scratch, with a pretrained encoder')
    return encoder_weights.read(
        encoder, weights, encoder_weights.variables(encoder)) | first_values
  logging.info('Starting from scratch, with a random encoder')
  return dict(first_values)
