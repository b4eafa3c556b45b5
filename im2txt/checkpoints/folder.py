"""From checkpoint files to variables, whatever age their names are.

Every restore says what it restored, what it left as initialised and what it
did not use, and stops at anything it was not told to skip.
"""

import contextlib
import functools
import glob
import math
import os
import re
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
from absl import logging

from im2txt import configuration
from im2txt.checkpoints import names, packed_model
from im2txt.checkpoints.variable_loader import RestoreFn, VariableLoader
from im2txt.files import atomic_files, file_system
from im2txt.inputs import graph_errors

tf1 = tf.compat.v1

CHECKPOINT_NAME = 'model.ckpt'

# What opening a damaged checkpoint raises.
_UNREADABLE = (tf.errors.OpError, RuntimeError, ValueError)


def latest(path: str) -> str:
  """Finds the checkpoint that a path means.

  Args:
    path: a folder, whose newest checkpoint or packed model is meant, a
      checkpoint's prefix (`model.ckpt-1000`) or one of its files.

  Returns:
    The checkpoint's prefix, or the packed model's file.

  Raises:
    FileNotFoundError: there is none.
  """
  if file_system.isdir(path):
    packed = os.path.join(path, packed_model.FILE_NAME)
    found = newest(path) or (file_system.exists(packed) and packed)
    if not found:
      raise FileNotFoundError(f'{path}: no checkpoint in this folder')
    return found
  prefix = re.sub(r'\.(index|meta|data-\d{5}-of-\d{5})$', '', path)
  if not (file_system.exists(f'{prefix}.index')
          or file_system.exists(prefix)):
    raise FileNotFoundError(f'{path}: no such checkpoint')
  return prefix


def step_of(prefix: str) -> int:
  """The step in a checkpoint's name, 0 if it has none."""
  match = re.search(r'-(\d+)$', prefix)
  return int(match[1]) if match else 0


def all_in(folder: str) -> list[str]:
  """Prefixes of the checkpoints that a training run left in its folder."""
  if not file_system.isdir(folder):
    return []
  # No glob: the folder's own name may hold brackets.
  pattern = re.compile(rf'({re.escape(CHECKPOINT_NAME)}-\d+)\.index')
  return sorted((os.path.join(folder, match[1])
                 for name in file_system.listdir(folder)
                 if (match := pattern.fullmatch(name))), key=step_of)


def newest(folder: str) -> str | None:
  """Prefix of a folder's newest whole checkpoint, if there is one.

  That is the one that the folder's `checkpoint` file names, which is written
  last; without such a file, or if that one is damaged, the one of the highest
  step. What is passed over is said. If none is whole it is the first choice,
  so that whoever reads it stops there.
  """
  passed_over = []
  state = os.path.join(folder, 'checkpoint')
  named = _named(folder)
  if named is None and file_system.exists(state):
    passed_over.append(f'{state} names no checkpoint')
  # Listed after the file is read: training may be saving meanwhile.
  prefixes = [prefix for prefix in all_in(folder)[::-1] if prefix != named]
  choices = [named, *prefixes] if named else prefixes
  for prefix in choices:
    damage = _damage(prefix)
    if damage is None:
      if passed_over:
        _warn_once(f'{"; ".join(passed_over)}: taking {prefix}, the newest '
                   'whole checkpoint')
      return prefix
    passed_over.append(damage)
  return choices[0] if choices else None


def _named(folder: str) -> str | None:
  """Prefix of the checkpoint that the folder's `checkpoint` file names."""
  try:
    state = tf.train.get_checkpoint_state(folder)
  except ValueError:  # It is empty, or no text.
    return None
  # Of the path only the name: the folder may be moved or a copy.
  return state and os.path.join(
      folder, os.path.basename(state.model_checkpoint_path))


