"""Read the values of a checkpoint by today's names of variables."""

import numpy as np
import tensorflow as tf

from im2txt.checkpoints import names

tf1 = tf.compat.v1

# What opening a damaged checkpoint raises.
UNREADABLE = (tf.errors.OpError, RuntimeError, ValueError)


def first_line(error: Exception) -> str:
  """Return the first line of an error's message, or else its class."""
  return str(error).splitlines()[0] if str(error) else type(error).__name__


class Reader:
  """A checkpoint's values by today's names.

  Attributes:
    shapes: of the variables, by name.
  """

  def __init__(self, prefix: str, averaged: bool = False):
    """Open a checkpoint, format V1 or V2.

    Args:
      prefix: the checkpoint.
      averaged: whether to read a variable's moving average, where there is
        one, in place of the variable; it then has the variable's name only.

    Raises:
      ValueError: it cannot be read.
    """
    self._prefix = prefix
    try:
      self._reader = tf1.train.NewCheckpointReader(prefix)
    except UNREADABLE as error:
      raise ValueError(f'{prefix} is no readable checkpoint: '
                       f'{first_line(error)}') from None
    stored = self._reader.get_variable_to_shape_map()
    today = {old: name for name, olds in names.LEGACY_NAMES.items()
             for old in olds}
    # Today's name -> name in the file.
    self._names = {today.get(name, name): name for name in stored}
    if averaged:
      for name in stored:
        average = names.average_name(name)
        if average in stored:
          self._names[name] = self._names.pop(average)
    self.shapes = {name: list(stored[in_file])
                   for name, in_file in self._names.items()}

  def value(self, name: str) -> np.ndarray:
    """Read a variable's value.

    Raises:
      ValueError: its bytes are missing or damaged.
    """
    try:
      return self._reader.get_tensor(self._names[name])
    except (tf.errors.OpError, RuntimeError, IndexError) as error:
      raise ValueError(f'{self._prefix}: {name} cannot be read: '
                       f'{first_line(error)}') from None
