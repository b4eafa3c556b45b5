"""Files that are there whole or not at all."""

import errno
import os

import pytest

from im2txt.files import atomic_files, file_system


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'out.txt'


@pytest.fixture
def remote(tmp_path):
  """A file in a folder of its own in TensorFlow's memory."""
  folder = f'ram:/{tmp_path}'
  file_system.makedirs(folder)
  return f'{folder}/out.txt'


def test_it_takes_its_name_when_the_block_ends(path):
  with atomic_files.write(str(path)) as f:
    f.write('one\n')
    assert [p.name for p in path.parent.iterdir()] == ['out.txt.tmp']
    f.write('two\n')
  assert path.read_bytes() == b'one\ntwo\n'
  assert list(path.parent.iterdir()) == [path]


def test_it_is_on_the_disk_before_it_takes_its_name(path, monkeypatch):
  done = []

  def fsync(descriptor):
    done.append(os.fstat(descriptor).st_size)

  def replace(source, target):
    done.append(target)

  monkeypatch.setattr(os, 'fsync', fsync)
  monkeypatch.setattr(os, 'replace', replace)
  atomic_files.write_bytes(str(path), b'12345')
  assert done == [5, str(path)]


def test_a_disk_that_fills_up_at_the_end(path, monkeypatch):
  def fsync(_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  path.write_text('old')
  monkeypatch.setattr(os, 'fsync', fsync)
  with pytest.raises(OSError, match='No space'):
    atomic_files.write_bytes(str(path), b'new')
  assert path.read_text() == 'old'
  assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_keeps_the_older_file(path, error):
  path.write_text('old')
  with pytest.raises(error), atomic_files.write(str(path)) as f:
    f.write('new' * 100_000)
    raise error
  assert path.read_text() == 'old'
  assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_nothing_where_nothing_was(path):
  with pytest.raises(RuntimeError), atomic_files.write(str(path)):
    raise RuntimeError
  assert not list(path.parent.iterdir())


def test_an_older_file_and_what_a_crash_left_are_replaced(path):
  path.write_text('old')
  (path.parent / 'out.txt.tmp').write_text('left by a crash, and longer')
  with atomic_files.write(str(path)) as f:
    f.write('new')
  assert path.read_text() == 'new'
  assert list(path.parent.iterdir()) == [path]


def test_utf8_whatever_the_machine_prefers(path):
  with atomic_files.write(str(path)) as f:
    f.write('Hünd 犬 🐕\r\n')
    f.write(os.fsdecode(b'caf\xe9\n'))
  assert path.read_bytes() == 'Hünd 犬 🐕\r\ncaf\\udce9\n'.encode()


def test_a_name_that_is_no_utf8(tmp_path):
  name = os.fsencode(tmp_path) + b'/caf\xe9.txt'
  with atomic_files.write(os.fsdecode(name)) as f:
    f.write('x')
  assert os.listdir(os.fsencode(tmp_path)) == [b'caf\xe9.txt']


def test_paths_that_cannot_be_written(tmp_path):
  (tmp_path / 'folder').mkdir()
  (tmp_path / 'file').touch()
  for path in ('folder', 'none/out.txt', 'file/out.txt'):
    with (pytest.raises(OSError, match=path),
          atomic_files.write(str(tmp_path / path))):
      pass
  assert sorted(os.listdir(tmp_path)) == ['file', 'folder']


def test_remote_files_too(remote):
  folder = os.path.dirname(remote)
  for text in ('old', 'new'):
    with atomic_files.write(remote) as f:
      f.write(text)
      assert f'{os.path.basename(remote)}.tmp' in file_system.listdir(folder)
    with file_system.open(remote) as f:
      assert f.read() == text
    assert file_system.listdir(folder) == ['out.txt']
  with pytest.raises(KeyboardInterrupt), atomic_files.write(remote) as f:
    f.write('newer' * 999_999)
    raise KeyboardInterrupt
  with file_system.open(remote) as f:
    assert f.read() == 'new'
  assert file_system.listdir(folder) == ['out.txt']


def test_two_may_write_one_file(path):
  with (atomic_files.replacing(str(path), shared=True) as one,
        atomic_files.replacing(str(path), shared=True) as other):
    assert one != other
    for name in (one, other):
      assert atomic_files.is_temporary(name)
      file_system.copy(__file__, name)
  assert list(path.parent.iterdir()) == [path]
