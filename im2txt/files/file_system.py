"""Access to all files and folders that users name, local or remote.

A path with `://` (gs://, ram:// and whatever else this TensorFlow knows) goes
to TensorFlow's file systems, any other path to Python's own functions, as fast
and with the same errors. Every function raises OSError, in one line that names
the path. Use os.path to join and split paths of either kind.
"""

import builtins
import contextlib
import errno
import glob as local_glob
import io
import os
import posixpath
import shutil
import uuid
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
  from typing_extensions import Buffer

_CHUNK_BYTES = 1 << 20  # Of a remote file, read or written at a time.


def is_remote(path: str | os.PathLike[str]) -> bool:
  """Return whether a path is of a remote system; a pathlib.Path never is."""
  return '://' in os.fspath(path)


def check_local(path: str, flag: str, why: str) -> None:
  """Refuse a remote path where only a local one works.

  Args:
    path: the flag's value.
    flag: its name.
    why: what needs it, for example 'a journal lies beside it'.

  Raises:
    ValueError: the path is remote.
  """
  if is_remote(path):
    raise ValueError(f'--{flag}={path} must be on this machine: {why}')


def open(path: str, mode: str = 'r', **options: Any) -> IO[Any]:
  """Open a file as Python's `open` does.

  A remote file can be read, written or appended to, but not two of these at
  once. Some remote systems (gs://) store a file only when it is closed, and
  write all of it anew to append.

  Args:
    path: the file.
    mode: mode of Python's `open`.
    **options: options of Python's `open`; if the file is remote, for text only.
  """
  if not is_remote(path):
    return builtins.open(path, mode, **options)
  raw = _RemoteFile(path, mode.replace('t', '').replace('b', ''))
  whole: io.BufferedReader[_RemoteFile] | io.BufferedWriter[_RemoteFile]
  if raw.readable():
    whole = io.BufferedReader(raw, _CHUNK_BYTES)
  else:
    whole = io.BufferedWriter(raw, _CHUNK_BYTES)
  return whole if 'b' in mode else io.TextIOWrapper(whole, **options)


def read_part(path: str, offset: int, size: int) -> bytes:
  """Read up to `size` bytes from a byte offset of a file, and no more."""
  if not is_remote(path):
    with builtins.open(path, 'rb') as f:
      f.seek(offset)
      return f.read(size)
  with _remote(path) as system, system.GFile(path, 'rb') as f:
    f.seek(offset)
    return bytes(f.read(size))


def exists(path: str) -> bool:
  """Return whether there is a file or folder of this path."""
  if not is_remote(path):
    return os.path.exists(path)
  with _remote(path) as system:
    return bool(system.exists(path))


def isdir(path: str) -> bool:
  """Return whether there is a folder of this path."""
  if not is_remote(path):
    return os.path.isdir(path)
  with _remote(path) as system:
    # `isdir` alone raises nothing for a system that is unknown.
    return bool(system.exists(path) and system.isdir(path))


def isfile(path: str) -> bool:
  """Return whether this path is a file, not a folder or pipe."""
  if not is_remote(path):
    return os.path.isfile(path)
  return exists(path) and not isdir(path)


def size(path: str) -> int:
  """Return the size of a file in bytes."""
  if not is_remote(path):
    return os.path.getsize(path)
  with _remote(path) as system:
    return int(system.stat(path).length)


def listdir(path: str) -> list[str]:
  """Return the names of a folder's files and folders, sorted."""
  if not is_remote(path):
    return sorted(os.listdir(path))
  with _remote(path) as system:
    system.stat(path)  # Raises if there is no folder; `listdir` does not.
    # Some systems end folders' names with a slash, and list a file of no name.
    return sorted(filter(None, (
        name.rstrip('/') for name in system.listdir(path))))


def list_files(path: str) -> Iterator[str]:
  """Yield the names of a folder's files, quickly even if there are millions.

  Folders are left out, except on remote systems that do not mark them.
  """
  if is_remote(path):
    with _remote(path) as system:
      yield from (name for name in system.listdir(path) if name[-1:] != '/')
    return
  with os.scandir(path) as entries:
    yield from (entry.name for entry in entries if entry.is_file())


def glob(pattern: str) -> list[str]:
  """Return the paths that match a pattern, sorted."""
  if not is_remote(pattern):
    return sorted(local_glob.glob(pattern))
  with _remote(pattern) as system:
    return sorted(system.glob(pattern))


def walk(path: str) -> Iterator[tuple[str, list[str], list[str]]]:
  """Yield each folder with the names of its folders and files, as os.walk.

  Links to folders are not followed.
  """
  if not is_remote(path):
    yield from os.walk(path)
    return
  names = listdir(path)
  folders = [name for name in names if isdir(os.path.join(path, name))]
  yield path, folders, sorted(set(names) - set(folders))
  for name in folders:
    yield from walk(os.path.join(path, name))


def abspath(path: str) -> str:
  """Return the absolute path, without `.` and `..`."""
  if not is_remote(path):
    return os.path.abspath(path)
  scheme, rest = path.split('://', 1)
  return f'{scheme}://{posixpath.normpath(rest)}'