def _damage(prefix: str) -> str | None:
  """Why a checkpoint is not whole, as far as sizes tell; None: it is."""
  try:
    reader = tf1.train.NewCheckpointReader(prefix)
    shapes = reader.get_variable_to_shape_map()
  except _UNREADABLE as error:
    return f'{prefix} is no readable checkpoint: {_first_line(error)}'
  if not file_system.exists(f'{prefix}.index'):  # Format V1, in one file.
    return None
  types = reader.get_variable_to_dtype_map()
  # A text's size is not known, and none of ours is one.
  expected = sum(math.prod(shape) * types[name].size
                 for name, shape in shapes.items())
  there = sum(map(file_system.size, _data_files(prefix)))
  if there < expected:
    return f'{prefix} has {there} of {expected} bytes'
  return None


def _data_files(prefix: str) -> list[str]:
  """The files of values, without those that a killed process left behind."""
  return file_system.glob(f'{glob.escape(prefix)}.data-?????-of-?????')


def remove_leftovers(folder: str) -> None:
  """Removes what a training left that was killed while it saved."""
  for file in file_system.glob(os.path.join(
      glob.escape(folder), f'{CHECKPOINT_NAME}-*.tempstate*')):
    file_system.remove(file)


@functools.cache
def _warn_once(message: str) -> None:
  logging.warning('%s', message)


class Reader:
  """A checkpoint's values by today's names."""

  def __init__(self, prefix: str, averaged: bool = False):
    """Opens a checkpoint, format V1 or V2.

    Args:
      prefix: the checkpoint.
      averaged: whether to read, of variables that have one, the moving
        average; it is then known by the variable's name only.

    Raises:
      ValueError: it cannot be read.
    """
    self._prefix = prefix
    try:
      self._reader = tf1.train.NewCheckpointReader(prefix)
    except _UNREADABLE as error:
      raise ValueError(f'{prefix} is no readable checkpoint: '
                       f'{_first_line(error)}') from None
    theirs = self._reader.get_variable_to_shape_map()
    today = {old: name for name, olds in names.LEGACY_NAMES.items()
             for old in olds}
    self._names = {today.get(name, name): name for name in theirs}
    if averaged:
      for name in theirs:
        average = names.average_name(name)
        if average in theirs:
          self._names[name] = self._names.pop(average)
    self.shapes = {ours: list(theirs[name])
                   for ours, name in self._names.items()}

  def value(self, name: str) -> np.ndarray:
    """Reads a variable's value.

    Raises:
      ValueError: its bytes are missing or damaged.
    """
    try:
      return self._reader.get_tensor(self._names[name])
    except (tf.errors.OpError, RuntimeError, IndexError) as error:
      raise ValueError(f'{self._prefix}: {name} cannot be read: '
                       f'{_first_line(error)}') from None


def read_values(
    prefix: str,
    variables: Iterable[tf.Variable],
    may_be_absent: str | None = None,
    averaged: bool = False,
    scope: str = '',
) -> dict[str, np.ndarray]:
  """Reads the values of variables and logs what comes from where.

  Args:
    prefix: the checkpoint.
    variables: those wanted.
    may_be_absent: pattern of the names that need not be in the checkpoint.
    averaged: see `Reader`.
    scope: how the variables' names begin beyond those in the checkpoint.

  Returns:
    Values by variable name.

  Raises:
    ValueError: the checkpoint lacks a variable, has one of another shape, or
      has one that the model does not know.
  """
  reader = _open(prefix, averaged)
  wanted = {v.op.name.removeprefix(scope): v.shape.as_list()
            for v in variables}
  absent = sorted(wanted.keys() - reader.shapes.keys())
  unused = sorted(reader.shapes.keys() - wanted.keys())
  needed = [name for name in absent
            if not (may_be_absent and re.match(may_be_absent, name))]
  if needed:
    raise ValueError(f'{prefix} lacks {_list(needed)}: it is of another model')
  unknown = [name for name in unused if not names.TRAINING_ONLY.search(name)]
  if unknown:
    raise ValueError(f'{prefix} holds {_list(unknown)}, which this model does '
                     'not have: it is of another model')
  restored = sorted(wanted.keys() - set(absent))
  for name in restored:
    if reader.shapes[name] != wanted[name]:
      raise ValueError(
          f'{prefix}: {name} has shape {reader.shapes[name]}, but the '
          f'configuration asks for {wanted[name]}')
  logging.info('%s: restored %d variables; left as initialised: %s; not used: '
               '%s', prefix, len(restored), _list(absent), _list(unused))
  return {scope + name: reader.value(name) for name in restored}


