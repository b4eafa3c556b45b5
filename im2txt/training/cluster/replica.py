"""A process that trains: alone, or one of a cluster's.

Training is written down once, for one process; this is what differs for one
of several: where ops are, who begins, and that nobody leaves before the chief
has saved the last step.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import tensorflow as tf
from absl import logging

from im2txt.training.cluster import devices
from im2txt.training.cluster import task as cluster
from im2txt.training.cluster.signals import POLL_SECS, Signals, say_left
from im2txt.training.cluster.sync_replicas import SyncReplicas, SyncReplicasHook
from im2txt.training.cluster.watchdog import Watchdog

tf1 = tf.compat.v1

# How long a session waits at its end for threads that are its own.
_STOP_SECS = 5
# What a replica has to end by itself after its time is up.
_GRACE_SECS = 20

Together = Callable[[tf1.train.Optimizer], tf1.train.Optimizer]


class _Nothing(Exception):
  """There is nothing to open a session for any more."""


class _NoSession:
  """In the place of a session that was not opened."""

  def should_stop(self) -> bool:
    """As of a session."""
    return True


class Replica:
  """A process that trains alone.

  Attributes:
    index: its number among those that train.
    count: how many there are.
    is_chief: whether it gives variables their values and saves them.
    batches_a_step: of how many batches a step of training is.
  """

  index = 0
  count = 1
  is_chief = True
  batches_a_step = 1

  def __init__(self):
    self._done = False

  def describe(self) -> str:
    """What computes what, for the log."""
    return f'training on {devices.describe()}'

  def place(self) -> AbstractContextManager:
    """Says where what a block adds to the graph is to be."""
    return contextlib.nullcontext()

  def together(self, weight: tf.Tensor) -> Together | None:
    """Makes, of an optimiser, one for the gradients of all replicas.

    Args:
      weight: float32 [], what this replica's loss is the mean of.

    Returns:
      None: each replica takes steps of its own.
    """
    del weight

  def hooks(
      self, step: tf.Tensor, interrupted: threading.Event
  ) -> list[tf1.train.SessionRunHook]:
    """What is to happen around each step, after all else.

    Args:
      step: what the optimiser returned.
      interrupted: set when this process shall end.
    """
    del step, interrupted
    return []

  def joins(self, interrupted: threading.Event) -> bool:
    """Waits until it is known whether there is something to train.

    Args:
      interrupted: there is nothing any more once it is set.
    """
    return not (self._done or interrupted.is_set())

  @contextlib.contextmanager
  def session(
      self, scaffold: tf1.train.Scaffold,
      hooks: Sequence[tf1.train.SessionRunHook],
  ) -> Iterator[tf1.train.MonitoredSession]:
    """Opens the session of training."""
    with tf1.train.MonitoredSession(
        tf1.train.ChiefSessionCreator(scaffold), hooks) as session:
      yield session
    self._done = True

  def leave(self, interrupted: threading.Event) -> None:
    """Says that it does not come back, unless interrupted."""


class ClusterReplica(Replica):
  """A process that trains with others."""

  def __init__(
      self, task: cluster.Task, synchronous: bool, last_step: int,
      timeout_secs: int,
  ):
    """Waits for the ps.

    Args:
      task: chief or worker.
      synchronous: whether each step is one of all replicas.
      last_step: where training ends.
      timeout_secs: what a step may take, with the wait for others.

    Raises:
      TimeoutError: a ps is not there in time.
      OSError: another program has its port.
    """
    super().__init__()
    self.index = task.replica
    self.count = task.num_replicas
    self.is_chief = task.replica == 0
    self._task = task
    self._synchronous = synchronous and self.count > 1
    if self._synchronous:
      self.batches_a_step = self.count
    self._last_step = last_step
    self._timeout_secs = timeout_secs
    self._optimizer = None
    self._signals = None
    self._interrupted = threading.Event()
    self._late = TimeoutError(
        f'no step in {timeout_secs} s (replica_timeout_secs); is a process of '
        'the cluster gone? Start it and this one again')
    self._watchdog = Watchdog(timeout_secs + _GRACE_SECS, self._late)
    self._wait_for_ps()
    self._server = task.start_server()

  def describe(self) -> str:
    """See the base class."""
    return (f'{self._task.device}, replica {self.index} of {self.count}, '
            f'computes gradients on {devices.describe()}; variables are on '
            f'{len(self._task.addresses[cluster.PS])} ps')

  def place(self) -> AbstractContextManager:
    """See the base class: variables are on the ps, in turn."""
    return tf1.device(tf1.train.replica_device_setter(
        cluster=tf1.train.ClusterSpec(self._task.addresses),
        worker_device=self._task.device))

  def together(self, weight: tf.Tensor) -> Together | None:
    """See the base class."""
    if not self._synchronous:
      return None

    def wrap(optimizer: tf1.train.Optimizer) -> tf1.train.Optimizer:
      self._optimizer = SyncReplicas(optimizer, self.count, weight)
      return self._optimizer

    return wrap

  def hooks(
      self, step: tf.Tensor, interrupted: threading.Event
  ) -> list[tf1.train.SessionRunHook]:
    """See the base class."""
    self._interrupted = interrupted
    self._signals = Signals(self._task)
    self._num_absent = tf.size(
        tf1.report_uninitialized_variables(tf1.global_variables()))
    say_finished = self._signals.say_finished
    options = tf1.RunOptions(timeout_in_ms=1000 * self._timeout_secs)
    hooks = []
    if self._synchronous:
      hooks.append(SyncReplicasHook(
          self._optimizer, step, self._signals, self.is_chief,
          self._last_step, options, interrupted))
      say_finished = hooks[0].say_finished
    return [*hooks, _SignalHook(
        self._signals, say_finished, self.is_chief, self._last_step, options,
        self._watchdog)]

  def joins(self, interrupted: threading.Event) -> bool:
    """See the base class; workers wait for the chief.

    Raises:
      TimeoutError: the chief does not begin, or does not end.
    """
    if self.is_chief:
      return super().joins(interrupted)
    logging.info('Waiting for the chief to %s',
                 'save' if self._done else 'begin')
    with self._watchdog.watching():
      return self._wait_for_chief()

  @contextlib.contextmanager
  def session(
      self, scaffold: tf1.train.Scaffold,
      hooks: Sequence[tf1.train.SessionRunHook],
  ) -> Iterator[tf1.train.MonitoredSession]:
    """See the base class.

    A ps that dies ends the session early, without an error.

    Raises:
      TimeoutError: a step took too long.
      OSError: the chief was interrupted while a ps was gone.
    """
    kind = (tf1.train.ChiefSessionCreator if self.is_chief
            else tf1.train.WorkerSessionCreator)
    creator = kind(scaffold, self._server.target,
                   config=self._task.session_config())
    creator = _After(creator, self._wait_for_ps if self.is_chief
                     else self._wait_for_chief)
    opened = False
    try:
      with self._watchdog.watching(), tf1.train.MonitoredSession(
          creator, hooks, stop_grace_period_secs=_STOP_SECS) as session:
        opened = True
        yield session
      self._done = True
    except (_Nothing, *cluster.LOST, cluster.LostError) as error:
      gone = not (isinstance(error, _Nothing) and self._all_ps_are_there())
      if gone and self.is_chief and self._interrupted.is_set():
        raise OSError('interrupted while a ps was gone: what was trained since '
                      'the last checkpoint is lost') from None
      if gone and not self._interrupted.is_set():
        logging.warning('A ps is gone: going on from the last checkpoint')
      if not opened:
        yield _NoSession()
    except tf.errors.DeadlineExceededError:
      raise self._late from None

  def leave(self, interrupted: threading.Event) -> None:
    """See the base class."""
    if interrupted.is_set() and not self.is_chief:
      return
    threads = [threading.Thread(target=self._tell, args=(ps,), daemon=True)
               for ps in range(len(self._task.addresses[cluster.PS]))]
    for thread in threads:
      thread.start()
    # One that is silent need not know; the work is done.
    deadline = time.monotonic() + _GRACE_SECS
    for thread in threads:
      thread.join(max(0.0, deadline - time.monotonic()))

  def _tell(self, ps: int) -> None:
    # A session would wait for one that is not there.
    if _is_there(self._task.addresses[cluster.PS][ps]):
      with contextlib.suppress(tf.errors.OpError):
        say_left(self._task, self._server.target, ps)

  def _all_ps_are_there(self) -> bool:
    return all(map(_is_there, self._task.addresses[cluster.PS]))

  def _plain_session(self) -> tf1.Session:
    return tf1.Session(self._server.target, tf1.get_default_graph(),
                       self._task.session_config())

  def _wait_for_chief(self) -> bool:
    """Whether there is something to train."""
    global_step = tf1.train.get_global_step()
    deadline = time.monotonic() + self._timeout_secs
    while self._wait_for_ps():
      # The ps may have begun anew.
      with (contextlib.suppress(*cluster.LOST,
                                tf.errors.FailedPreconditionError),
            self._plain_session() as session):
        while (not self._interrupted.is_set()
               and time.monotonic() < deadline):
          finished = session.run(self._signals.finished)
          if finished and self._done:
            return False
          if (session.run(self._signals.times_begun)
              and not session.run(self._num_absent)):
            ends = session.run(global_step) >= self._last_step
            if finished and ends:
              return False
            # A chief that was interrupted has finished, too, and comes again.
            if not (finished or ends):
              return True
          self._watchdog.alive()
          time.sleep(POLL_SECS)
      if time.monotonic() > deadline:
        raise TimeoutError(f'no chief in {self._timeout_secs} s '
                           '(replica_timeout_secs); start it, and this again')
      time.sleep(POLL_SECS)
    return False

  def _wait_for_ps(self) -> bool:
    """Returns when all ps are there, or False when it shall wait no more.

    A session would wait for them for ever, and could not be interrupted.
    """
    deadline = time.monotonic() + self._timeout_secs
    for address in self._task.addresses[cluster.PS]:
      if not self._interrupted.is_set() and not _is_there(address):
        logging.info('Waiting for the ps at %s', address)
      while not self._interrupted.is_set() and not _is_there(address):
        if time.monotonic() > deadline:
          raise TimeoutError(
              f'{cluster.VARIABLE}: no ps at {address} in '
              f'{self._timeout_secs} s (replica_timeout_secs); start it, and '
              'this again')
        self._watchdog.alive()
        time.sleep(POLL_SECS)
    return not self._interrupted.is_set()


def _is_there(address: str) -> bool:
  """Whether there is a server."""
  host, _, port = address.rpartition(':')
  try:
    socket.create_connection((host.strip('[]'), int(port)), 5).close()
  except OSError:
    return False
  return True


class _After(tf1.train.SessionCreator):
  """Makes sessions once others are there."""

  def __init__(
      self, creator: tf1.train.SessionCreator, wait: Callable[[], bool]
  ):
    self._creator = creator
    self._wait = wait

  def create_session(self) -> tf1.Session:
    """See the base class."""
    if not self._wait():
      raise _Nothing
    try:
      return self._creator.create_session()
    except cluster.LOST:
      time.sleep(POLL_SECS)  # TensorFlow tries again at once.
      raise


class _SignalHook(tf1.train.SessionRunHook):
  """Tells others when the chief begins and ends; ends when it has ended."""

  def __init__(
      self, signals: Signals, say_finished: tf.Operation, is_chief: bool,
      last_step: int, options: tf1.RunOptions, watchdog: Watchdog,
  ):
    self._signals = signals
    self._say_finished = say_finished
    self._is_chief = is_chief
    self._last_step = last_step
    self._options = options
    self._watchdog = watchdog
    self._global_step = tf1.train.get_global_step()

  def after_create_session(self, session, coord):
    """See the base class."""
    self._watchdog.alive()
    ends = session.run(self._global_step) >= self._last_step
    if self._is_chief:
      if not ends:
        session.run(self._signals.unsay_left)
      session.run(self._signals.unsay_finished)
      session.run(self._signals.say_begun)
    if ends:
      coord.request_stop()

  def before_run(self, run_context):
    """See the base class."""
    return tf1.train.SessionRunArgs(
        self._signals.finished, options=self._options)

  def after_run(self, run_context, run_values):
    """See the base class."""
    self._watchdog.alive()
    if run_values.results and not self._is_chief:
      run_context.request_stop()

  def end(self, session):
    """See the base class; the last checkpoint is written."""
    if self._is_chief:
      session.run(self._say_finished)
