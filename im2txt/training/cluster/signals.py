"""Signals between the processes of a cluster, and how long a ps serves."""

import threading
import time

import tensorflow as tf
from absl import logging

from im2txt.training.cluster import task as cluster
from im2txt.training.cluster.watchdog import Watchdog

tf1 = tf.compat.v1

POLL_SECS = 0.5
# Time that an interrupted ps leaves the chief for its last checkpoint.
_GRACE_SECS = 60.0
# Time that it leaves the other replicas once the chief has departed.
_LATE_SECS = 600.0
# In a queue of departed replicas: none has departed yet.
_NONE_DEPARTED = -1


class Signals:
  """Queues on the ps that hold who has started, finished and departed.

  Queues need no initialiser: they outlive the chief, and those of a ps that
  died and came back are empty.

  Attributes:
    times_started: int32 [], how often the chief has initialised the variables.
    finished: bool [], whether the chief has saved for the last time.
    mark_started: operation of the chief, as are those below.
    mark_finished: operation.
    clear_finished: operation.
    clear_departed: operation: all replicas are expected, whoever had departed.
  """

  def __init__(self, task: cluster.Task):
    """Add the ops; the first process that runs one makes the queue."""
    started, finished = (_queue(name, 0) for name in ('begun', 'finished'))
    departed = [_queue('left', ps)
            for ps in range(len(task.addresses[cluster.PS]))]
    self.times_started = started.size()
    self.finished = finished.size() > 0
    self.mark_started = started.enqueue(0)
    self.mark_finished = finished.enqueue(0)
    self.clear_finished = finished.dequeue_many(finished.size()).op
    self.clear_departed = tf.group(
        [queue.enqueue(_NONE_DEPARTED) for queue in departed])


class SignalHook(tf1.train.SessionRunHook):
  """Hook that marks the chief's start and end, and ends the workers then."""

  def __init__(
      self, signals: Signals, mark_finished: tf.Operation, is_chief: bool,
      last_step: int, options: tf1.RunOptions, watchdog: Watchdog,
  ):
    """Set what to watch.

    Args:
      signals: of the cluster.
      mark_finished: operation that the chief runs at its end.
      is_chief: whether this replica is the chief.
      last_step: step at which training ends.
      options: time limit of a step.
      watchdog: is told that the process is alive.
    """
    self._signals = signals
    self._mark_finished = mark_finished
    self._is_chief = is_chief
    self._last_step = last_step
    self._options = options
    self._watchdog = watchdog
    self._global_step = tf1.train.get_global_step()

  def after_create_session(self, session, coord):
    """Mark the chief as started; stop at once if training has ended."""
    self._watchdog.alive()
    ends = session.run(self._global_step) >= self._last_step
    if self._is_chief:
      if not ends:
        session.run(self._signals.clear_departed)
      session.run(self._signals.clear_finished)
      session.run(self._signals.mark_started)
    if ends:
      coord.request_stop()

  def before_run(self, run_context):
    """Fetch whether the chief has finished."""
    return tf1.train.SessionRunArgs(
        self._signals.finished, options=self._options)

  def after_run(self, run_context, run_values):
    """Stop a worker once the chief has finished."""
    self._watchdog.alive()
    if run_values.results and not self._is_chief:
      run_context.request_stop()

  def end(self, session):
    """Mark the chief as finished; its last checkpoint is written."""
    if self._is_chief:
      session.run(self._mark_finished)


def _queue(name: str, ps: int) -> tf.queue.FIFOQueue:
  with tf.device(f'/job:{cluster.PS}/task:{ps}'):
    return tf.queue.FIFOQueue(-1, tf.int32, [()], shared_name=f'cluster_{name}')


def mark_departed(task: cluster.Task, target: str, ps: int) -> None:
  """Tell a ps that this replica will not come back.

  Args:
    task: the replica.
    target: its server.
    ps: one that answers.

  Raises:
    tf.errors.OpError: it is gone.
  """
  with tf.Graph().as_default():
    mark = _queue('left', ps).enqueue(task.replica)
    with tf1.Session(target, config=task.session_config(ps)) as session:
      session.run(mark)


def keep_variables(task: cluster.Task, interrupted: threading.Event) -> None:
  """Serve the variables, as a ps, until all replicas have departed.

  Args:
    task: a ps.
    interrupted: once it is set, serve only until the chief has departed.

  Raises:
    OSError: another program has its port.
  """
  server = task.start_server()
  logging.info('%s keeps variables until all %d replicas have left',
               task.device, task.num_replicas)
  gone = set()
  deadline = chief_left = None
  with tf.Graph().as_default():
    left = _queue('left', task.index)
    newly_gone = left.dequeue_many(left.size())
    with tf1.Session(server.target, config=task.session_config()) as session:
      while len(gone) < task.num_replicas:
        for replica in session.run(newly_gone).tolist():
          if replica == _NONE_DEPARTED:
            gone.clear()
            chief_left = None
          else:
            gone.add(replica)
        if 0 in gone:
          chief_left = chief_left or time.monotonic()
          if time.monotonic() > chief_left + _LATE_SECS:
            logging.warning('Of %d replicas only %s have left; leaving, for '
                            'the chief left %.0f s ago', task.num_replicas,
                            sorted(gone), _LATE_SECS)
            break
        if interrupted.is_set():
          if deadline is None:
            deadline = time.monotonic() + _GRACE_SECS
            logging.info('Interrupted: the chief has %.0f s to save (again: '
                         'stopping now)', _GRACE_SECS)
          if 0 in gone or time.monotonic() > deadline:
            break
        time.sleep(POLL_SECS)
  # The last replica is still closing its session.
  time.sleep(2 * POLL_SECS)
