"""JSON files from outside: every fault of theirs is one clear message."""

import contextlib
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from typing import IO, Any, TextIO, TypeVar

from im2txt.files import file_system

# Raised by reading a file that is no text, or no gzip, or cut off.
NO_TEXT = (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error)

# Texts compress to a tenth; whatever compresses better is short.
_MAX_RATIO = 100
_SMALL = 2**24  # Bytes.

_Kind = TypeVar('_Kind')


class _BoundedGzip(gzip.GzipFile):
  """A gzip file that refuses to unpack to far more than text does.

  Otherwise 10 MB could become 10 GB.
  """

  def __init__(self, opened: IO[bytes], size: int):
    super().__init__(fileobj=opened)
    self._most = _SMALL + _MAX_RATIO * size

  def read1(self, size: int = -1) -> bytes:
    data = super().read1(size)
    if self.tell() > self._most:
      raise gzip.BadGzipFile(f'it unpacks to more than {self._most} bytes')
    return data

  def read(self, size: int | None = -1) -> bytes:
    if size is not None and size >= 0:
      return self.read1(size)
    return b''.join(iter(lambda: self.read1(_SMALL), b''))


@contextlib.contextmanager
def open_text(path: str) -> Iterator[TextIO]:
  """Open a file of UTF-8 text; gzipped, if its name ends in .gz."""
  with file_system.open(path, 'rb') as f, io.TextIOWrapper(
      _BoundedGzip(f, file_system.size(path)) if path.endswith('.gz') else f,
      encoding='utf-8-sig') as text:
    yield text


def read(path: str) -> Any:
  """Read a JSON file; gzipped, if its name ends in .gz.

  Raises:
    OSError: the file cannot be read.
    ValueError: it is no JSON.
  """
  try:
    with open_text(path) as f:
      return parse(f.read())
  except json.JSONDecodeError as error:
    raise ValueError(f'{path}:{error.lineno}:{error.colno}: broken JSON: '
                     f'{error.msg}') from None
  except (ValueError, *NO_TEXT) as error:
    raise ValueError(f'{path} is no JSON text: {error}') from None


def parse(text: str | bytes, constants: bool = False) -> Any:
  """Parse JSON by its standard, which is stricter than Python's parser.

  Args:
    text: the JSON.
    constants: whether NaN and Infinity, which Python writes, are allowed.

  Raises:
    ValueError: it is no JSON, or has NaN or an object with a key twice, or is
      nested too deeply.
  """
  try:
    return json.loads(
        text, parse_constant=None if constants else _refuse,
        object_pairs_hook=_to_object)
  except RecursionError:
    raise ValueError('it is nested too deeply') from None


def _refuse(constant: str) -> None:
  raise ValueError(f'{constant} is no number of JSON')


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  made = {}
  for key, value in pairs:
    if key in made:
      raise ValueError(f'the key {key!r} stands twice in an object')
    made[key] = value
  return made


def get(entry: Any, key: str, kind: type[_Kind], where: str) -> _Kind:
  """Return a value of an object.

  Args:
    entry: the object.
    key: of the value.
    kind: type of the value.
    where: file and place of the object, for the message.

  Raises:
    ValueError: it is no object, or has no such value.
  """
  value = entry.get(key) if isinstance(entry, dict) else None
  # To Python, true is an int.
  if not isinstance(value, kind) or isinstance(value, bool):
    raise ValueError(f'{where}: {key!r} is missing or no {kind.__name__}')
  return value
