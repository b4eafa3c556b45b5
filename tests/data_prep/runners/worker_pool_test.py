"""Worker processes end with the work, whatever ends it."""

import multiprocessing
import os
import signal
import threading
import time

import pytest

from data_prep.runners import worker_pool


def make_pool(workers=2):
  # The first pool of a test run decides what is imported for all of them.
  return worker_pool.worker_pool(workers, ['data_prep.shards.shard_writer'])


def wait_for_ever(_):
  threading.Event().wait()


def test_error_ends_workers_that_are_still_busy():
  with pytest.raises(ValueError, match='first'), make_pool() as pool:
    pool.submit(wait_for_ever, 0)
    raise ValueError('first')
  assert not multiprocessing.active_children()


def test_dead_worker_is_one_error():
  with (pytest.raises(ChildProcessError, match='--num_threads'),
        make_pool() as pool):
    pool.submit(os._exit, 9).result()


def interrupt_soon():
  time.sleep(0.3)
  os.kill(os.getpid(), signal.SIGINT)


def test_interrupt_ends_workers():
  with pytest.raises(KeyboardInterrupt), make_pool() as pool:
    threading.Thread(target=interrupt_soon).start()
    pool.submit(wait_for_ever, 0).result()
  assert not multiprocessing.active_children()


def test_a_worker_that_cannot_answer_ends_too():
  # As one that waits for a lock that another had when it was killed.
  with make_pool() as pool:
    os.kill(pool.submit(os.getpid).result(), signal.SIGSTOP)
  assert not multiprocessing.active_children()
