"""Read captions from tables: CSV, TSV, cells divided by `;` or `|`.

Files are told by their content. They need no header, and may have commas in
captions without quotes where the rest of the line can only be the caption.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from im2txt.files import overwriting, text_files
from im2txt.text import caption_rows
from im2txt.text.caption_rows import Columns, Faults, Layout, Row

_DELIMITERS = ('\t', '|', ';', ',')
# The caption of Flickr8k.token.txt: NAME.jpg#NUMBER<TAB>CAPTION.
_TOKEN = re.compile(r'(.+?)#\s*([0-9]+)\s*\t(.*)')
_COUNTED = re.compile(r'#[0-9]+$')
_MAX_LINES = 100  # Of one cell.


class _Unclosed(ValueError):
  """A quote opens a cell and does not close it."""


class _Line(NamedTuple):
  where: str
  text: str


def is_tokens(line: str) -> bool:
  """Return whether a line is of the form NAME.jpg#NUMBER<TAB>CAPTION."""
  return bool(_TOKEN.fullmatch(line))


def read_tokens(path: str, faults: Faults) -> Iterator[Row]:
  """Yield the rows of a token file of Flickr8k or Flickr30k."""
  keys = set()
  for number, line in text_files.lines(path):
    where = f'{path}:{number}'
    if not line.strip():
      continue
    match = _TOKEN.fullmatch(line)
    if not match:
      faults.add(f'{where}: not of the form NAME.jpg#NUMBER<TAB>CAPTION')
      continue
    name, count, caption = match.groups()
    if (name, count) in keys:
      faults.add(f'{where}: {name}#{count} stands in the file twice')
    keys.add((name, count))
    if caption.strip():
      yield Row(where, name, [caption.strip()])
    else:
      faults.leave_out('empty captions')


def read(path: str, columns: Columns, faults: Faults) -> Iterator[Row]:
  """Yield the rows of a table.

  Args:
    path: the file.
    columns: names of its columns, if it has others than usual.
    faults: get what is wrong.

  Raises:
    OSError: the file cannot be read.
    ValueError: it is no text, or its columns are unknown.
  """
  lines = [_Line(f'{path}:{number}', text)
           for number, text in text_files.lines(path) if text.strip()]
  if not lines:
    return
  delimiter, layout, header_width = _find_layout(lines[0], columns)
  width = header_width or layout.captions[-1] + 1
  takes_rest = _takes_rest(layout, width)
  i = 1 if header_width else 0
  while i < len(lines):
    where = lines[i].where
    try:
      cells, i = _parse(
          lines, i, delimiter, layout.image, width if takes_rest else None)
    except _Unclosed as error:
      faults.add(error)
      i += 1
      continue
    row = _make_row(where, cells, layout, width, faults)
    if row:
      yield row


def _find_layout(
    first: _Line, columns: Columns
) -> tuple[str, Layout[int], int]:
  """Return the delimiter, where cells are, and the number of the header's."""
  for delimiter in _DELIMITERS:
    names = first.text.split(delimiter)
    layout = caption_rows.find_layout(names, columns, range(len(names)))
    if layout:
      return delimiter, layout, len(names)
  if columns == caption_rows.USUAL:
    for delimiter in _DELIMITERS:
      image, *rest = first.text.split(delimiter)
      if rest and _is_image(image):
        counted = len(rest) > 1 and rest[0].strip().isdecimal()
        return delimiter, Layout(
            0, [2 if counted else 1], 1 if counted else None, None), 0
  names = max((first.text.split(delimiter) for delimiter in _DELIMITERS),
              key=len)
  raise ValueError(f'{first.where}: the first line '
                   f'{caption_rows.describe(names, columns)}')


def _takes_rest(layout: Layout[int], width: int) -> bool:
  """Return whether all behind the other cells of a row is its caption."""
  known = {layout.image, layout.number, *layout.captions} - {None}
  return (layout.captions == [width - 1] and len(known) == width
          and layout.split is None)


def _is_image(cell: str) -> bool:
  name = _COUNTED.sub('', cell.strip().strip('"').strip())
  return name.lower().endswith(overwriting.IMAGE_SUFFIXES)


