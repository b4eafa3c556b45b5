"""How long a ps stays."""

import json
import threading

import pytest
import tensorflow as tf
from command_runner import free_hosts

from im2txt.training.cluster import signals
from im2txt.training.cluster import task as cluster

tf1 = tf.compat.v1


@pytest.fixture
def ps():
  """A ps of two replicas: the thread that it is; the replicas' tasks."""
  hosts = free_hosts(3)
  task, chief, worker = (cluster.read({cluster.VARIABLE: json.dumps({
      'cluster': {'ps': hosts[:1], 'chief': hosts[1:2], 'worker': hosts[2:]},
      'task': {'type': job, 'index': 0}})})
                         for job in ('ps', 'chief', 'worker'))
  thread = threading.Thread(
      target=signals.keep_variables,
      args=(task, threading.Event()), daemon=True)
  thread.start()
  return thread, chief, worker


def is_there(thread):
  """Whether it is, some polls later."""
  thread.join(6 * signals.POLL_SECS)
  return thread.is_alive()


def test_it_leaves_after_all_replicas(ps):
  thread, chief, worker = ps
  signals.mark_departed(chief, chief.start_server().target, 0)
  assert is_there(thread)
  signals.mark_departed(worker, worker.start_server().target, 0)
  assert not is_there(thread)


def test_a_chief_that_begins_makes_it_wait_for_all_again(ps):
  thread, chief, worker = ps
  target = chief.start_server().target
  signals.mark_departed(chief, target, 0)
  with tf.Graph().as_default():
    of_chief = signals.Signals(chief)
    with tf1.Session(target, config=chief.session_config()) as session:
      session.run(of_chief.clear_departed)
      session.run(of_chief.mark_started)
      assert session.run(of_chief.times_started) == 1
  signals.mark_departed(worker, worker.start_server().target, 0)
  assert is_there(thread)
  signals.mark_departed(chief, target, 0)
  assert not is_there(thread)
