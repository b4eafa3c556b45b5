"""JSON files from outside: every fault of theirs is one clear message."""

import json
from typing import Any, TypeVar

from im2txt.files import text_files

_Kind = TypeVar('_Kind')


def read(path: str) -> Any:
  """Read a JSON file, which may be gzipped.

  Raises:
    OSError: the file cannot be read.
    ValueError: it is no JSON.
  """
  text = text_files.read(path)
  try:
    return parse(text)
  except json.JSONDecodeError as error:
    raise ValueError(f'{path}:{error.lineno}:{error.colno}: broken JSON: '
                     f'{error.msg}') from None
  except ValueError as error:
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
