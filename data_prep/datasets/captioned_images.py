"""The result of every reader of captions, and the checks that they share."""

import os
import random
from collections.abc import Sequence
from typing import NamedTuple

from absl import logging

from im2txt.files import file_system
from im2txt.text import caption_rows, image_names
from im2txt.text.annotations import AnnotatedImage

SPLITS = ('train', 'val', 'test')
_SEED = 12345
_FEW_IMAGES = 3
_MAX_NAME_BYTES = 255  # Of a file or folder, on every usual file system.


class CaptionedImage(NamedTuple):
  """An image file and its captions.

  Attributes:
    image_id: fits int64.
    path: of the image file, which is not opened yet.
    captions: as people wrote them.
  """
  image_id: int
  path: str
  captions: list[str]


# The readers' result: the images by split ('train', 'val', 'test'), of the
# splits that the user asked for.
Splits = dict[str, list[CaptionedImage]]


def check_folder(path: str, flag: str) -> None:
  """Raise NotADirectoryError if the flag's value is no folder."""
  if not file_system.isdir(path):
    raise NotADirectoryError(f'--{flag}={path}: no such folder')


def image_path(image_dir: str, name: str, where: str) -> str:
  """Return the path of an image in the image folder.

  Args:
    image_dir: folder that the image must lie in.
    name: path relative to it.
    where: file and line (or id) that has the name, for the message.

  Raises:
    ValueError: the path leads out of the folder (also by a link), no file can
      have it, or it is broken text.
  """
  caption_rows.check_text(name, f'{where}: the image {name!r}')
  path = os.path.join(image_dir, name)
  inside = os.path.join(file_system.abspath(image_dir), '')
  if not file_system.abspath(path).startswith(inside):
    raise ValueError(f'{where}: the image {name!r} does not lie in the '
                     f'image folder {image_dir}')
  parts = name.split('/')
  if ('\0' in name or parts[-1] in ('', os.curdir, os.pardir)
      or any(len(part.encode()) > _MAX_NAME_BYTES for part in parts)):
    raise ValueError(f'{where}: no file can have the path {name[:300]!r}')
  if not file_system.realpath(path).startswith(_folders_of(image_dir)):
    raise ValueError(f'{where}: the image {name!r} is a link that leads out '
                     f'of the image folder {image_dir}; copy it there')
  return path


def _folders_of(image_dir: str) -> tuple[str, ...]:
  """Return the folders in which the images of an image folder may lie.

  In the cache of Hugging Face a folder below snapshots has links to files in
  the folder blobs beside snapshots.
  """
  folder = file_system.realpath(image_dir)
  cache, snapshots, _ = folder.rpartition('/snapshots/')
  folders = [folder, *([os.path.join(cache, 'blobs')] if snapshots else [])]
  return tuple(os.path.join(name, '') for name in folders)


def number_images(names: Sequence[str]) -> list[int]:
  """Return an id for each image of a data set that has no ids.

  It is the number that the file name begins with, if every name has one and
  they all differ. Otherwise it is the index in `names`, counted from 1.
  """
  return image_names.numbers(names) or list(range(1, len(names) + 1))


def number_annotated(images: Sequence[AnnotatedImage]) -> list[int]:
  """Return the images' own ids if all are numbers, or else new ones."""
  ids = [image.image_id for image in images if isinstance(image.image_id, int)]
  if len(ids) == len(images):
    return ids
  return number_images([
      image.file_name or str(image.image_id) for image in images])


def locate(
    image: AnnotatedImage, image_dir: str, image_id: int
) -> CaptionedImage:
  """Return an annotated image with its path in the image folder.

  Raises:
    ValueError: it names no file, or the path leaves the folder.
  """
  if image.file_name is None:
    raise ValueError(f"{image.where}: 'file_name' is missing")
  return CaptionedImage(
      image_id, image_path(image_dir, image.file_name, image.where),
      image.captions)


def with_captions(
    images: Sequence[AnnotatedImage], source: str
) -> list[AnnotatedImage]:
  """Return the images that have captions; say how many have none.

  Raises:
    ValueError: no image has any.
  """
  kept = [image for image in images if image.captions]
  if not kept:
    raise ValueError(f'{source} has no captions')
  if len(kept) < len(images):
    logging.warning('%s: %d images have no caption and are left out',
                    source, len(images) - len(kept))
  return kept


def by_split(
    images: Sequence[AnnotatedImage], image_dir: str
) -> dict[str | None, list[CaptionedImage]]:
  """Locate annotated images and sort them by their split.

  Raises:
    ValueError: one names no file, or its path leaves the folder.
  """
  splits: dict[str | None, list[CaptionedImage]] = {}
  for image, image_id in zip(images, number_annotated(images), strict=True):
    splits.setdefault(image.split, []).append(
        locate(image, image_dir, image_id))
  return splits


def split_at_random(
    captioned: list[CaptionedImage], val_fraction: float, test_fraction: float
) -> Splits:
  """Deal images out to splits, the same way each time.

  Args:
    captioned: all images.
    val_fraction: share of the images; at least one image, unless it is 0.
    test_fraction: likewise.

  Returns:
    The splits; of up to three images all are for training.

  Raises:
    ValueError: nothing is left to train on.
  """
  if val_fraction + test_fraction >= 1:
    raise ValueError(f'--val_fraction={val_fraction:g} and --test_fraction='
                     f'{test_fraction:g} leave nothing to train on')
  if len(captioned) <= _FEW_IMAGES:
    logging.warning('all %d images are for training: too few for a split val '
                    'or test', len(captioned))
    return {'train': captioned}
  shuffled = list(captioned)
  random.Random(_SEED).shuffle(shuffled)
  splits = {}
  for split, fraction in (('val', val_fraction), ('test', test_fraction)):
    if fraction:
      size = max(1, round(fraction * len(captioned)))
      splits[split], shuffled = shuffled[:size], shuffled[size:]
  return {'train': shuffled, **splits}


def sample_pairs(splits: Splits, number: int) -> Splits:
  """Draw image-caption pairs, the same ones each time.

  Args:
    splits: the images. An image is left out if none of its captions is drawn.
    number: of pairs, of all splits together.
  """
  pairs = [(split, i, j) for split, captioned in splits.items()
           for i, image in enumerate(captioned)
           for j in range(len(image.captions))]
  drawn: dict[tuple[str, int], list[int]] = {}
  for split, i, j in random.Random(_SEED).sample(
      pairs, min(number, len(pairs))):
    drawn.setdefault((split, i), []).append(j)
  return {split: [image._replace(
      captions=[image.captions[j] for j in sorted(drawn[split, i])])
                  for i, image in enumerate(captioned) if (split, i) in drawn]
          for split, captioned in splits.items()}
