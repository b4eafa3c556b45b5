"""Find, copy and clean up the checkpoints of a folder."""

import contextlib
import glob
import math
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from im2txt import log_once
from im2txt.checkpoints import packed_model, reader
from im2txt.files import atomic_files, file_system
from im2txt.inputs import graph_errors

tf1 = tf.compat.v1

CHECKPOINT_NAME = 'model.ckpt'


def latest(path: str) -> str:
  """Find the checkpoint that a path names.

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
      raise FileNotFoundError(
          f'{path}: no checkpoint in this folder{_others(path)}')
    if found != packed:
      _check_files(found, path)
    return found
  prefix = re.sub(r'\.(index|meta|data-\d{5}-of-\d{5})$', '', path)
  _check_files(prefix, path)
  return prefix


def _check_files(prefix: str, path: str) -> None:
  """Refuse what is not a whole checkpoint; say what to fetch or to type.

  Args:
    prefix: of the checkpoint.
    path: as the user gave it.

  Raises:
    FileNotFoundError: a file of it is not there.
  """
  folder, name = os.path.split(prefix)
  has_index = file_system.exists(f'{prefix}.index')
  has_values = bool(_data_files(prefix))
  if name == 'checkpoint' and file_system.isfile(prefix) and not has_index:
    raise FileNotFoundError(
        f'{path} only names the newest checkpoint; give its folder, '
        f'{folder or os.curdir}')
  missing = None
  if has_values and not has_index:
    missing = 'index'
  elif has_index and not has_values:
    missing = 'data-00000-of-00001'
  if missing:
    raise FileNotFoundError(
        f'{prefix}.{missing} is not there; fetch it, too: a checkpoint is '
        f'{name}.index and {name}.data-00000-of-00001 together')
  if has_index or packed_model.is_packed(prefix):
    return
  if not file_system.exists(prefix):
    raise FileNotFoundError(
        f'{path}: no such checkpoint{_others(folder or os.curdir)}')
  if _is_index(prefix):
    raise FileNotFoundError(
        f'{prefix} is the file {name}.index under another name; name it so, '
        f'and put {name}.data-00000-of-00001 beside it')


def _is_index(path: str) -> bool:
  """Return whether a file is the index of a checkpoint, format V2."""
  # Both formats are tables; V1's begins with a key of its own.
  try:
    return not tf1.train.NewCheckpointReader(path).get_variable_to_shape_map()
  except reader.UNREADABLE:
    return False


def _others(folder: str) -> str:
  """Name the checkpoints that a folder does have, for a message."""
  if not file_system.isdir(folder):
    return ''
  found = [os.path.join(folder, name.removesuffix('.index'))
           for name in file_system.listdir(folder) if name.endswith('.index')]
  if not found:
    return ''
  return f'; there is {", ".join(found[:3])}' + ' ...' * (len(found) > 3)


def step_of(prefix: str) -> int:
  """Return the step in a checkpoint's name, 0 if it has none."""
  match = re.search(r'-(\d+)$', prefix)
  return int(match[1]) if match else 0


def all_in(folder: str) -> list[str]:
  """List the prefixes of a run folder's checkpoints, by step."""
  if not file_system.isdir(folder):
    return []
  # No glob: the folder's own name may hold brackets.
  pattern = re.compile(rf'({re.escape(CHECKPOINT_NAME)}-\d+)\.index')
  return sorted((os.path.join(folder, match[1])
                 for name in file_system.listdir(folder)
                 if (match := pattern.fullmatch(name))), key=step_of)


def newest(folder: str) -> str | None:
  """Return the prefix of a folder's newest complete checkpoint, if any.

  The folder's `checkpoint` file, which is written last, names it. Without
  that file, or if that checkpoint is damaged, it is the one of the highest
  step; a warning names what is skipped. If all are damaged, return the first
  choice, so that reading it fails with a message.
  """
  skipped = []
  state = os.path.join(folder, 'checkpoint')
  named = _named(folder)
  if named is None and file_system.exists(state):
    skipped.append(f'{state} names no checkpoint')
  # Listed after the file is read: training may be saving meanwhile.
  prefixes = [prefix for prefix in all_in(folder)[::-1] if prefix != named]
  choices = [named, *prefixes] if named else prefixes
  for prefix in choices:
    damage = _damage(prefix)
    if damage is None:
      if skipped:
        log_once.warn(f'{"; ".join(skipped)}: taking {prefix}, the newest '
                      'whole checkpoint')
      return prefix
    skipped.append(damage)
  return choices[0] if choices else None


def _named(folder: str) -> str | None:
  """Return the prefix that the folder's `checkpoint` file names."""
  try:
    state = tf.train.get_checkpoint_state(folder)
  except ValueError:  # It is empty, or no text.
    return None
  # Of the path only the name: the folder may be moved or a copy.
  return state and os.path.join(
      folder, os.path.basename(state.model_checkpoint_path))


def _damage(prefix: str) -> str | None:
  """Say why a checkpoint is incomplete, by its sizes; None: it is complete."""
  try:
    tensors = tf1.train.NewCheckpointReader(prefix)
    shapes = tensors.get_variable_to_shape_map()
  except reader.UNREADABLE as error:
    return f'{prefix} is no readable checkpoint: {reader.first_line(error)}'
  if not file_system.exists(f'{prefix}.index'):  # Format V1, in one file.
    return None
  types = tensors.get_variable_to_dtype_map()
  # A text's size is not known, and none of ours is one.
  expected = sum(math.prod(shape) * types[name].size
                 for name, shape in shapes.items())
  there = sum(map(file_system.size, _data_files(prefix)))
  if there < expected:
    return f'{prefix} has {there} of {expected} bytes'
  return None


def _data_files(prefix: str) -> list[str]:
  """List the files of values, without those that a killed process left."""
  return file_system.glob(f'{glob.escape(prefix)}.data-?????-of-?????')


def remove_leftovers(folder: str) -> None:
  """Remove the temporary files of a training that was killed while saving."""
  for file in file_system.glob(os.path.join(
      glob.escape(folder), f'{CHECKPOINT_NAME}-*.tempstate*')):
    file_system.remove(file)


@contextlib.contextmanager
def explained_errors(folder: str) -> Iterator[None]:
  """Turn TensorFlow's error of a full disk into one line about the folder.

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
  """Copy a checkpoint into a folder, and delete the others there.

  Args:
    prefix: the checkpoint, format V2.
    folder: created if absent; its older checkpoints are deleted once the new
      one is complete.
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
