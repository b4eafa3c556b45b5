"""Restore the variables of a graph from a checkpoint or a packed model.

Every restore logs what it restored, what it left as initialised and what it
did not use, and stops at anything it was not told to skip.
"""

import re
from collections.abc import Iterable

import numpy as np
import tensorflow as tf
from absl import logging

from im2txt.checkpoints import names, packed_model
from im2txt.checkpoints.reader import Reader
from im2txt.checkpoints.variable_loader import RestoreFn, VariableLoader

tf1 = tf.compat.v1


def read_values(
    prefix: str,
    variables: Iterable[tf.Variable],
    may_be_absent: str | None = None,
    averaged: bool = False,
    scope: str = '',
) -> dict[str, np.ndarray]:
  """Read the values of variables and log what was restored.

  Args:
    prefix: the checkpoint.
    variables: those wanted.
    may_be_absent: pattern of the names that need not be in the checkpoint.
    averaged: see `Reader`.
    scope: prefix of the variables' names that the checkpoint's names lack.

  Returns:
    Values by variable name.

  Raises:
    ValueError: the checkpoint lacks a variable, has one of another shape, or
      has one that the model does not know.
  """
  reader = _open_reader(prefix, averaged)
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


def _open_reader(path: str, averaged: bool) -> Reader | packed_model.Reader:
  """Open a checkpoint or a packed model; `averaged`: see `Reader`.

  Raises:
    OSError: a packed model is not there.
    ValueError: it cannot be read.
  """
  if packed_model.is_packed(path):
    return packed_model.Reader(path)
  return Reader(path, averaged)


def read_scope(prefix: str, scope: str) -> dict[str, np.ndarray]:
  """Read all values of a scope, of moving averages where there are any.

  Args:
    prefix: the checkpoint or packed model.
    scope: how the variables' names begin.

  Returns:
    Values by variable name.

  Raises:
    OSError: a packed model is not there.
    ValueError: it cannot be read.
  """
  values = _open_reader(prefix, averaged=True)
  return {name: values.value(name) for name in values.shapes
          if name.startswith(scope)}


def inference_restorer(prefix: str, scope: str = '') -> RestoreFn:
  """Make a function that restores the graph's model for captioning.

  Args:
    prefix: the checkpoint, whose moving averages are read where there are
      any; it may lack the step.
    scope: prefix of the names of the model's variables, where the graph has
      other models too.
  """
  variables = [v for v in tf1.global_variables()
               if v.op.name.startswith(scope)]
  loader = VariableLoader(variables)
  return lambda session: loader.load(session, read_values(
      prefix, variables, f'{tf1.GraphKeys.GLOBAL_STEP}$', averaged=True,
      scope=scope))


def _list(names: list[str]) -> str:
  """Join the first five names; count the others."""
  if not names:
    return 'nothing'
  more = f' and {len(names) - 5} more' if len(names) > 5 else ''
  return ', '.join(names[:5]) + more
