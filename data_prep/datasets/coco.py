"""Read COCO's caption files (2014's, 2017's, any of their schema) into splits.

`im2txt.text.annotations` describes them, and Karpathy's.
"""

from collections.abc import Mapping
from typing import TypeVar

from data_prep.datasets.captioned_images import (
    SPLITS,
    Splits,
    locate,
    number_annotated,
    with_captions,
)
from im2txt.text import annotations

_Item = TypeVar('_Item')


def read_splits(
    captions_files: Mapping[str, str], image_dirs: Mapping[str, str]
) -> Splits:
  """Read the captioned images of caption files, in the order of each.

  Args:
    captions_files: JSON in COCO's schema, by split.
    image_dirs: folder of the images, by split.

  Raises:
    ValueError: a file is not of that schema or has no captions, an id is there
      twice, or an image's path leaves the folder.
    OSError: a file cannot be read.
  """
  read = {split: with_captions(annotations.read(path), path)
          for split, path in captions_files.items()}
  ids = iter(number_annotated([
      image for images in read.values() for image in images]))
  splits = {
      split: [locate(image, image_dirs[split], next(ids)) for image in images]
      for split, images in read.items()}
  check_ids_differ(splits)
  return splits


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
    karpathy_file: str, image_dirs: Mapping[str, str | None]
) -> Splits:
  """Read Karpathy's splits; `restval` counts as training, as is usual.

  Args:
    karpathy_file: dataset_coco.json, or another of its form.
    image_dirs: folder of images, by the beginning of their filepath. Images
      without a filepath lie in the first.

  Raises:
    ValueError: the file is not of its schema, has an id twice or no captions,
      or an image's path leaves the folder.
    OSError: the file cannot be read.
  """
  images = with_captions(annotations.read(karpathy_file), karpathy_file)
  splits: Splits = {split: [] for split in SPLITS}
  for image, image_id in zip(images, number_annotated(images), strict=True):
    if image.split is None:
      raise ValueError(f'{image.where}: no split; is it a dataset_coco.json of '
                       "Karpathy's?")
    name = image.file_name or ''
    folder, slash, rest = name.partition('/')
    prefix = next((prefix for prefix in image_dirs
                   if slash and folder.startswith(prefix)), None)
    if prefix:
      name = rest
    elif slash and all(image_dirs.values()):
      raise ValueError(f'{image.where}: the filepath {folder!r} begins with '
                       f'none of {", ".join(image_dirs)}')
    prefix = prefix or next(iter(image_dirs))
    image_dir = image_dirs[prefix]
    if image_dir is None:
      raise ValueError(f'{image.where}: the filepath {folder!r} needs '
                       f'--{prefix}_image_dir')
    splits[image.split].append(
        locate(image._replace(file_name=name), image_dir, image_id))
  return {split: captioned for split, captioned in splits.items() if captioned}
