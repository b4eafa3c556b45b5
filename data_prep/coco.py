"""Reads COCO's caption files (2014's, 2017's, any of their schema) into splits.

A caption file is JSON with
  images:       [{"id": 391895, "file_name": "COCO_val2014_000000391895.jpg"}]
  annotations:  [{"id": 770337, "image_id": 391895, "caption": "A man ..."}]
Karpathy's dataset_coco.json has
  images:       [{"cocoid": 391895, "filepath": "val2014",
                  "filename": "COCO_val2014_000000391895.jpg",
                  "split": "test", "sentences": [{"raw": "A man ..."}]}]
Further keys are of no interest here.
"""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from absl import logging

from data_prep.captioned_images import (
    MAX_INT64,
    CaptionedImage,
    Splits,
    check_caption,
    image_path,
)

_Item = TypeVar('_Item')
_KARPATHY_SPLITS = {
    'train': 'train', 'restval': 'train', 'val': 'val', 'test': 'test'}


def read_captions(captions_file: str, image_dir: str) -> list[CaptionedImage]:
  """Reads the captioned pictures of one caption file, in its order.

  Args:
    captions_file: JSON in COCO's schema.
    image_dir: folder of the pictures.

  Raises:
    ValueError: the file is not of that schema, has an id twice or an empty
      caption, or a picture's path leaves the folder.
    OSError: the file cannot be read.
  """
  content = _read_json(captions_file)
  captions = {}
  paths = {}
  for i, entry in enumerate(_list(content, 'images', captions_file)):
    where = f'{captions_file}: images[{i}]'
    image_id = _image_id(entry, 'id', where)
    if image_id in captions:
      raise ValueError(f'{where}: the image id {image_id} is there twice')
    captions[image_id] = []
    paths[image_id] = image_path(
        image_dir, _get(entry, 'file_name', str, where), where)
  annotation_ids = set()
  for i, entry in enumerate(_list(content, 'annotations', captions_file)):
    where = f'{captions_file}: annotations[{i}]'
    annotation_id = _get(entry, 'id', int, where)
    where = f'{captions_file}: annotation {annotation_id}'
    if annotation_id in annotation_ids:
      raise ValueError(f'{where}: this id is there twice')
    annotation_ids.add(annotation_id)
    image_id = _get(entry, 'image_id', int, where)
    if image_id not in captions:
      raise ValueError(f'{where}: no picture has the image id {image_id}')
    captions[image_id].append(
        check_caption(_get(entry, 'caption', str, where), where))
  return _captioned([CaptionedImage(image_id, paths[image_id], of_image)
                     for image_id, of_image in captions.items()],
                    captions_file)


def split_as_im2txt(
    train: list[_Item], val: list[_Item]
) -> dict[str, list[_Item]]:
  """Gives 85 % of COCO's large validation set to training, 10 % to testing.

  Args:
    train: the pictures of the training file.
    val: those of the validation file, in its order.
  """
  train_cutoff = int(0.85 * len(val))
  val_cutoff = int(0.90 * len(val))
  return {'train': train + val[:train_cutoff],
          'val': val[train_cutoff:val_cutoff],
          'test': val[val_cutoff:]}


def check_ids_differ(splits: Splits) -> None:
  """Raises ValueError where two splits have an image id.

  2014's validation set and 2017's training set, for one, share pictures.
  """
  split_of = {}
  for split, captioned in splits.items():
    for image in captioned:
      other = split_of.setdefault(image.image_id, split)
      if other != split:
        raise ValueError(f'the image id {image.image_id} is in both the '
                         f'{other} and the {split} captions file')


def read_karpathy(
    karpathy_file: str, image_dirs: Mapping[str, str]
) -> Splits:
  """Reads Karpathy's splits; `restval` counts as training, as is usual.

  Args:
    karpathy_file: dataset_coco.json.
    image_dirs: folder of the pictures whose filepath begins with the key.

  Raises:
    ValueError: the file is not of its schema, has an id twice or an empty
      caption, or a picture's path leaves the folder.
    OSError: the file cannot be read.
  """
  splits = {'train': [], 'val': [], 'test': []}
  image_ids = set()
  for i, entry in enumerate(
      _list(_read_json(karpathy_file), 'images', karpathy_file)):
    where = f'{karpathy_file}: images[{i}]'
    image_id = _image_id(entry, 'cocoid', where)
    if image_id in image_ids:
      raise ValueError(f'{where}: the image id {image_id} is there twice')
    image_ids.add(image_id)
    split = _get(entry, 'split', str, where)
    if split not in _KARPATHY_SPLITS:
      raise ValueError(f'{where}: the split {split!r} is none of '
                       f'{", ".join(_KARPATHY_SPLITS)}')
    folder = _get(entry, 'filepath', str, where)
    image_dir = next((path for prefix, path in image_dirs.items()
                      if folder.startswith(prefix)), None)
    if image_dir is None:
      raise ValueError(f'{where}: the filepath {folder!r} begins with none of '
                       f'{", ".join(image_dirs)}')
    captions = [
        check_caption(_get(sentence, 'raw', str, where), where)
        for sentence in _get(entry, 'sentences', list, where)]
    splits[_KARPATHY_SPLITS[split]].append(CaptionedImage(
        image_id,
        image_path(image_dir, _get(entry, 'filename', str, where), where),
        captions))
  return {split: _captioned(captioned, karpathy_file)
          for split, captioned in splits.items() if captioned}


def _captioned(
    captioned: list[CaptionedImage], source: str
) -> list[CaptionedImage]:
  with_captions = [image for image in captioned if image.captions]
  if len(with_captions) < len(captioned):
    logging.warning('%s: %d pictures have no caption and are left out',
                    source, len(captioned) - len(with_captions))
  return with_captions


def _read_json(path: str) -> Any:
  try:
    with open(path, encoding='utf-8-sig') as f:
      return json.load(f)
  except json.JSONDecodeError as error:
    raise ValueError(f'{path}:{error.lineno}:{error.colno}: broken JSON: '
                     f'{error.msg}') from None
  except (UnicodeDecodeError, RecursionError) as error:
    raise ValueError(f'{path} is no JSON text: {error}') from None


def _list(content: Any, key: str, path: str) -> list[Any]:
  values = content.get(key) if isinstance(content, dict) else None
  if not isinstance(values, list):
    raise ValueError(f'{path}: no list {key!r}; is it a captions file of '
                     'COCO\'s schema?')
  return values


def _get(entry: Any, key: str, kind: type[_Item], where: str) -> _Item:
  value = entry.get(key) if isinstance(entry, dict) else None
  # JSON's true is an int to Python.
  if not isinstance(value, kind) or isinstance(value, bool):
    raise ValueError(f'{where}: {key!r} is missing or no {kind.__name__}')
  return value


def _image_id(entry: Any, key: str, where: str) -> int:
  image_id = _get(entry, key, int, where)
  if not -MAX_INT64 <= image_id <= MAX_INT64:
    raise ValueError(f'{where}: the image id {image_id} is no int64')
  return image_id
