"""What the processes of a cluster tell each other, and how long ps stay."""

import threading
import time

import tensorflow as tf
from absl import logging

from im2txt.training.cluster import task as cluster

tf1 = tf.compat.v1

POLL_SECS = 0.5
# What a ps that is told to stop leaves the chief for its last checkpoint.
_GRACE_SECS = 60.0
# What it leaves the others once the chief has left.
_LATE_SECS = 600.0
# In the place of a replica that has left: all are to come.
_ALL_COME = -1


class Signals:
  """Queues on the ps that say who has begun, finished and left.

  Queues need no initialiser: they outlive the chief, and those of a ps that
  died and came back are empty. Adds ops to the graph.
  """

  def __init__(self, task: cluster.Task):
    """Finds the queues, or makes them if this process is the first."""
    begun, finished = (_queue(name, 0) for name in ('begun', 'finished'))
    left = [_queue('left', ps)
            for ps in range(len(task.addresses[cluster.PS]))]
    # How often the chief has given the variables their values; int32 [].
    self.times_begun = begun.size()
    # Whether the chief has saved for the last time; bool [].
    self.finished = finished.size() > 0
    # Operations of the chief.
    self.say_begun = begun.enqueue(0)
    self.say_finished = finished.enqueue(0)
    self.unsay_finished = finished.dequeue_many(finished.size()).op
    # All replicas are to come, whoever has left before.
    self.unsay_left = tf.group([queue.enqueue(_ALL_COME) for queue in left])


def _queue(name: str, ps: int) -> tf.queue.FIFOQueue:
  with tf.device(f'/job:{cluster.PS}/task:{ps}'):
    return tf.queue.FIFOQueue(-1, tf.int32, [()], shared_name=f'cluster_{name}')


def say_left(task: cluster.Task, target: str, ps: int) -> None:
  """Tells a ps that this replica will not come back.

  Args:
    task: the replica.
    target: its server.
    ps: one that answers.

  Raises:
    tf.errors.OpError: it is gone.
  """
  with tf.Graph().as_default():
    say = _queue('left', ps).enqueue(task.replica)
    with tf1.Session(target, config=task.session_config(ps)) as session:
      session.run(say)


def keep_variables(task: cluster.Task, interrupted: threading.Event) -> None:
  """What a ps does: it serves until all replicas have left.

  Args:
    task: a ps.
    interrupted: leave once the chief has.

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
          if replica == _ALL_COME:
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
  # The last one to leave is closing its session.
  time.sleep(2 * POLL_SECS)
