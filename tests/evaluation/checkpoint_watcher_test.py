"""Waiting for checkpoints that another process writes."""

import threading

import numpy as np
import pytest

from im2txt.evaluation import checkpoint_watcher


@pytest.fixture
def save(write_checkpoint, tmp_path):
  def write(step):
    prefix = tmp_path / f'model.ckpt-{step}'
    write_checkpoint(prefix, {'global_step': np.int64(step)})
    return str(prefix)
  return write


def test_each_newest_checkpoint_once(save, tmp_path):
  interrupted = threading.Event()
  watched = checkpoint_watcher.watch(str(tmp_path), 0.0, interrupted)
  first = save(3)
  assert next(watched) == first
  # Only the newest of those that come between two looks.
  save(5)
  newest = save(7)
  assert next(watched) == newest
  # Of half a checkpoint nothing is seen: it waits for the next.
  (tmp_path / 'model.ckpt-9.index').write_bytes(b'half')
  timer = threading.Timer(0.2, save, [11])
  timer.start()
  assert next(watched).endswith('model.ckpt-11')
  timer.join()
  interrupted.set()
  assert next(watched, None) is None


def test_an_event_ends_the_wait(tmp_path):
  interrupted = threading.Event()
  timer = threading.Timer(0.2, interrupted.set)
  timer.start()
  assert list(checkpoint_watcher.watch(
      str(tmp_path), 1000.0, interrupted)) == []
  timer.join()
