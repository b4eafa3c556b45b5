"""All files and folders that users name, here or where TensorFlow reaches.

A path with `://` (gs://, ram:// and what else this TensorFlow knows) is for
TensorFlow's file systems, any other is Python's own, as quick and with the
same errors. Every function raises OSError, in one line that names the path.
Paths are joined and taken apart with os.path, wherever they lead.
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
from typing import IO, Any

_CHUNK_BYTES = 1 << 20  # Of a remote file, read or written at a time.


def is_remote(path: str | os.PathLike[str]) -> bool:
  """Whether a path is another system's; a Path is always this machine's."""
  return '://' in os.fspath(path)


def check_local(path: str, flag: str, why: str) -> None:
  """Refuses a remote path where only a local one will do.

  Args:
    path: the flag's value.
    flag: its name.
    why: what needs it, for example 'a journal lies beside it'.

  Raises:
    ValueError: the path is remote.
  """
  if is_remote(path):
    raise ValueError(f'--{flag}={path} must be on this machine: {why}')


def open(path: str, mode: str = 'r', **options: Any) -> IO:
  """Opens a file as Python's `open` does.

  A remote file can be read, written and appended to, but not both at once.
  Some remote systems (gs://) keep a file only once it is closed, and write all
  of it anew to append.

  Args:
    path: the file.
    mode: as Python has it.
    **options: likewise, of texts only.
  """
  if not is_remote(path):
    return builtins.open(path, mode, **options)
  raw = _RemoteFile(path, mode.replace('t', '').replace('b', ''))
  whole = (io.BufferedReader if raw.readable() else io.BufferedWriter)(
      raw, _CHUNK_BYTES)
  return whole if 'b' in mode else io.TextIOWrapper(whole, **options)


def read_part(path: str, offset: int, size: int) -> bytes:
  """Reads so many bytes from a place of a file on, and no more."""
  if not is_remote(path):
    with builtins.open(path, 'rb') as f:
      f.seek(offset)
      return f.read(size)
  with _remote(path) as system, system.GFile(path, 'rb') as f:
    f.seek(offset)
    return f.read(size)


def exists(path: str) -> bool:
  """Whether there is a file or folder of this path."""
  if not is_remote(path):
    return os.path.exists(path)
  with _remote(path) as system:
    return system.exists(path)


def isdir(path: str) -> bool:
  """Whether there is a folder of this path."""
  if not is_remote(path):
    return os.path.isdir(path)
  with _remote(path) as system:
    # `isdir` keeps quiet about a system that is not there.
    return system.exists(path) and system.isdir(path)


def isfile(path: str) -> bool:
  """Whether there is a file of this path, no folder and no pipe."""
  if not is_remote(path):
    return os.path.isfile(path)
  return exists(path) and not isdir(path)


def size(path: str) -> int:
  """Bytes of a file."""
  if not is_remote(path):
    return os.path.getsize(path)
  with _remote(path) as system:
    return system.stat(path).length


def listdir(path: str) -> list[str]:
  """Names of a folder's files and folders, in order."""
  if not is_remote(path):
    return sorted(os.listdir(path))
  with _remote(path) as system:
    system.stat(path)  # Says what `listdir` keeps quiet about.
    # Some mark a folder with a slash, and a folder may be a file of no name.
    return sorted(filter(None, (
        name.rstrip('/') for name in system.listdir(path))))


def list_files(path: str) -> Iterator[str]:
  """Names of a folder's files without its folders, millions at no great cost.

  Some remote systems do not tell folders, which are then among them.
  """
  if is_remote(path):
    with _remote(path) as system:
      yield from (name for name in system.listdir(path) if name[-1:] != '/')
    return
  with os.scandir(path) as entries:
    yield from (entry.name for entry in entries if entry.is_file())


def glob(pattern: str) -> list[str]:
  """Paths that match a pattern, in order."""
  if not is_remote(pattern):
    return sorted(local_glob.glob(pattern))
  with _remote(pattern) as system:
    return sorted(system.glob(pattern))


def walk(path: str) -> Iterator[tuple[str, list[str], list[str]]]:
  """As os.walk: each folder with the names of its folders and files.

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
  """The path from the root, without `.` and `..`."""
  if not is_remote(path):
    return os.path.abspath(path)
  scheme, rest = path.split('://', 1)
  return f'{scheme}://{posixpath.normpath(rest)}'


def realpath(path: str) -> str:
  """The path from the root, without links where there are such."""
  return abspath(path) if is_remote(path) else os.path.realpath(path)


def makedirs(path: str) -> None:
  """Makes a folder, and those that it lies in, where they are not there."""
  if not is_remote(path):
    os.makedirs(path, exist_ok=True)
    return
  with _remote(path) as system:
    system.makedirs(path)


def remove(path: str) -> None:
  """Removes a file."""
  if not is_remote(path):
    os.remove(path)
    return
  with _remote(path) as system:
    system.remove(path)


def remove_tree(path: str) -> None:
  """Removes a folder with all that is in it."""
  if not is_remote(path):
    shutil.rmtree(path)
    return
  with _remote(path) as system:
    system.rmtree(path)


@contextlib.contextmanager
def scratch_folder(path: str, prefix: str, suffix: str) -> Iterator[str]:
  """Makes a folder that is gone with the block.

  Args:
    path: the folder that it is to lie in; made if it is not there.
    prefix: what its name begins with.
    suffix: what it ends with.

  Yields:
    The folder.
  """
  folder = os.path.join(path, f'{prefix}{uuid.uuid4().hex}{suffix}')
  makedirs(folder)
  try:
    yield folder
  finally:
    remove_tree(folder)


def replace(path: str, target: str) -> None:
  """Renames a file, over an older one of that name if need be, or a folder.

  That is one step on this machine. An object store (gs://) copies and then
  deletes: a file has its new name there, too, only when it is whole, but a
  folder gets its files one by one.
  """
  if not is_remote(path):
    os.replace(path, target)
    return
  with _remote(path) as system:
    system.rename(path, target, overwrite=True)


def sync(path: str) -> None:
  """Returns once a file's bytes are on the disk, whatever happens then.

  Otherwise a machine that goes down can leave a renamed file without them.
  """
  if not is_remote(path):
    with builtins.open(path, 'rb') as f:
      os.fsync(f.fileno())


def copy(path: str, target: str) -> None:
  """Copies a file's bytes, over those of an older file if need be."""
  if not (is_remote(path) or is_remote(target)):
    shutil.copyfile(path, target)
    return
  with open(path, 'rb') as source, open(target, 'wb') as f:
    shutil.copyfileobj(source, f, _CHUNK_BYTES)


def same(path: str, other: str) -> bool:
  """Whether two files have the same bytes."""
  with open(path, 'rb') as f, open(other, 'rb') as g:
    return f.read() == g.read()


class _RemoteFile(io.RawIOBase):
  """What Python's own buffers and texts need of a remote file."""

  def __init__(self, path: str, mode: str):
    if mode not in ('r', 'w', 'a'):
      raise io.UnsupportedOperation(
          f'{path}: a remote file is read or written, not opened {mode!r}')
    self._path = path
    self._reads = mode == 'r'
    if mode == 'w' and isfile(path):
      remove(path)  # ram:// would go on behind what is there.
    with _remote(path) as system:
      self._file = system.GFile(path, f'{mode}b')
      # Mistakes show now, as they do on this machine.
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

  def readinto(self, buffer: memoryview) -> int:
    with _remote(self._path):
      data = self._file.read(len(buffer))
    buffer[:len(data)] = data
    return len(data)

  def write(self, data: memoryview) -> int:
    with _remote(self._path):
      self._file.write(bytes(data))
    return len(data)

  def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
    if not self._reads:
      raise io.UnsupportedOperation(f'{self._path}: written from end to end')
    with _remote(self._path):
      self._file.seek(offset, whence)
      return self._file.tell()

  def close(self) -> None:
    if not self.closed:
      try:
        with _remote(self._path):
          self._file.close()
      finally:
        super().close()


@contextlib.contextmanager
def _remote(path: str) -> Iterator[Any]:
  """Gives TensorFlow's file systems; what they raise becomes OSError."""
  # It takes seconds, which whoever has local files only need not spend.
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
