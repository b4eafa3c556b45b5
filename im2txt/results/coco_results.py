"""Read and write results in the format of COCO's evaluation tools.

The format: https://cocodataset.org/#format-results, section Image Captioning.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from im2txt.files import atomic_files
from im2txt.results.result import Result, Write
from im2txt.text import (
    annotations,
    caption_json,
    caption_rows,
    image_names,
)

# How files written here begin.
RESULTS = re.compile(rb'\A\[(\n\{"image_id": |\]\n\Z)')
# COCO_val2014_000000000042.jpg, 000000000042.jpg
_COCO_NAME = re.compile(r'(?:COCO_\w+_)?(\d{12})\.\w+')


def image_ids(
    files: Iterable[str], annotations_file: str | None
) -> dict[str, int | str]:
  """Find the id of each image.

  Args:
    files: images.
    annotations_file: captions of people, whose images have names and ids;
      they are found by the ends of their paths. None: COCO's own file names
      have the id in them, other images go by the ends of their paths.

  Returns:
    Ids by file.

  Raises:
    OSError: the annotations cannot be read.
    ValueError: they are none, or an image has no id, or two have the same.
  """
  files = list(files)
  ids = (_ids_of_names(files) if annotations_file is None
         else _ids_of_annotations(files, annotations_file))
  owners: dict[int | str, str] = {}
  for file, image_id in ids.items():
    owner = owners.setdefault(image_id, file)
    if owner != file:
      raise ValueError(f'{owner} and {file} are both image {image_id}; '
                       'results in COCO\'s format have each image once')
  return ids


def _ids_of_names(files: list[str]) -> dict[str, int | str]:
  names = image_names.shortest(files)
  matches = {file: _COCO_NAME.fullmatch(os.path.basename(file))
             for file in files}
  return {file: int(match.group(1)) if match else names[file]
          for file, match in matches.items()}


def _ids_of_annotations(
    files: list[str], annotations_file: str
) -> dict[str, int | str]:
  known = {image.file_name: image.image_id
           for image in annotations.read(annotations_file)
           if image.file_name is not None}
  if not known:
    raise ValueError(f'{annotations_file} has no images with names')
  names = image_names.ImageNames(known)
  ids = {}
  for file in files:
    try:
      name = names.find(file)
    except ValueError as error:
      raise ValueError(f'{annotations_file}: {error}') from None
    if name is None:
      raise ValueError(f'{file}: {annotations_file} has no image with the '
                       f'file_name {os.path.basename(file)!r}')
    ids[file] = known[name]
  return ids


@contextlib.contextmanager
def write(
    path: str, ids: Mapping[str, int | str]
) -> Iterator[Write]:
  """Write the best caption of each image, the file atomically.

  Args:
    path: the file.
    ids: image ids by file.

  Yields:
    A function to be called with each result; an image that could not be
    read, or for which nothing was found, or that came before, is left out.
  """
  with atomic_files.write(path) as f:
    written: set[int | str] = set()

    def add(result: Result) -> None:
      if result.captions and ids[result.file] not in written:
        f.write((',\n' if written else '[\n') + json.dumps({
            'image_id': ids[result.file],
            'caption': result.captions[0].text}))
        written.add(ids[result.file])

    yield add
    f.write('\n]\n' if written else '[]\n')


def read(path: str) -> dict[int | str, str]:
  """Read results: COCO's, JSON lines, or an object with a value for each image.

  Returns:
    The caption of each image by its id, or by its name. An empty caption is
    among them; it was said of an image, and scores 0.

  Raises:
    OSError: the file cannot be read.
    ValueError: a result lacks its id or caption, or is there twice.
  """
  captions: dict[int | str, str] = {}
  faults = caption_rows.Faults(path)
  content = caption_json.load(path)
  for where, entry in caption_json.objects(content, path, 'result'):
    if isinstance(entry, dict) and 'error' in entry:
      faults.leave_out('images that could not be read')
      continue
    try:
      image_id, caption = _read_result(entry, where)
      if image_id in captions:
        raise ValueError(f'{where} (image {image_id}): this image has a result '
                         'already')
      captions[image_id] = caption
    except ValueError as error:
      faults.add(error)
  faults.finish()
  if not captions:
    raise ValueError(f'{path} has no results')
  return captions


def _read_result(entry: Any, where: str) -> tuple[int | str, str]:
  if isinstance(entry, ValueError):
    raise entry
  values = entry if isinstance(entry, dict) else {}
  names = list(values)
  image = 'image_id' if 'image_id' in values else None
  layout = caption_rows.find_layout(
      names, caption_rows.Columns(image=image), names)
  if layout is None:
    raise ValueError(f"{where}: 'image_id' or 'caption' is missing; results "
                     'are [{"image_id": 42, "caption": "a man ..."}, ...]')
  value = values[layout.image]
  # Any will do: it is only compared. Of the types of JSON bool is an int, too.
  image_id = (value if type(value) in (int, str)
              else caption_json.image_id(value))
  if image_id is None:
    raise ValueError(f'{where}: {layout.image!r} is no id')
  captions = caption_rows.captions_of(
      values[layout.captions[0]], f'{where} (image {image_id})')
  # Of several, as run_inference writes them, the first is the best.
  return image_id, captions[0] if captions else ''
