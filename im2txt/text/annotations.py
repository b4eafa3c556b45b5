"""Read caption files in the formats of COCO and Flickr8k.

COCO's (2014, 2017, or any file of their schema) is JSON with
  images:       [{"id": 391895, "file_name": "COCO_val2014_000000391895.jpg"}]
  annotations:  [{"id": 770337, "image_id": 391895, "caption": "A man ..."}]
and further keys, which are ignored. Flickr8k.token.txt (and
Flickr30k's) has lines `1000268201_693b08cb0e.jpg#0<TAB>A child ...`.
"""

from collections.abc import Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from im2txt.files import json_files

MAX_INT64 = 2**63 - 1

_Id = TypeVar('_Id', int, str)


class AnnotatedImage(NamedTuple, Generic[_Id]):
  """An image and its reference captions.

  Attributes:
    image_id: COCO's id, an int64; for Flickr8k the file's name.
    file_name: None if COCO's file does not have it.
    captions: as written; no caption is empty, but the list may be.
    where: file and position of the image, for messages.
  """

  image_id: _Id
  file_name: str | None
  captions: list[str]
  where: str


def read(
    path: str
) -> list[AnnotatedImage[int]] | list[AnnotatedImage[str]]:
  """Read a caption file of either format.

  Raises:
    ValueError: the file has neither format.
    OSError: it cannot be read.
  """
  for _, line in lines(path):
    if line.lstrip().startswith(('{', '[')):
      return read_coco(path)
    break
  return read_flickr8k(path)


def read_coco(path: str) -> list[AnnotatedImage[int]]:
  """Read a caption file of COCO's schema, in the order of its images.

  Raises:
    ValueError: it does not follow the schema, or has a duplicate id or an
      empty caption.
    OSError: it cannot be read.
  """
  content = json_files.read(path)
  images: dict[int, AnnotatedImage[int]] = {}
  for i, entry in enumerate(get_list(content, 'images', path)):
    where = f'{path}: images[{i}]'
    image_id = get_image_id(entry, 'id', where)
    if image_id in images:
      raise ValueError(f'{where}: the image id {image_id} is there twice')
    name = entry.get('file_name')
    if name is not None:
      json_files.get(entry, 'file_name', str, where)
    images[image_id] = AnnotatedImage(image_id, name, [], where)
  annotation_ids = set()
  for i, entry in enumerate(get_list(content, 'annotations', path)):
    where = f'{path}: annotations[{i}]'
    annotation_id = json_files.get(entry, 'id', int, where)
    where = f'{path}: annotation {annotation_id}'
    if annotation_id in annotation_ids:
      raise ValueError(f'{where}: this id is there twice')
    annotation_ids.add(annotation_id)
    image_id = json_files.get(entry, 'image_id', int, where)
    if image_id not in images:
      raise ValueError(f'{where}: no image has the image id {image_id}')
    images[image_id].captions.append(
        check_caption(json_files.get(entry, 'caption', str, where), where))
  return list(images.values())


def read_flickr8k(path: str) -> list[AnnotatedImage[str]]:
  """Read a token file of Flickr8k, in the order of its images.

  Raises:
    ValueError: a line is malformed or a duplicate.
    OSError: the file cannot be read.
  """
  images: dict[str, AnnotatedImage[str]] = {}
  keys = set()
  for where, line in lines(path):
    key, tab, caption = line.partition('\t')
    name, hash_mark, number = key.rpartition('#')
    if not (tab and hash_mark and name and number.strip().isdigit()):
      raise ValueError(f'{where}: not of the form NAME.jpg#NUMBER<TAB>CAPTION')
    if key in keys:
      raise ValueError(f'{where}: {key} stands in the file twice')
    keys.add(key)
    images.setdefault(name, AnnotatedImage(name, name, [], where)).captions \
        .append(check_caption(caption.strip(), where))
  return list(images.values())


def lines(path: str) -> Iterator[tuple[str, str]]:
  """Yield FILE:LINE and the line, for each line that is not blank."""
  try:
    with json_files.open_text(path) as f:
      for number, line in enumerate(f, 1):
        if line.strip():
          yield f'{path}:{number}', line
  except json_files.NO_TEXT as error:
    raise ValueError(f'{path} is no UTF-8 text: {error}') from None


def check_caption(caption: str, where: str) -> str:
  """Check and return a caption.

  Args:
    caption: as read.
    where: file and line (or id) of the caption, for the message.

  Raises:
    ValueError: it is empty, or cannot be encoded as UTF-8.
  """
  if not caption.strip():
    raise ValueError(f'{where}: the caption is empty; remove or fill it')
  check_text(caption, f'{where}: the caption')
  return caption


def check_text(text: str, what: str) -> None:
  """Raise ValueError if the text cannot be encoded as UTF-8."""
  try:
    text.encode()
  except UnicodeEncodeError as error:  # JSON can hold lone surrogates.
    raise ValueError(f'{what} is broken text: {error}') from None


def get_image_id(entry: Any, key: str, where: str) -> int:
  """Return an image id of COCO's schema, as `json_files.get` does.

  Raises:
    ValueError: it is missing, or not an int64.
  """
  image_id = json_files.get(entry, key, int, where)
  if not -MAX_INT64 <= image_id <= MAX_INT64:
    raise ValueError(f'{where}: the image id {image_id} is no int64')
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
