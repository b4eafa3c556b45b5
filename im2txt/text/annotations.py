"""Read images with their captions from caption files of any usual form.

A file is told by its content:
  COCO's (2014, 2017, or any file of their schema) is JSON with
    images:       [{"id": 391895, "file_name": "COCO_val2014_000000391895.jpg"}]
    annotations:  [{"id": 770337, "image_id": 391895, "caption": "A man ..."}]
  Karpathy's dataset_coco.json, dataset_flickr8k.json, dataset_flickr30k.json:
    images:       [{"cocoid": 391895, "filepath": "val2014", "split": "test",
                    "filename": "x.jpg", "sentences": [{"raw": "A man ..."}]}]
  Flickr8k.token.txt and Flickr30k's: NAME.jpg#0<TAB>A child ...
  tables: CSV, TSV, `|` or `;` between cells; see `caption_tables`
  rows in JSON or JSON lines: {"file_name": "a.jpg", "text": "A child ..."}
  a folder with a text beside each image: a.jpg and a.txt or a.caption
All may be gzipped. Further keys and columns are ignored.
"""

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

from im2txt.files import file_system, json_files, overwriting, text_files
from im2txt.text import caption_json, caption_rows, caption_tables
from im2txt.text.caption_json import image_id as parse_id
from im2txt.text.caption_rows import Columns, Faults, Row

_SIDECARS = ('.txt', '.caption')
# Of Hugging Face's image folders.
_METADATA = ('metadata.jsonl', 'metadata.csv')


class AnnotatedImage(NamedTuple):
  """An image and its reference captions.

  Attributes:
    image_id: COCO's id, an int64; otherwise the image's name as the file has
      it.
    file_name: None if COCO's file does not have it; the image's path.
    captions: as written; no caption is empty, but the list may be.
    where: file and position of the image, for messages.
    split: 'train', 'val', 'test'; None if the file has no splits.
  """

  image_id: int | str
  file_name: str | None
  captions: list[str]
  where: str
  split: str | None = None


def read(
    path: str, columns: Columns = caption_rows.USUAL
) -> list[AnnotatedImage]:
  """Read a caption file of any form, in the order of its images.

  What is left out, such as empty captions, is counted in the log.

  Args:
    path: the file, or a folder of images with texts beside them.
    columns: names of columns or keys, where they are not usual ones.

  Raises:
    ValueError: the file has no such form, or rows of it are wrong: the message
      has the first of them and their number.
    OSError: it cannot be read.
  """
  faults = Faults(path)
  if file_system.isdir(path):
    metadata = next((
        name for name in _METADATA
        if file_system.isfile(os.path.join(path, name))), None)
    if metadata:
      return read(os.path.join(path, metadata), columns)
    images = _group(_read_sidecars(path, faults), faults)
  else:
    images = _read_file(path, columns, faults)
  faults.finish()
  return images


def _read_file(
    path: str, columns: Columns, faults: Faults
) -> list[AnnotatedImage]:
  first = next((line for _, line in text_files.lines(path) if line.strip()), '')
  if caption_tables.is_tokens(first):
    return _group(caption_tables.read_tokens(path, faults), faults)
  if not first.lstrip().startswith(('{', '[')):
    return _group(caption_tables.read(path, columns, faults), faults)
  content = caption_json.load(path)
  if isinstance(content, dict) and 'images' in content:
    images = get_list(content, 'images', path)
    if 'annotations' not in content and any(
        isinstance(entry, dict) and 'sentences' in entry for entry in images):
      return _read_karpathy(images, path, faults)
    return _read_coco(content, path, faults)
  return _group(
      caption_json.read_rows(content, path, columns, faults), faults)


def _group(rows: Iterable[Row], faults: Faults) -> list[AnnotatedImage]:
  """Collect the captions of each image."""
  images: dict[str, AnnotatedImage] = {}
  for where, name, captions, split in rows:
    image = images.setdefault(
        name, AnnotatedImage(name, name, [], where, split))
    if split != image.split:
      faults.add(f'{where}: {name} is in {split} here but in {image.split} at '
                 f'{image.where}')
    image.captions.extend(captions)
  return list(images.values())


