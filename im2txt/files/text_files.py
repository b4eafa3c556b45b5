"""Text files from outside, plain or gzipped, in UTF-8 or UTF-16."""

import codecs
import contextlib
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from typing import IO

from im2txt.files import file_system

# Texts compress to a tenth; whatever compresses better is short.
_MAX_RATIO = 100
_SMALL = 2**24  # Bytes.
_GZIP = b'\x1f\x8b'
_MARKS = {codecs.BOM_UTF8: 'utf-8', codecs.BOM_UTF32_LE: 'utf-32',
          codecs.BOM_UTF32_BE: 'utf-32', codecs.BOM_UTF16_LE: 'utf-16',
          codecs.BOM_UTF16_BE: 'utf-16'}
_LINE_END = re.compile('\r\n?|\n')


class _BoundedGzip(gzip.GzipFile):
  """A gzip file that refuses to unpack to far more than text does.

  Otherwise 10 MB could become 10 GB.
  """

  def __init__(self, opened: IO[bytes], size: int):
    super().__init__(fileobj=opened)
    self._most = _SMALL + _MAX_RATIO * size

  def read(self, size: int | None = -1) -> bytes:
    if size is None or size < 0:
      return b''.join(iter(lambda: self.read(_SMALL), b''))
    data = super().read(size)
    if self.tell() > self._most:
      raise gzip.BadGzipFile(f'it unpacks to more than {self._most} bytes')
    return data


def lines(path: str) -> Iterator[tuple[int, str]]:
  """Yield the number and the text of each line, without its end.

  Args:
    path: UTF-8, or UTF-16 or 32 with a byte order mark; may be gzipped.

  Raises:
    OSError: the file cannot be read.
    ValueError: it is no such text, or a broken gzip.
  """
  with _open(path) as f:
    number = 0
    for raw in _decoded(f, path):
      for line in _LINE_END.split(raw)[:-1]:
        number += 1
        yield number, line


def read(path: str) -> str:
  """Read a whole text; every line ends in one newline character.

  Raises:
    OSError: the file cannot be read.
    ValueError: it is no text that `lines` reads.
  """
  return '\n'.join(line for _, line in lines(path))


@contextlib.contextmanager
def _open(path: str) -> Iterator[IO[bytes]]:
  with file_system.open(path, 'rb') as f:
    is_gzip = f.read(len(_GZIP)) == _GZIP
    f.seek(0)
    if not (is_gzip or path.endswith('.gz')):
      yield f
      return
    try:
      yield io.BufferedReader(_BoundedGzip(f, file_system.size(path)))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
      raise ValueError(f'{path} is no whole gzip file: {error}') from None


def _decoded(f: IO[bytes], path: str) -> Iterator[str]:
  """Yield pieces of one line or more, each with its end."""
  head = f.read(4)
  f.seek(0)
  mark = next((mark for mark in _MARKS if head.startswith(mark)), b'')
  # A text in UTF-16 is read as a whole: its lines do not end in one byte.
  if mark and _MARKS[mark] != 'utf-8':
    yield _decode(f.read(), _MARKS[mark], path, 1) + '\n'
    return
  f.seek(len(mark))
  for number, raw in enumerate(f, 1):
    text = _decode(raw, 'utf-8', path, number)
    yield text if text.endswith(('\n', '\r')) else text + '\n'


def _decode(raw: bytes, encoding: str, path: str, number: int) -> str:
  try:
    return raw.decode(encoding)
  except UnicodeDecodeError as error:
    column = len(raw[:error.start].decode(encoding, 'ignore')) + 1
    raise ValueError(
        f'{path}:{number}:{column}: is no {encoding.upper()} text (byte '
        f'0x{raw[error.start]:02x}); save the file as UTF-8') from None
