"""Locks of files and folders that one process at a time may write.

A lock is the kernel's: it ends with its process, however that ends, and the
lock file that a killed process leaves behind locks nothing. Where a file system
has no locks, as remote ones (gs://) have none, a warning is logged instead.
"""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from typing import IO, Any

from absl import logging

from im2txt.files import file_system

FILE_NAME = '.lock'

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def folder(path: str) -> Iterator[None]:
  """Lock an existing folder during a block.

  Raises:
    BlockingIOError: another process has locked it.
    OSError: the lock file cannot be written.
  """
  if file_system.is_remote(path):
    _warn(path)
    yield
    return
  with _open_locked(os.path.join(path, FILE_NAME), path) as f:
    try:
      try:
        os.ftruncate(f.fileno(), 0)
        os.write(f.fileno(), f'process {os.getpid()} on {socket.gethostname()}'
                 .encode())
      except OSError as error:
        raise OSError(error.errno, error.strerror, f.name) from None
      yield
    finally:
      os.remove(f.name)


def _open_locked(path: str, of_folder: str) -> IO[str]:
  while True:
    f = open(path, 'a+', encoding='utf-8')  # noqa: SIM115
    try:
      _lock(f, of_folder, 'writing into this folder')
      if _is_there(f, path):
        return f
    except BlockingIOError as error:
      f.seek(0)
      holder = f.read(300)
      f.close()
      raise BlockingIOError(f'{error} ({holder})') from None
    except BaseException:
      f.close()
      raise
    f.close()


def file(opened: IO[Any], path: str, doing: str) -> None:
  """Lock an open file until it is closed.

  Args:
    opened: the file, open for writing.
    path: its name, for the message.
    doing: what the other process is doing, for the message.

  Raises:
    BlockingIOError: another process has locked it.
  """
  _lock(opened, path, doing)
  if not _is_there(opened, path):
    raise BlockingIOError(f'{path}: another process was {doing} until now; '
                          'try again')


def _is_there(opened: IO[Any], path: str) -> bool:
  """Return whether the file was not removed before it was locked."""
  return os.path.exists(path) and os.path.samestat(
      os.fstat(opened.fileno()), os.stat(path))


def _lock(opened: IO[Any], path: str, doing: str) -> None:
  try:
    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    raise BlockingIOError(f'{path}: another process is {doing}') from None
  except OSError as error:
    if error.errno not in _NO_LOCKS:
      raise
    _warn(path)


def _warn(path: str) -> None:
  logging.warning('%s is on a file system without locks: see to it that one '
                  'process at a time writes there', path)
