"""Atomic writes: a file is written whole or not at all."""

import contextlib
import re
import uuid
from collections.abc import Iterator
from typing import IO

from im2txt.files import file_system

_ENDING = '.tmp'


def is_temporary(name: str) -> bool:
  """Return whether a file's name is the one of a file that is being written."""
  return name.endswith(_ENDING)


def target_of(name: str) -> str:
  """Return the final name of a temporary name."""
  return re.sub(rf'(\.[0-9a-f]{{32}})?{re.escape(_ENDING)}$', '', name)


@contextlib.contextmanager
def replacing(
    path: str, shared: bool = False, synced: bool = True
) -> Iterator[str]:
  """Give a block a temporary name to write to; rename the file at its end.

  If the block fails, an older file of the final name stays as it was.

  Args:
    path: the final name, local or remote.
    shared: whether other processes may write the same file at the same time:
      each then writes to a temporary name of its own.
    synced: whether the file survives a power failure right afterwards, which
      costs milliseconds; not needed for many files that can be made again.

  Yields:
    The temporary name, `<path>.tmp` or, if shared, `<path>.<random>.tmp`.

  Raises:
    OSError: the file cannot be renamed.
  """
  temporary = f'{path}.{uuid.uuid4().hex}{_ENDING}' if shared else (
      f'{path}{_ENDING}')
  try:
    yield temporary
    if synced:
      file_system.sync(temporary)
    file_system.replace(temporary, path)
  except BaseException:
    with contextlib.suppress(OSError):
      file_system.remove(temporary)
    raise


@contextlib.contextmanager
def write(path: str) -> Iterator[IO[str]]:
  """Open a text file for writing, see `replacing`.

  Args:
    path: the file. Bytes that are not UTF-8, as in file names that Python has
      read, are written as `\\udc..`.

  Raises:
    OSError: it cannot be written.
  """
  with (replacing(path) as temporary,
        file_system.open(temporary, 'w', encoding='utf-8', newline='\n',
                         errors='backslashreplace') as f):
    yield f


def write_bytes(path: str, data: bytes) -> None:
  """Write a file of bytes, see `replacing`.

  Raises:
    OSError: it cannot be written.
  """
  with replacing(path) as temporary, file_system.open(temporary, 'wb') as f:
    f.write(data)


def copy(source: str, path: str) -> None:
  """Copy a file, see `replacing`.

  Raises:
    OSError: it cannot be read or written.
  """
  with replacing(path) as temporary:
    file_system.copy(source, temporary)