def read_scope(prefix: str, scope: str) -> dict[str, np.ndarray]:
  """Reads all values of a scope, as captioning does.

  Args:
    prefix: the checkpoint or packed model.
    scope: how the variables' names begin.

  Returns:
    Values by variable name.

  Raises:
    OSError: a packed model is not there.
    ValueError: it cannot be read.
  """
  reader = _open(prefix, averaged=True)
  return {name: reader.value(name) for name in reader.shapes
          if name.startswith(scope)}


def _open(prefix: str, averaged: bool) -> Reader | packed_model.Reader:
  return (packed_model.Reader(prefix) if packed_model.is_packed(prefix)
          else Reader(prefix, averaged))


def inference_restorer(prefix: str, scope: str = '') -> RestoreFn:
  """Makes a function that restores all of the graph's model for captioning.

  Args:
    prefix: the checkpoint; it may lack the step, which captions need not. Of
      weights that have a moving average that is taken.
    scope: how the names of the model's variables begin beyond those in the
      checkpoint, where the graph has other models too.
  """
  variables = [v for v in tf1.global_variables()
               if v.op.name.startswith(scope)]
  loader = VariableLoader(variables)
  return lambda session: loader.load(session, read_values(
      prefix, variables, f'{tf1.GraphKeys.GLOBAL_STEP}$', averaged=True,
      scope=scope))


@contextlib.contextmanager
def explained_errors(folder: str) -> Iterator[None]:
  """Turns what TensorFlow says of a full disk into a line about the folder.

  Args:
    folder: where checkpoints are being saved.

  Raises:
    OSError: one could not be saved.
  """
  try:
    yield
  except tf.errors.ResourceExhaustedError as error:
    reason = graph_errors.reason(error)
    if reason.startswith('OOM'):  # Memory; the traceback says whose.
      raise
    raise OSError(
        f'{folder}: no checkpoint could be saved: {reason}; the last one is '
        f'{newest(folder)}. Make room, and the same command goes on from it'
    ) from None


def keep_only(prefix: str, folder: str) -> None:
  """Copies a checkpoint into a folder of its own.

  Args:
    prefix: the checkpoint, format V2.
    folder: made if it is not there; checkpoints that it has are deleted once
      the new one is whole.
  """
  file_system.makedirs(folder)
  old = set(all_in(folder)) - {os.path.join(folder, os.path.basename(prefix))}
  # The index last: without it a checkpoint is not seen.
  for file in [*_data_files(prefix), f'{prefix}.index']:
    atomic_files.copy(file, os.path.join(folder, os.path.basename(file)))
  with atomic_files.write(os.path.join(folder, 'checkpoint')) as f:
    f.write(f'model_checkpoint_path: "{os.path.basename(prefix)}"\n')
  for other in old:
    for file in file_system.glob(f'{glob.escape(other)}.*'):
      file_system.remove(file)


def im2txt_config(prefix: str) -> configuration.ModelConfig:
  """The configuration of a checkpoint that im2txt wrote, by its shapes.

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


def _list(names: list[str]) -> str:
  if not names:
    return 'nothing'
  more = f' and {len(names) - 5} more' if len(names) > 5 else ''
  return ', '.join(names[:5]) + more


def _first_line(error: Exception) -> str:
  return str(error).splitlines()[0] if str(error) else type(error).__name__
