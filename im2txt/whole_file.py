"""Files that are written whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def write(path: str) -> Iterator[TextIO]:
  """Opens a text file that takes its name when the block ends well.

  Until then it is `<path>.tmp`; if the block fails, an older file of that name
  stays as it was.

  Args:
    path: the file. File names that are no UTF-8, as Python has them, can be
      written: their bytes as `\\udc..`.

  Raises:
    OSError: it cannot be written.
  """
  temporary = f'{path}.tmp'
  try:
    with open(temporary, 'w', encoding='utf-8', newline='\n',
              errors='backslashreplace') as f:
      yield f
    os.replace(temporary, path)
  except BaseException:
    with contextlib.suppress(OSError):
      os.remove(temporary)
    raise


def write_bytes(path: str, data: bytes) -> None:
  """Writes a file of bytes, likewise.

  Raises:
    OSError: it cannot be written.
  """
  temporary = f'{path}.tmp'
  with open(temporary, 'wb') as f:
    f.write(data)
  os.replace(temporary, path)
