"""A process that trains with the others of a cluster."""

import contextlib
import functools
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import tensorflow as tf
from absl import logging

from im2txt.training.cluster import devices
from im2txt.training.cluster import task as cluster
from im2txt.training.cluster.replica import Replica
from im2txt.training.cluster.signals import (
    POLL_SECS,
    SignalHook,
    Signals,
    mark_departed,
)
from im2txt.training.cluster.sync_replicas import SyncReplicas, SyncReplicasHook
from im2txt.training.cluster.watchdog import Watchdog

tf1 = tf.compat.v1

# How long a session waits at its end for its own threads.
_STOP_SECS = 5
# Time that a replica has to end by itself after its time limit.
_GRACE_SECS = 20


class _NothingToTrain(Exception):
  """Raised instead of opening a session."""


class _NoSession:
  """Stand for a session that was not opened."""

  def should_stop(self) -> bool:
    """Return True, as a session does at its end."""
    return True


class ClusterReplica(Replica):
  """A process that trains with others."""

  def __init__(
      self, task: cluster.Task, synchronous: bool, last_step: int,
      timeout_secs: int, end_process: Callable[[Exception], None],
  ):
    """Wait for the ps and start this process's server.

    Args:
      task: chief or worker.
      synchronous: whether each step applies the gradients of all replicas.
      last_step: step at which training ends.
      timeout_secs: limit of a step, the wait for others included.
      end_process: ends the process from any thread; called with the reason
        when a session waits for a silent server for too long.

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
    self._sync_optimizer = None
    self._signals = None
    self._interrupted = threading.Event()
    self._late = TimeoutError(
        f'no step in {timeout_secs} s (replica_timeout_secs); is a process of '
        'the cluster gone? Start it and this one again')
    self._watchdog = Watchdog(
        timeout_secs + _GRACE_SECS,
        functools.partial(end_process, self._late))
    self._wait_for_ps()
    self._server = task.start_server()

  def describe(self) -> str:
    """Return what computes gradients and what has the variables."""
    return (f'{self._task.device}, replica {self.index} of {self.count}, '
            f'computes gradients on {devices.describe()}; variables are on '
            f'{len(self._task.addresses[cluster.PS])} ps')

  def place(self) -> AbstractContextManager:
    """Return a context that places variables on the ps, in turn."""
    return tf1.device(tf1.train.replica_device_setter(
        cluster=tf1.train.ClusterSpec(self._task.addresses),
        worker_device=self._task.device))

  def wrap_optimizer(
      self, optimizer: tf1.train.Optimizer, weight: tf.Tensor
  ) -> tf1.train.Optimizer:
    """Return an optimizer of all replicas' gradients, if synchronous."""
    if not self._synchronous:
      return optimizer
    self._sync_optimizer = SyncReplicas(optimizer, self.count, weight)
    return self._sync_optimizer

  def hooks(
      self, step: tf.Tensor, interrupted: threading.Event
  ) -> list[tf1.train.SessionRunHook]:
    """Return the hooks that keep the replicas together; add their ops."""
    self._interrupted = interrupted
    self._signals = Signals(self._task)
    self._num_absent = tf.size(
        tf1.report_uninitialized_variables(tf1.global_variables()))
    mark_finished = self._signals.mark_finished
    options = tf1.RunOptions(timeout_in_ms=1000 * self._timeout_secs)
    hooks = []
    if self._synchronous:
      hooks.append(SyncReplicasHook(
          self._sync_optimizer, step, self._signals, self.is_chief,
          self._last_step, options, interrupted))
      mark_finished = hooks[0].mark_finished
    return [*hooks, SignalHook(
        self._signals, mark_finished, self.is_chief, self._last_step, options,
        self._watchdog)]

  def wait_until_ready(self, interrupted: threading.Event) -> bool:
    """Wait, in a worker, until the chief begins or has saved the last step.

    Raises:
      TimeoutError: the chief does not begin, or does not end.
    """
    if self.is_chief:
      return super().wait_until_ready(interrupted)
    logging.info('Waiting for the chief to %s',
                 'save' if self._done else 'begin')
    with self._watchdog.watching():
      return self._wait_for_chief()

  @contextlib.contextmanager
  def session(
      self, scaffold: tf1.train.Scaffold,
      hooks: Sequence[tf1.train.SessionRunHook],
  ) -> Iterator[tf1.train.MonitoredSession]:
    """Open the session of training; end it early if a ps dies.

    That is no error: `wait_until_ready` then says whether to open another.

    Raises:
      TimeoutError: a step took too long.
      OSError: the chief was interrupted while a ps was gone.
    """
    kind = (tf1.train.ChiefSessionCreator if self.is_chief
            else tf1.train.WorkerSessionCreator)
    creator = kind(scaffold, self._server.target,
                   config=self._task.session_config())
    creator = _WaitingSessionCreator(creator, self._wait_for_ps if self.is_chief
                     else self._wait_for_chief)
    opened = False
    try:
      with self._watchdog.watching(), tf1.train.MonitoredSession(
          creator, hooks, stop_grace_period_secs=_STOP_SECS) as session:
        opened = True
        yield session
      self._done = True
    except (_NothingToTrain, *cluster.LOST, cluster.LostError) as error:
      gone = not (isinstance(error, _NothingToTrain) and self._all_ps_answer())
      if gone and self.is_chief and self._interrupted.is_set():
        raise OSError('interrupted while a ps was gone: what was trained since '
                      'the last checkpoint is lost') from None
      if gone and not self._interrupted.is_set():
        logging.warning('A ps is gone: going on from the last checkpoint')
      if not opened:
        yield _NoSession()
    except tf.errors.DeadlineExceededError:
      raise self._late from None

  def sign_off(self, interrupted: threading.Event) -> None:
    """Tell each ps that this replica does not come back."""
    if interrupted.is_set() and not self.is_chief:
      return
    threads = [
        threading.Thread(target=self._sign_off_from, args=(ps,), daemon=True)
        for ps in range(len(self._task.addresses[cluster.PS]))]
    for thread in threads:
      thread.start()
    # A silent ps is not waited for: the work is done.
    deadline = time.monotonic() + _GRACE_SECS
    for thread in threads:
      thread.join(max(0.0, deadline - time.monotonic()))

  def _sign_off_from(self, ps: int) -> None:
    # A session would wait for one that is not there.
    if _answers(self._task.addresses[cluster.PS][ps]):
      with contextlib.suppress(tf.errors.OpError):
        mark_departed(self._task, self._server.target, ps)

  def _all_ps_answer(self) -> bool:
    return all(map(_answers, self._task.addresses[cluster.PS]))

  def _plain_session(self) -> tf1.Session:
    return tf1.Session(self._server.target, tf1.get_default_graph(),
                       self._task.session_config())

  def _wait_for_chief(self) -> bool:
    """Wait for the chief; return whether there is something to train."""
    global_step = tf1.train.get_global_step()
    deadline = time.monotonic() + self._timeout_secs
    while self._wait_for_ps():
      # A ps may have started anew: open a new session.
      with (contextlib.suppress(*cluster.LOST,
                                tf.errors.FailedPreconditionError),
            self._plain_session() as session):
        while (not self._interrupted.is_set()
               and time.monotonic() < deadline):
          finished = session.run(self._signals.finished)
          if finished and self._done:
            return False
          if (session.run(self._signals.times_started)
              and not session.run(self._num_absent)):
            ends = session.run(global_step) >= self._last_step
            if finished and ends:
              return False
            # An interrupted chief has finished, too, and will come back.
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
    """Wait until all ps answer; return False if interrupted.

    A session would wait for them for ever, and could not be interrupted.
    """
    deadline = time.monotonic() + self._timeout_secs
    for address in self._task.addresses[cluster.PS]:
      if not self._interrupted.is_set() and not _answers(address):
        logging.info('Waiting for the ps at %s', address)
      while not self._interrupted.is_set() and not _answers(address):
        if time.monotonic() > deadline:
          raise TimeoutError(
              f'{cluster.VARIABLE}: no ps at {address} in '
              f'{self._timeout_secs} s (replica_timeout_secs); start it, and '
              'this again')
        self._watchdog.alive()
        time.sleep(POLL_SECS)
    return not self._interrupted.is_set()


def _answers(address: str) -> bool:
  """Return whether a server listens at an address."""
  host, _, port = address.rpartition(':')
  try:
    socket.create_connection((host.strip('[]'), int(port)), 5).close()
  except OSError:
    return False
  return True


class _WaitingSessionCreator(tf1.train.SessionCreator):
  """Creator of sessions that first waits for other processes."""

  def __init__(
      self, creator: tf1.train.SessionCreator, wait: Callable[[], bool]
  ):
    self._creator = creator
    self._wait = wait

  def create_session(self) -> tf1.Session:
    if not self._wait():
      raise _NothingToTrain
    try:
      return self._creator.create_session()
    except cluster.LOST:
      time.sleep(POLL_SECS)  # TensorFlow tries again at once.
      raise