def realpath(path: str) -> str:
  """Return the absolute path, without links if it is local."""
  return abspath(path) if is_remote(path) else os.path.realpath(path)


def makedirs(path: str) -> None:
  """Make a folder and its parents unless they are there."""
  if not is_remote(path):
    os.makedirs(path, exist_ok=True)
    return
  with _remote(path) as system:
    system.makedirs(path)


def remove(path: str) -> None:
  """Remove a file."""
  if not is_remote(path):
    os.remove(path)
    return
  with _remote(path) as system:
    system.remove(path)


def remove_tree(path: str) -> None:
  """Remove a folder with everything in it."""
  if not is_remote(path):
    shutil.rmtree(path)
    return
  with _remote(path) as system:
    system.rmtree(path)


@contextlib.contextmanager
def scratch_folder(path: str, prefix: str, suffix: str) -> Iterator[str]:
  """Make a folder that is removed at the end of the block.

  Args:
    path: its parent folder; made if it is not there.
    prefix: start of its name.
    suffix: end of its name.

  Yields:
    The folder's path.
  """
  folder = os.path.join(path, f'{prefix}{uuid.uuid4().hex}{suffix}')
  makedirs(folder)
  try:
    yield folder
  finally:
    remove_tree(folder)


def replace(path: str, target: str) -> None:
  """Rename a file, replacing one of the new name, or rename a folder.

  It is atomic on this machine. An object store (gs://) copies and then deletes:
  there, too, a file has its new name only when it is whole, but a folder gets
  its files one by one.
  """
  if not is_remote(path):
    os.replace(path, target)
    return
  with _remote(path) as system:
    system.rename(path, target, overwrite=True)


def sync(path: str) -> None:
  """Wait until a file's bytes are on the disk.

  Otherwise a power failure can leave a renamed file without its bytes.
  """
  if not is_remote(path):
    with builtins.open(path, 'rb') as f:
      os.fsync(f.fileno())


def copy(path: str, target: str) -> None:
  """Copy a file's bytes, replacing those of an older file."""
  if not (is_remote(path) or is_remote(target)):
    shutil.copyfile(path, target)
    return
  with open(path, 'rb') as source, open(target, 'wb') as f:
    shutil.copyfileobj(source, f, _CHUNK_BYTES)


def same(path: str, other: str) -> bool:
  """Return whether two files have the same bytes."""
  with open(path, 'rb') as f, open(other, 'rb') as g:
    return bool(f.read() == g.read())


class _RemoteFile(io.RawIOBase):
  """A remote file as Python's buffered and text files need it."""

  def __init__(self, path: str, mode: str):
    if mode not in ('r', 'w', 'a'):
      raise io.UnsupportedOperation(
          f'{path}: a remote file is read or written, not opened {mode!r}')
    self._path = path
    self._reads = mode == 'r'
    if mode == 'w' and isfile(path):
      remove(path)  # ram:// would append to it.
    with _remote(path) as system:
      self._file = system.GFile(path, f'{mode}b')
      # To raise now rather than later, as Python's `open` does.
      if self._reads:
        self._file.size()
      else:
        self._file.write(b'')

  def readable(self) -> bool:
    return self._reads

  def writable(self) -> bool:
    return not self._reads

  def seekable(self) -> bool:
    return self._reads

  def readinto(self, buffer: 'Buffer') -> int:
    view = memoryview(buffer)
    with _remote(self._path):
      data = self._file.read(len(view))
    view[:len(data)] = data
    return len(data)

  def write(self, data: 'Buffer') -> int:
    content = bytes(data)
    with _remote(self._path):
      self._file.write(content)
    return len(content)

  def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
    if not self._reads:
      raise io.UnsupportedOperation(f'{self._path}: written from end to end')
    with _remote(self._path):
      self._file.seek(offset, whence)
      return int(self._file.tell())

  def close(self) -> None:
    if not self.closed:
      try:
        with _remote(self._path):
          self._file.close()
      finally:
        super().close()


@contextlib.contextmanager
def _remote(path: str) -> Iterator[Any]:
  """Yield TensorFlow's file systems; turn their errors into OSError."""
  # The import takes seconds, which local files do not need.
  import tensorflow as tf

  try:
    yield tf.io.gfile
  except tf.errors.NotFoundError:
    raise FileNotFoundError(
        errno.ENOENT, os.strerror(errno.ENOENT), path) from None
  except tf.errors.PermissionDeniedError:
    raise PermissionError(
        errno.EACCES, os.strerror(errno.EACCES), path) from None
  except tf.errors.UnimplementedError:
    scheme = path.split('://', 1)[0]
    raise OSError(f'{path}: {scheme}:// is not implemented in this '
                  'TensorFlow; mount it as a folder, or copy the files'
                  ) from None
  except tf.errors.OpError as error:
    reason = ' '.join(error.message.split()) or type(error).__name__
    raise OSError(f'{path}: {reason}') from None
