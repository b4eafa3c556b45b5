"""Read and write results in the format of COCO's evaluation tools.

The format: https://cocodataset.org/#format-results, section Image Captioning.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping

from im2txt.files import atomic_files, json_files
from im2txt.results.result import Result, Write
from im2txt.text import annotations

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
    annotations_file: JSON in COCO's format, whose `images` have `file_name`
      and `id`; None: COCO's own file names have the id in them, other
      images go by their name.

  Returns:
    Ids by file.

  Raises:
    OSError: the annotations cannot be read.
    ValueError: they are none, or an image has no id, or two have the same.
  """
  known = _read_ids(annotations_file) if annotations_file else None
  ids: dict[str, int | str] = {}
  owners: dict[int | str, str] = {}
  for file in files:
    name = os.path.basename(file)
    if known is not None:
      if name not in known:
        raise ValueError(f'{file}: {annotations_file} has no image with the '
                         f'file_name {name!r}')
      ids[file] = known[name]
    else:
      match = _COCO_NAME.fullmatch(name)
      ids[file] = int(match.group(1)) if match else name
    owner = owners.setdefault(ids[file], file)
    if owner != file:
      raise ValueError(f'{owner} and {file} are both image {ids[file]}; '
                       'results in COCO\'s format have each image once')
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
  """Read results.

  Returns:
    The caption of each image, by id.

  Raises:
    OSError: the file cannot be read.
    ValueError: it is no list of results, or one lacks its id or caption, has
      an empty one or is there twice.
  """
  content = json_files.read(path)
  if not isinstance(content, list):
    raise ValueError(f'{path} is no list; results are '
                     '[{"image_id": 42, "caption": "a man ..."}, ...]')
  if not content:
    raise ValueError(f'{path} has no results')
  captions = {}
  for i, entry in enumerate(content):
    where = f'{path}: result {i}'
    image_id = entry.get('image_id') if isinstance(entry, dict) else None
    if not isinstance(image_id, int | str) or isinstance(image_id, bool):
      raise ValueError(f"{where}: 'image_id' is missing or no id")
    where += f' (image {image_id})'
    if image_id in captions:
      raise ValueError(f'{where}: this image has a result already')
    captions[image_id] = annotations.check_caption(
        json_files.get(entry, 'caption', str, where), where)
  return captions


def _read_ids(path: str) -> dict[str, int]:
  """Read the images' ids by file name."""
  images = annotations.get_list(json_files.read(path), 'images', path)
  ids = {}
  for i, entry in enumerate(images):
    where = f'{path}: images[{i}]'
    name = json_files.get(entry, 'file_name', str, where)
    ids[name] = annotations.get_image_id(entry, 'id', where)
  return ids
