"""Load values from memory into the variables of a graph."""

import hashlib
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import tensorflow as tf

tf1 = tf.compat.v1

RestoreFn = Callable[[tf1.Session], None]


class VariableLoader:
  """Assign values to variables; add its operations to the graph."""

  def __init__(self, variables: Iterable[tf.Variable]):
    self._feeds = {}
    self._assigns = {}
    with tf.name_scope('load'):
      for variable in variables:
        name = variable.op.name
        self._feeds[name] = tf1.placeholder(variable.dtype.base_dtype,
                                            variable.shape)
        self._assigns[name] = tf1.assign(variable, self._feeds[name]).op

  def load(
      self, session: tf1.Session, values: Mapping[str, np.ndarray]
  ) -> None:
    """Assign each value to the variable of its name."""
    session.run([self._assigns[name] for name in values],
                {self._feeds[name]: value for name, value in values.items()})


def digest(values: Mapping[str, np.ndarray]) -> str:
  """Compute a digest of values by name, 16 hexadecimal digits."""
  hashed = hashlib.sha256()
  for name in sorted(values):
    hashed.update(name.encode() + values[name].tobytes())
  return hashed.hexdigest()[:16]
