"""What the rows of caption files have in common, whatever their form."""

import ast
import collections
import json
import re
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from absl import logging

# Names of columns (keys in JSON), the most telling first.
_IMAGE = (
    'image', 'file_name', 'filename', 'file_path', 'filepath', 'image_path',
    'image_name', 'image_file', 'img_path', 'img', 'file', 'path', 'photo',
    'name', 'image_id', 'id')
_CAPTION = (
    'caption', 'captions', 'caption_text', 'comment', 'text', 'sentence',
    'sentences', 'description', 'raw', 'alt_text')
_NUMBERED = re.compile('(caption|comment|text|sentence)_?[0-9]+')
_NUMBER = ('comment_number', 'caption_number', 'caption_id', 'number', 'index')
_SPLITS = {
    'train': 'train', 'training': 'train', 'restval': 'train', 'val': 'val',
    'dev': 'val', 'validation': 'val', 'valid': 'val', 'test': 'test',
    'testing': 'test'}
_LISTED = 10  # Faults that an error names.

_Key = TypeVar('_Key', int, str)


class Columns(NamedTuple):
  """Names of columns, as the user gives them; None: they are found."""

  image: str | None = None
  caption: str | None = None
  split: str | None = None


USUAL = Columns()


class Layout(NamedTuple, Generic[_Key]):
  """Where a row has its parts: indices in tables, keys in JSON."""

  image: _Key
  captions: list[_Key]
  number: _Key | None  # Which of its image's captions it is.
  split: _Key | None


class Row(NamedTuple):
  """The captions of an image in one place of a file.

  Attributes:
    where: file and line (or position), for messages.
    image: path of the image as the file has it.
    captions: as people wrote them; none is empty.
    split: 'train', 'val', 'test', or None if the file has no splits.
  """

  where: str
  image: str
  captions: list[str]
  split: str | None = None


class Faults:
  """What is wrong in a caption file, so that all of it is said at once."""

  def __init__(self, path: str):
    self._path = path
    self._first: list[str] = []
    self._number = 0
    self._left_out: collections.Counter[str] = collections.Counter()

  def add(self, fault: object) -> None:
    """Note a fault, which begins with its place in the file."""
    self._number += 1
    if len(self._first) < _LISTED:
      self._first.append(str(fault))

  def leave_out(self, what: str, number: int = 1) -> None:
    """Count what is left out but no fault, such as 'empty captions'."""
    self._left_out[what] += number

  def finish(self) -> None:
    """Say what was left out.

    Raises:
      ValueError: there were faults; it has the first of them and a count.
    """
    if self._number:
      more = self._number - len(self._first)
      raise ValueError('; '.join(self._first) + (
          f'; and {more} more: {self._number} faults in {self._path}'
          if more else ''))
    for what, number in self._left_out.items():
      if number:
        logging.warning('%s: %d %s are left out', self._path, number, what)


def find_layout(
    names: Sequence[str], columns: Columns, keys: Sequence[_Key]
) -> Layout[_Key] | None:
  """Find the columns of image, captions, count and split by their names.

  Args:
    names: of the columns, as the file has them.
    columns: the names that the user gave; only these count then.
    keys: what the layout is to have in place of each name.

  Returns:
    None if there is no image or no caption among them.
  """
  plain = [_normalized(name) for name in names]

  def find(wanted: str | None, known: Sequence[str]) -> _Key | None:
    candidates = known if wanted is None else [_normalized(wanted)]
    return next((keys[plain.index(name)] for name in candidates
                 if plain.count(name) == 1), None)

  image = find(columns.image, _IMAGE)
  caption = find(columns.caption, _CAPTION)
  captions = [] if caption is None else [caption]
  if columns.caption is None and caption is None:
    captions = [key for key, name in zip(keys, plain, strict=True)
                if _NUMBERED.fullmatch(name)]
  split = find(columns.split, ()) if columns.split else None
  if image is None or not captions or (columns.split and split is None):
    return None
  return Layout(image, captions, find(None, _NUMBER), split)