def _parse(
    lines: Sequence[_Line], i: int, delimiter: str, image: int,
    width: int | None,
) -> tuple[list[str], int]:
  """Split a row into its cells.

  Args:
    lines: of the file.
    i: index of the row's first line.
    delimiter: stands between cells.
    image: index of the image's cell.
    width: number of cells, of which the last takes the rest of the line; None:
      any number.

  Returns:
    The cells, and the index of the next row's first line.

  Raises:
    _Unclosed: a quote opens a cell and does not close it.
  """
  cells: list[str] = []
  first, position = i, 0
  while True:
    is_last = width is not None and len(cells) == width - 1
    quoted = _quoted(lines, i, position, delimiter, is_last)
    if quoted:
      cell, i, end = quoted
    else:
      text = lines[i].text
      found = -1 if is_last else text.find(delimiter, position)
      end = len(text) if found < 0 else found
      cell = text[position:end]
    if i > first and _has_row(lines[first + 1:i + 1], lines[first], delimiter,
                              image):
      raise _Unclosed(
          f'{lines[first].where}: a quote opens a cell here and closes it in '
          f'{lines[i].where}, behind other rows; close it in its line')
    cells.append(cell)
    if end >= len(lines[i].text):
      return cells, i + 1
    position = end + len(delimiter)


def _quoted(
    lines: Sequence[_Line], i: int, position: int, delimiter: str,
    is_last: bool,
) -> tuple[str, int, int] | None:
  """Read a cell in quotes.

  Returns:
    The cell, the index of the line in which it ends, and where it ends there;
    None if no quotes are around the cell.

  Raises:
    _Unclosed: the quote is not closed.
  """
  ends = '$' if is_last else f'(?={re.escape(delimiter)}|$)'
  blanks = ' *' if delimiter == '\t' else r'[ \t]*'
  text = lines[i].text
  opening = re.compile(f'{blanks}"').match(text, position)
  if not opening:
    return None
  inside = re.compile('(?:[^"]+|"")*+')
  closing = re.compile(f'"(?!"){blanks}{ends}')
  parts: list[str] = []
  start = opening.end()
  for j in range(i, min(i + _MAX_LINES, len(lines))):
    text = lines[j].text
    match = inside.match(text, start)
    assert match
    parts.append(match.group())
    if match.end() < len(text):
      closed = closing.match(text, match.end())
      if closed:
        return '\n'.join(parts).replace('""', '"'), j, closed.end()
      if j == i:  # A text that begins with a word in quotes.
        return None
      break
    start = 0
  raise _Unclosed(f'{lines[i].where}: the quote that opens a cell here is '
                  'never closed')


def _has_row(
    lines: Sequence[_Line], row: _Line, delimiter: str, image: int
) -> bool:
  """Return whether one of the lines looks like a row of its own."""
  def shape(line: _Line) -> str | None:
    cells = line.text.split(delimiter)
    if len(cells) <= max(image, 1 - image):
      return None
    cell = cells[image].strip()
    return 'image' if _is_image(cell) else re.sub('[0-9]+', '0', cell)

  known = shape(row)
  return known is not None and any(shape(line) == known for line in lines)


def _make_row(
    where: str, cells: list[str], layout: Layout[int], width: int,
    faults: Faults,
) -> Row | None:
  if not any(cell.strip() for cell in cells):
    faults.leave_out('empty rows')
    return None
  if len(cells) == width - 1 and layout.number == len(cells) - 1:
    # One row of Flickr30k's results.csv has lost its last bar.
    merged = re.fullmatch(r'\s*([0-9]+)\s+(.+)', cells[-1])
    if merged:
      cells = [*cells[:-1], *merged.groups()]
  if len(cells) != width:
    faults.add(
        f'{where}: {len(cells)} cells, the first line has {width}; a cell that '
        'contains the delimiter needs quotes around it')
    return None
  return caption_rows.make_row(
      where, _COUNTED.sub('', cells[layout.image].strip()),
      [cells[key] for key in layout.captions],
      None if layout.split is None else cells[layout.split], layout, faults)
