"""Files that are written whole or not at all."""

import contextlib
import re
import uuid
from collections.abc import Iterator
from typing import TextIO

from im2txt.files import file_system

_ENDING = '.tmp'


def is_temporary(name: str) -> bool:
  """Whether a file's name is one that a file has until it is whole."""
  return name.endswith(_ENDING)


def target_of(name: str) -> str:
  """The name that a file of a temporary name has once it is whole."""
  return re.sub(rf'(\.[0-9a-f]{{32}})?{re.escape(_ENDING)}$', '', name)


@contextlib.contextmanager
def replacing(
    path: str, shared: bool = False, synced: bool = True
) -> Iterator[str]:
  """Lets a block write a file under another name until it is whole.

  If the block fails, an older file of that name stays as it was.

  Args:
    path: the file, here or remote.
    shared: whether others may be writing it at the same time. What one of them
      leaves behind when it is killed no other then writes over.
    synced: whether it is whole even if the machine goes down at once, which
      takes milliseconds; not for a file of many that can be had again.

  Yields:
    The name to write to, `<path>.tmp` or, if shared, `<path>.<random>.tmp`.

  Raises:
    OSError: the file cannot take its name.
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
def write(path: str) -> Iterator[TextIO]:
  """Opens a text file to be written, see `replacing`.

  Args:
    path: the file. File names that are no UTF-8, as Python has them, can be
      written: their bytes as `\\udc..`.

  Raises:
    OSError: it cannot be written.
  """
  with (replacing(path) as temporary,
        file_system.open(temporary, 'w', encoding='utf-8', newline='\n',
                         errors='backslashreplace') as f):
    yield f


def write_bytes(path: str, data: bytes) -> None:
  """Writes a file of bytes, see `replacing`.

  Raises:
    OSError: it cannot be written.
  """
  with replacing(path) as temporary, file_system.open(temporary, 'wb') as f:
    f.write(data)


def copy(source: str, path: str) -> None:
  """Copies a file, see `replacing`.

  Raises:
    OSError: it cannot be read or written.
  """
  with replacing(path) as temporary:
    file_system.copy(source, temporary)
