"""One process at a time writes a folder."""

import subprocess
import sys

import pytest

from im2txt.files import locks

HOLD = """
import sys
from im2txt.files import locks
with locks.folder(sys.argv[1]):
  print('has it', flush=True)
  sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
  """Another process that has locked the folder."""
  with subprocess.Popen(
      [sys.executable, '-c', HOLD, str(tmp_path)], stdin=subprocess.PIPE,
      stdout=subprocess.PIPE, text=True) as process:
    assert process.stdout.readline() == 'has it\n'
    yield process
    process.kill()


def test_another_process_is_refused_in_a_line(tmp_path, other):
  with pytest.raises(BlockingIOError) as error, locks.folder(str(tmp_path)):
    pass
  line = str(error.value)
  assert line.startswith(
      f'{tmp_path}: another process is writing into this folder '
      f'(process {other.pid} on ')
  other.stdin.close()
  other.wait()
  with locks.folder(str(tmp_path)):
    pass
  assert not list(tmp_path.iterdir())


def test_what_a_kill_leaves_bars_nobody(tmp_path, other):
  other.kill()
  other.wait()
  assert (tmp_path / locks.FILE_NAME).exists()
  with locks.folder(str(tmp_path)):
    pass
  assert not list(tmp_path.iterdir())


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_anew(
    tmp_path, monkeypatch):
  # As by a process that ends between our opening of the file and its lock.
  lock, opened = locks.fcntl.flock, []

  def slow(*arguments):
    if not opened:
      (tmp_path / locks.FILE_NAME).unlink()
    opened.append(True)
    lock(*arguments)

  monkeypatch.setattr(locks.fcntl, 'flock', slow)
  with locks.folder(str(tmp_path)):
    assert len(opened) == 2
    assert (tmp_path / locks.FILE_NAME).exists()


def test_a_file_that_its_last_owner_removed_is_refused(tmp_path):
  path = tmp_path / 'x.progress'
  with open(path, 'a+b') as f:
    locks.file(f, str(path), 'writing these results')
    path.unlink()
    with pytest.raises(BlockingIOError, match='until now; try again'):
      locks.file(f, str(path), 'writing these results')


def test_where_there_are_no_locks_nothing_is_barred(tmp_path, monkeypatch):
  warnings = []
  monkeypatch.setattr(locks.logging, 'warning',
                      lambda text, *of: warnings.append(text % of))

  def none(*_):
    raise OSError(locks.errno.ENOLCK, 'No locks available')

  monkeypatch.setattr(locks.fcntl, 'flock', none)
  for path in (str(tmp_path), 'gs://bucket/run'):
    with locks.folder(path):
      pass
    assert warnings.pop().startswith(f'{path} is on a file system without')
