"""Read captions from JSON: COCO's schema, Karpathy's, rows, and JSON lines."""

import json
from collections.abc import Iterator
from typing import Any

from im2txt.files import json_files, text_files
from im2txt.text import caption_rows
from im2txt.text.caption_rows import Columns, Faults, Row

MAX_INT64 = 2**63 - 1


def load(path: str) -> Any:
  """Read a file of JSON, or of JSON lines, which become a list.

  Returns:
    The content; of JSON lines a list of pairs: FILE:LINE and the value.

  Raises:
    OSError: the file cannot be read.
    ValueError: it is neither.
  """
  lines = [(number, line) for number, line in text_files.lines(path)
           if line.strip()]
  if len(lines) > 1 and _is_whole(lines[0][1]):
    return [(f'{path}:{number}', _parse_line(line, f'{path}:{number}'))
            for number, line in lines]
  return json_files.read(path)


def _is_whole(line: str) -> bool:
  try:
    json.loads(line)
  except (ValueError, RecursionError):
    return False
  return True


def _parse_line(line: str, where: str) -> Any:
  try:
    return json_files.parse(line)
  except ValueError as error:
    return ValueError(f'{where}: broken JSON: {error}')


def objects(
    content: Any, path: str, kind: str
) -> Iterator[tuple[str, Any]]:
  """Yield the objects of a content of `load`, each with its place.

  Args:
    content: JSON lines; a list of objects; one object; or an object that has a
      value for each image's name.
    path: the file.
    kind: what an object is called in a message.

  Raises:
    ValueError: it is none of these.
  """
  if isinstance(content, dict):
    if all(isinstance(value, str | list) for value in content.values()) and (
        caption_rows.find_layout(
            list(content), caption_rows.USUAL, list(content)) is None):
      content = [{'image': name, 'captions': value}
                 for name, value in content.items()]
    else:
      content = [content]
  if not isinstance(content, list):
    raise ValueError(f'{path}: no list of objects with image and caption')
  for i, entry in enumerate(content):
    if isinstance(entry, tuple):
      yield entry
    else:
      yield f'{path}: {kind} {i}', entry


def read_rows(
    content: Any, path: str, columns: Columns, faults: Faults
) -> Iterator[Row]:
  """Yield the rows of a content of `load`; see `objects`."""
  for where, entry in objects(content, path, 'row'):
    if isinstance(entry, ValueError):
      faults.add(entry)
      continue
    if not isinstance(entry, dict):
      faults.add(f'{where}: no object with an image and a caption')
      continue
    names = list(entry)
    layout = caption_rows.find_layout(names, columns, names)
    if layout is None:
      faults.add(f'{where}: {caption_rows.describe(names, columns)}')
      continue
    row = caption_rows.make_row(
        where, entry[layout.image], [entry[key] for key in layout.captions],
        None if layout.split is None else entry[layout.split], layout, faults)
    if row:
      yield row


def image_id(value: Any) -> int | str | None:
  """Return an id as an int64 if it is a number, however it is written.

  Returns:
    A text that is no number stays one; None: it is no id.
  """
  if isinstance(value, float) and value.is_integer():
    value = int(value)
  if isinstance(value, str):
    if not (value.isascii() and value.isdecimal() and len(value) < 20):
      return value
    value = int(value)
  if isinstance(value, bool) or not isinstance(value, int):
    return None
  return value if -MAX_INT64 <= value <= MAX_INT64 else None