def describe(names: Sequence[str], columns: Columns) -> str:
  """Return what is wrong with names of which `find_layout` found none."""
  wanted = ' and '.join(repr(name or usual) for name, usual in (
      (columns.image, 'image'), (columns.caption, 'caption'),
      (columns.split, '')) if name or usual)
  return (f'needs one column {wanted} (or usual names such as file_name and '
          f'text), it has {", ".join(map(repr, names))[:300]}; '
          '--image_column and --caption_column name others')


def make_row(
    where: str, image: Any, values: Sequence[Any], split: Any,
    layout: Layout[Any], faults: Faults,
) -> Row | None:
  """Make a row of what a file has in it.

  Args:
    where: file and line.
    image: the image's path.
    values: captions, or lists of them.
    split: name of the split.
    layout: says whether the file has splits.
    faults: get what is wrong.

  Returns:
    None if there is a fault, or no caption is left.
  """
  captions = []
  for value in values:
    try:
      captions += captions_of(value, where)
    except ValueError as error:
      faults.add(error)
      return None
  kept = [caption.strip() for caption in captions if caption.strip()]
  faults.leave_out('empty captions', len(captions) - len(kept))
  if isinstance(image, bool) or not isinstance(image, str | int):
    faults.add(f"{where}: {layout.image!r} is missing or no image's path")
    return None
  image = str(image).strip()
  if not kept:
    return None
  if not image:
    faults.add(f'{where}: no image, but a caption')
    return None
  named = None
  if layout.split is not None:
    named = split_of(split)
    if named is None:
      faults.add(f'{where}: the split {split!r} is none of '
                 f'{", ".join(_SPLITS)}')
      return None
  return Row(where, image, kept, named)


def split_of(name: Any) -> str | None:
  """Return 'train', 'val' or 'test' for a name of a split; None: unknown."""
  return _SPLITS.get(name.strip().lower()) if isinstance(name, str) else None


def captions_of(value: Any, where: str) -> list[str]:
  """Return the captions in a value; empty ones are among them.

  Args:
    value: a caption; a list of captions, or of objects that have one; or a
      text in which such a list is written, as in a cell of a table.
    where: file and line.

  Raises:
    ValueError: it is none, or text that cannot be encoded as UTF-8.
  """
  if isinstance(value, str):
    listed = _listed(value)
    if listed is None:
      check_text(value, f'{where}: the caption')
      return [value]
    value = listed
  if value is None:
    return ['']
  if not isinstance(value, list):
    raise ValueError(f'{where}: no caption, but {str(value)[:80]!r}')
  captions = []
  for entry in value:
    if isinstance(entry, dict):
      entry = next((entry[key] for key in ('raw', *_CAPTION)
                    if isinstance(entry.get(key), str)), None)
    if not isinstance(entry, str):
      raise ValueError(f'{where}: a caption is missing or no text')
    check_text(entry, f'{where}: the caption')
    captions.append(entry)
  return captions


def check_text(text: str, what: str) -> None:
  """Raise ValueError if the text cannot be encoded as UTF-8."""
  try:
    text.encode()
  except UnicodeEncodeError as error:  # JSON can hold lone surrogates.
    raise ValueError(f'{what} is broken text: {error}') from None


def _normalized(name: str) -> str:
  return re.sub('[ -]', '_', name.strip().strip('"\'').strip().lower())


def _listed(text: str) -> list[str] | None:
  """Return the texts of a list in JSON, or as Python writes it."""
  text = text.strip()
  if not (re.match(r'\[\s*["\']', text) and text.endswith(']')):
    return None
  for parse in (json.loads, ast.literal_eval):
    try:
      found = parse(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
      continue
    if isinstance(found, list) and all(isinstance(x, str) for x in found):
      return found
  return None