def _read_coco(
    content: Any, path: str, faults: Faults
) -> list[AnnotatedImage]:
  images: dict[int | str, AnnotatedImage] = {}
  for i, entry in enumerate(get_list(content, 'images', path)):
    where = f'{path}: images[{i}]'
    try:
      image_id = get_image_id(entry, 'id', where)
      if image_id in images:
        raise ValueError(f'{where}: the image id {image_id} is there twice')
      name = entry.get('file_name')
      if name is not None:
        json_files.get(entry, 'file_name', str, where)
      images[image_id] = AnnotatedImage(image_id, name, [], where)
    except ValueError as error:
      faults.add(error)
  # COCO's files of test images have no annotations.
  annotations = ('annotations' in content
                 and get_list(content, 'annotations', path) or [])
  for i, entry in enumerate(annotations):
    where = f'{path}: annotations[{i}]'
    try:
      image_id = get_image_id(entry, 'image_id', where)
      caption = json_files.get(entry, 'caption', str, where)
      caption_rows.check_text(caption, f'{where}: the caption')
      if image_id not in images:
        raise ValueError(f'{where}: no image has the image id {image_id}')
    except ValueError as error:
      faults.add(error)
      continue
    # VizWiz's: its authors leave out what is no caption.
    if entry.get('is_rejected') or entry.get('is_precanned'):
      faults.leave_out('rejected or precanned captions')
    elif caption.strip():
      images[image_id].captions.append(caption)
    else:
      faults.leave_out('empty captions')
  return list(images.values())


def _read_karpathy(
    entries: list[Any], path: str, faults: Faults
) -> list[AnnotatedImage]:
  images: dict[int | str, AnnotatedImage] = {}
  for i, entry in enumerate(entries):
    where = f'{path}: images[{i}]'
    try:
      name = json_files.get(entry, 'filename', str, where)
      folder = (json_files.get(entry, 'filepath', str, where)
                if 'filepath' in entry else '')
      image_id = (get_image_id(entry, 'cocoid', where) if 'cocoid' in entry
                  else name)
      if image_id in images:
        raise ValueError(f'{where}: the image id {image_id} is there twice')
      split = caption_rows.split_of(entry.get('split'))
      if split is None:
        raise ValueError(f'{where}: the split {entry.get("split")!r} is none '
                         'of train, restval, val, test')
      captions = caption_rows.captions_of(
          json_files.get(entry, 'sentences', list, where), where)
    except ValueError as error:
      faults.add(error)
      continue
    kept = [caption for caption in captions if caption.strip()]
    faults.leave_out('empty captions', len(captions) - len(kept))
    images[image_id] = AnnotatedImage(
        image_id, os.path.join(folder, name), kept, where, split)
  return list(images.values())


def _read_sidecars(folder: str, faults: Faults) -> list[Row]:
  """Read the texts beside images; each line of a text is a caption."""
  rows = []
  for parent, _, names in sorted(file_system.walk(folder)):
    texts = {os.path.splitext(name)[0]: name for name in names
             if name.endswith(_SIDECARS)}
    for name in sorted(names):
      if not name.lower().endswith(overwriting.IMAGE_SUFFIXES) or (
          name.startswith('.')):
        continue
      text = texts.pop(os.path.splitext(name)[0], None)
      if text is None:
        faults.leave_out('images without a text beside them')
        continue
      path = os.path.join(parent, text)
      captions = [line.strip() for _, line in text_files.lines(path)
                  if line.strip()]
      if captions:
        image = os.path.relpath(os.path.join(parent, name), folder)
        rows.append(Row(path, image, captions))
      else:
        faults.leave_out('empty texts')
    faults.leave_out('texts without an image beside them', len(texts))
  return rows


def get_image_id(entry: Any, key: str, where: str) -> int | str:
  """Return an image id of COCO's schema: an int64, or a text.

  Raises:
    ValueError: it is missing, or no id.
  """
  value = entry.get(key) if isinstance(entry, dict) else None
  image_id = parse_id(value)
  if image_id is None:
    raise ValueError(f'{where}: {key!r} is missing or no id (an int64, or a '
                     'text)')
  if isinstance(image_id, str):
    caption_rows.check_text(image_id, f'{where}: {key!r}')
  return image_id


def get_list(content: Any, key: str, path: str) -> list[Any]:
  """Return a list of a file of COCO's schema.

  Raises:
    ValueError: the file does not have it.
  """
  values = content.get(key) if isinstance(content, dict) else None
  if not isinstance(values, list):
    raise ValueError(f'{path}: no list {key!r}; is it a captions file of '
                     'COCO\'s schema?')
  return values
