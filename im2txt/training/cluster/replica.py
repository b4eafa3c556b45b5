"""A process that trains: alone here, in a cluster in `cluster_replica`.

The training loop is written once, for one process. A replica has what differs
for one process of several: where variables are, who initialises them, and that
no process leaves before the chief has saved the last step.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import tensorflow as tf

from im2txt.training.cluster import devices

tf1 = tf.compat.v1


class Replica:
  """A process that trains alone.

  Attributes:
    index: its number among those that train.
    count: how many there are.
    is_chief: whether it initialises and saves the variables.
    batches_a_step: number of batches that a training step is made of.
  """

  index = 0
  count = 1
  is_chief = True
  batches_a_step = 1

  def __init__(self):
    self._done = False

  def describe(self) -> str:
    """Return what computes what, for the log."""
    return f'training on {devices.describe()}'

  def place(self) -> AbstractContextManager:
    """Return a context in which ops are placed on their devices."""
    return contextlib.nullcontext()

  def wrap_optimizer(
      self, optimizer: tf1.train.Optimizer, weight: tf.Tensor
  ) -> tf1.train.Optimizer:
    """Return the optimizer, or one that applies all replicas' gradients.

    Args:
      optimizer: of this replica's gradients.
      weight: float32 [], sum of the weights that this replica's loss is the
        mean over.
    """
    del weight
    return optimizer

  def hooks(
      self, step: tf.Tensor, interrupted: threading.Event
  ) -> list[tf1.train.SessionRunHook]:
    """Return hooks that come after all others.

    Args:
      step: what the optimizer's `apply_gradients` returned.
      interrupted: set when this process shall end.
    """
    del step, interrupted
    return []

  def wait_until_ready(self, interrupted: threading.Event) -> bool:
    """Wait for the others; return whether there is something to train.

    Args:
      interrupted: there is nothing any more once it is set.
    """
    return not (self._done or interrupted.is_set())

  @contextlib.contextmanager
  def session(
      self, scaffold: tf1.train.Scaffold,
      hooks: Sequence[tf1.train.SessionRunHook],
  ) -> Iterator[tf1.train.MonitoredSession]:
    """Open the session of training."""
    with tf1.train.MonitoredSession(
        tf1.train.ChiefSessionCreator(scaffold), hooks) as session:
      yield session
    self._done = True

  def sign_off(self, interrupted: threading.Event) -> None:
    """Tell the others that this process does not come back.

    Args:
      interrupted: if it is set, the process may come back.
    """
