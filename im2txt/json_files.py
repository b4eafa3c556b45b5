"""JSON that others wrote, mistrusted: one clear line for what is wrong."""

import contextlib
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from typing import Any, TextIO, TypeVar

from im2txt import file_system

# What reading raises if a file is no text, or no gzip, or cut off.
NO_TEXT = (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error)

_Kind = TypeVar('_Kind')


@contextlib.contextmanager
def open_text(path: str) -> Iterator[TextIO]:
  """Opens a file of UTF-8 text; gzipped, if its name ends in .gz."""
  with file_system.open(path, 'rb') as f, io.TextIOWrapper(
      gzip.GzipFile(fileobj=f) if path.endswith('.gz') else f,
      encoding='utf-8-sig') as text:
    yield text


def read(path: str) -> Any:
  """Reads a JSON file; gzipped, if its name ends in .gz.

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


def parse(text: str | bytes) -> Any:
  """Parses JSON.

  Raises:
    ValueError: it is none.
  """
  try:
    return json.loads(text)
  except RecursionError:
    raise ValueError('brackets within brackets without end') from None


def get(entry: Any, key: str, kind: type[_Kind], where: str) -> _Kind:
  """Returns a value of an object.

  Args:
    entry: the object.
    key: of the value.
    kind: what the value must be.
    where: file and place of the object, for the message.

  Raises:
    ValueError: the object is none, or has no such value.
  """
  value = entry.get(key) if isinstance(entry, dict) else None
  # JSON's true is an int to Python.
  if not isinstance(value, kind) or isinstance(value, bool):
    raise ValueError(f'{where}: {key!r} is missing or no {kind.__name__}')
  return value
