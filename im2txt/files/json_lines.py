"""Files with one JSON value a line, which are read back and appended to."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, TypeVar

from im2txt.files import file_system

_Entry = TypeVar('_Entry')

# What a parser raises on a line that is JSON of another form, or no JSON.
_NOT_PARSED = (
    ValueError, LookupError, TypeError, AttributeError, OverflowError)


def to_line(value: Any) -> bytes:
  """Return a value as one line of JSON, ASCII, with its line end."""
  return json.dumps(value).encode('ascii') + b'\n'


def append(path: str, value: Any) -> None:
  """Append a line to a file, which is made if it is not there.

  Raises:
    OSError: it cannot be written.
  """
  with file_system.open(path, 'ab') as f:
    f.write(to_line(value))


def read(
    path: str, parse: Callable[[bytes], _Entry], what: str, advice: str
) -> list[_Entry]:
  """Read a file.

  Args:
    path: the file.
    parse: makes an entry of a line, or raises ValueError, LookupError,
      TypeError, AttributeError or OverflowError.
    what: what an entry is, for the message.
    advice: what to do about a bad line, for the message.

  Raises:
    OSError: it cannot be read.
    ValueError: a line cannot be parsed; the message names file and line.
  """
  with file_system.open(path, 'rb') as f:
    return [_parse(line, parse, f'{path}:{number}: no {what}', advice)
            for number, line in enumerate(f, 1)]


def recover(
    opened: IO[bytes],
    path: str,
    parse: Callable[[bytes], _Entry],
    what: str,
    advice: str,
    first_number: int = 1,
) -> Iterator[tuple[int, _Entry]]:
  """Read the rest of a journal and cut off a last line that is not whole.

  A process that is killed may leave half a line; a whole one has a line end.

  Args:
    opened: the file, open to be read and written.
    path: its name, for the message.
    parse: see `read`.
    what: see `read`.
    advice: see `read`.
    first_number: number of the line that is read first.

  Yields:
    Where a line begins, in bytes, and its entry.

  Raises:
    ValueError: a whole line cannot be parsed; the message names file and line.
  """
  place = opened.tell()
  for number, line in enumerate(_whole_lines(opened), first_number):
    yield place, _parse(line, parse, f'{path}:{number}: no {what}', advice)
    place += len(line)
  opened.truncate(place)


def _whole_lines(opened: IO[bytes]) -> Iterable[bytes]:
  while (line := opened.readline()).endswith(b'\n'):
    yield line


def _parse(
    line: bytes, parse: Callable[[bytes], _Entry], problem: str, advice: str
) -> _Entry:
  try:
    return parse(line)
  except _NOT_PARSED as error:
    # str() of a KeyError is only the key.
    reason = str(error) if isinstance(error, ValueError) else repr(error)
    raise ValueError(f'{problem} ({reason}); {advice}') from None
