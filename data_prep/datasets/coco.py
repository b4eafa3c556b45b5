"""Read COCO's caption files (2014's, 2017's, any of their schema) into splits.

`im2txt.text.annotations` describes them. Karpathy's dataset_coco.json has
  images:       [{"cocoid": 391895, "filepath": "val2014",
                  "filename": "COCO_val2014_000000391895.jpg",
                  "split": "test", "sentences": [{"raw": "A man ..."}]}]
Further keys are ignored.
"""

from collections.abc import Mapping
from typing import TypeVar

from absl import logging

from data_prep.datasets.captioned_images import (
    CaptionedImage,
    Splits,
    image_path,
)
from im2txt.files import json_files
from im2txt.text import annotations

_Item = TypeVar('_Item')
_KARPATHY_SPLITS = {
    'train': 'train', 'restval': 'train', 'val': 'val', 'test': 'test'}


def read_captions(captions_file: str, image_dir: str) -> list[CaptionedImage]:
  """Read the captioned images of one caption file, in its order.

  Args:
    captions_file: JSON in COCO's schema.
    image_dir: folder of the images.

  Raises:
    ValueError: the file is not of that schema, has an id twice or an empty
      caption, or an image's path leaves the folder.
    OSError: the file cannot be read.
  """
  captioned = []
  for image in annotations.read_coco(captions_file):
    if image.file_name is None:
      raise ValueError(f"{image.where}: 'file_name' is missing")
    captioned.append(CaptionedImage(
        image.image_id, image_path(image_dir, image.file_name, image.where),
        image.captions))
  return _drop_uncaptioned(captioned, captions_file)


def split_as_im2txt(
    train: list[_Item], val: list[_Item]
) -> dict[str, list[_Item]]:
  """Give 85 % of COCO's large validation set to training, 10 % to testing.

  Args:
    train: the images of the training file.
    val: those of the validation file, in its order.
  """
  train_cutoff = int(0.85 * len(val))
  val_cutoff = int(0.90 * len(val))
  return {'train': train + val[:train_cutoff],
          'val': val[train_cutoff:val_cutoff],
          'test': val[val_cutoff:]}


def check_ids_differ(splits: Splits) -> None:
  """Raise ValueError if two splits have the same image id.

  For example the validation set of 2014 and the training set of 2017 do.
  """
  split_of: dict[int, str] = {}
  for split, captioned in splits.items():
    for image in captioned:
      other = split_of.setdefault(image.image_id, split)
      if other != split:
        raise ValueError(f'the image id {image.image_id} is in both the '
                         f'{other} and the {split} captions file')


def read_karpathy(
    karpathy_file: str, image_dirs: Mapping[str, str]
) -> Splits:
  """Read Karpathy's splits; `restval` counts as training, as is usual.

  Args:
    karpathy_file: dataset_coco.json.
    image_dirs: folder of images, by the beginning of their filepath.

  Raises:
    ValueError: the file is not of its schema, has an id twice or an empty
      caption, or an image's path leaves the folder.
    OSError: the file cannot be read.
  """
  splits: Splits = {'train': [], 'val': [], 'test': []}
  image_ids: set[int] = set()
  content = json_files.read(karpathy_file)
  for i, entry in enumerate(
      annotations.get_list(content, 'images', karpathy_file)):
    where = f'{karpathy_file}: images[{i}]'
    image_id = annotations.get_image_id(entry, 'cocoid', where)
    if image_id in image_ids:
      raise ValueError(f'{where}: the image id {image_id} is there twice')
    image_ids.add(image_id)
    split = json_files.get(entry, 'split', str, where)
    if split not in _KARPATHY_SPLITS:
      raise ValueError(f'{where}: the split {split!r} is none of '
                       f'{", ".join(_KARPATHY_SPLITS)}')
    folder = json_files.get(entry, 'filepath', str, where)
    image_dir = next((path for prefix, path in image_dirs.items()
                      if folder.startswith(prefix)), None)
    if image_dir is None:
      raise ValueError(f'{where}: the filepath {folder!r} begins with none of '
                       f'{", ".join(image_dirs)}')
    captions = [
        annotations.check_caption(
            json_files.get(sentence, 'raw', str, where), where)
        for sentence in json_files.get(entry, 'sentences', list, where)]
    splits[_KARPATHY_SPLITS[split]].append(CaptionedImage(
        image_id,
        image_path(
            image_dir, json_files.get(entry, 'filename', str, where), where),
        captions))
  return {split: _drop_uncaptioned(captioned, karpathy_file)
          for split, captioned in splits.items() if captioned}


def _drop_uncaptioned(
    captioned: list[CaptionedImage], source: str
) -> list[CaptionedImage]:
  with_captions = [image for image in captioned if image.captions]
  if len(with_captions) < len(captioned):
    logging.warning('%s: %d images have no caption and are left out',
                    source, len(captioned) - len(with_captions))
  return with_captions
