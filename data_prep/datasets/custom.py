"""Read the user's own captions: a CSV, TSV or JSONL of image and caption.

A row has one caption; an image with several captions has several rows.
"""

import csv
import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from data_prep.datasets.captioned_images import (
    CaptionedImage,
    image_path,
    number_images,
)
from im2txt.files import file_system, json_files
from im2txt.text import annotations

_DELIMITERS = {'.csv': ',', '.tsv': '\t'}
_SPLIT_NAMES = {'train': 'train', 'val': 'val', 'dev': 'val',
                'validation': 'val', 'valid': 'val', 'test': 'test'}


class Row(NamedTuple):
  """One caption.

  Attributes:
    where: FILE:LINE.
    image: the image's path in the image folder.
    caption: as a person wrote it.
    split: 'train', 'val', 'test', or None if the file has no splits.
  """
  where: str
  image: str
  caption: str
  split: str | None


def read_rows(
    captions_file: str,
    image_column: str,
    caption_column: str,
    split_column: str | None,
) -> list[Row]:
  """Read a captions file.

  Args:
    captions_file: its ending (.csv, .tsv, .jsonl) says its format. CSV and
      TSV begin with a line of column names.
    image_column: column (key in JSONL) of the image's path.
    caption_column: column of the caption.
    split_column: column of the split; None if the file has none.

  Raises:
    ValueError: a row has another format.
    OSError: the file cannot be read.
  """
  ending = os.path.splitext(captions_file)[1].lower()
  columns = [image_column, caption_column]
  if split_column:
    columns.append(split_column)
  if ending in _DELIMITERS:
    table = _read_table(captions_file, _DELIMITERS[ending], columns)
  elif ending == '.jsonl':
    table = _read_jsonl(captions_file, columns)
  else:
    raise ValueError(f'{captions_file}: the name must end in .csv, .tsv or '
                     '.jsonl')
  rows = []
  try:
    for where, cells in table:
      split = None
      if split_column:
        split = _SPLIT_NAMES.get(cells[split_column].strip().lower())
        if split is None:
          raise ValueError(f'{where}: {split_column} {cells[split_column]!r} '
                           f'is none of {", ".join(_SPLIT_NAMES)}')
      caption = annotations.check_caption(cells[caption_column], where)
      rows.append(Row(where, cells[image_column].strip(), caption, split))
  except UnicodeDecodeError as error:
    raise ValueError(f'{captions_file} is no UTF-8 text: {error}') from None
  if not rows:
    raise ValueError(f'{captions_file} has no captions')
  return rows


def group_rows(
    rows: list[Row], image_dir: str
) -> dict[str | None, list[CaptionedImage]]:
  """Collect the captions of each image.

  Args:
    rows: all captions.
    image_dir: folder of the images.

  Returns:
    The images by split; all under None if the rows have no splits.

  Raises:
    ValueError: an image is in two splits, or its path leaves the folder.
  """
  first_rows: dict[str, Row] = {}
  captions: dict[str, list[str]] = {}
  for row in rows:
    first = first_rows.setdefault(row.image, row)
    if row.split != first.split:
      raise ValueError(f'{row.where}: {row.image} is in {row.split} here but '
                       f'in {first.split} at {first.where}')
    captions.setdefault(row.image, []).append(row.caption)
  splits: dict[str | None, list[CaptionedImage]] = {}
  ids = number_images(list(captions))
  for image_id, (name, of_image) in zip(ids, captions.items(),
                                       strict=True):
    first = first_rows[name]
    path = image_path(image_dir, name, first.where)
    splits.setdefault(first.split, []).append(
        CaptionedImage(image_id, path, of_image))
  return splits


def _read_table(
    path: str, delimiter: str, columns: list[str]
) -> Iterator[tuple[str, Mapping[str, str]]]:
  with file_system.open(path, encoding='utf-8-sig', newline='') as f:
    table = csv.reader(f, delimiter=delimiter, strict=True)
    header = None
    try:
      for cells in table:
        where = f'{path}:{table.line_num}'
        if not cells:
          continue
        if header is None:
          header = cells
          _check_header(header, columns, where)
        elif len(cells) != len(header):
          raise ValueError(
              f'{where}: {len(cells)} cells, the first line has {len(header)}; '
              'a cell that contains the delimiter needs quotes around it')
        else:
          yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
      raise ValueError(f'{path}:{table.line_num}: {error}') from None


def _check_header(header: list[str], columns: list[str], where: str) -> None:
  for column in columns:
    if header.count(column) != 1:
      raise ValueError(f'{where}: the first line must have one column '
                       f'{column!r}, it has {", ".join(header)}')


def _read_jsonl(
    path: str, columns: list[str]
) -> Iterator[tuple[str, Mapping[str, str]]]:
  with file_system.open(path, encoding='utf-8-sig') as f:
    for number, line in enumerate(f, 1):
      where = f'{path}:{number}'
      if not line.strip():
        continue
      try:
        cells = json_files.parse(line)
      except ValueError as error:
        raise ValueError(f'{where}: broken JSON: {error}') from None
      for column in columns:
        if not isinstance(cells, dict) or not isinstance(
            cells.get(column), str):
          raise ValueError(f'{where}: no text {column!r}')
      yield where, cells
