"""What every reader of captions hands on, and the checks they share."""

import os
import random
import re
from collections.abc import Sequence
from typing import NamedTuple

from im2txt.files import file_system
from im2txt.text import annotations

SPLITS = ('train', 'val', 'test')
_SEED = 12345
_MAX_NAME_BYTES = 255  # Of a file or folder, on every usual file system.


class CaptionedImage(NamedTuple):
  """An image file and its captions.

  Attributes:
    image_id: fits int64.
    path: of the image file, which has not been looked at yet.
    captions: as people wrote them.
  """
  image_id: int
  path: str
  captions: list[str]


# The readers' result: the images of 'train', 'val' and 'test', each left
# out where the user did not ask for it.
Splits = dict[str, list[CaptionedImage]]


def check_folder(path: str, flag: str) -> None:
  """Raises NotADirectoryError where the flag's value is no folder."""
  if not file_system.isdir(path):
    raise NotADirectoryError(f'--{flag}={path}: no such folder')


def image_path(image_dir: str, name: str, where: str) -> str:
  """Returns the image's path.

  Args:
    image_dir: folder that the image must lie in.
    name: path relative to it.
    where: file and line (or id) that has the name, for the message.

  Raises:
    ValueError: the path leaves the folder, by a link too, can be no file's or
      is broken text.
  """
  annotations.check_text(name, f'{where}: the image {name!r}')
  path = os.path.join(image_dir, name)
  inside = os.path.join(file_system.abspath(image_dir), '')
  if not file_system.abspath(path).startswith(inside):
    raise ValueError(f'{where}: the image {name!r} does not lie in the '
                     f'image folder {image_dir}')
  parts = name.split('/')
  if ('\0' in name or parts[-1] in ('', os.curdir, os.pardir)
      or any(len(part.encode()) > _MAX_NAME_BYTES for part in parts)):
    raise ValueError(f'{where}: no file can have the path {name[:300]!r}')
  if not file_system.realpath(path).startswith(
      os.path.join(file_system.realpath(image_dir), '')):
    raise ValueError(f'{where}: the image {name!r} is a link that leads out '
                     f'of the image folder {image_dir}; copy it there')
  return path


def number_images(names: Sequence[str]) -> list[int]:
  """Returns an id for each image of a data set that has no ids.

  That is the number before a file name's first `_` or `.` (Flickr's own image
  id in 1000268201_693b08cb0e.jpg) if each name has one and no two the same,
  else the place in `names`, counted from 1.
  """
  matches = [re.match(r'([0-9]{1,19})[_.]', os.path.basename(name))
             for name in names]
  ids = [int(match[1]) for match in matches if match]
  if (len(set(ids)) == len(names)
      and max(ids, default=0) <= annotations.MAX_INT64):
    return ids
  return list(range(1, len(names) + 1))


def split_at_random(
    captioned: list[CaptionedImage], val_fraction: float, test_fraction: float
) -> Splits:
  """Deals images out to splits, the same way each time.

  Args:
    captioned: all images.
    val_fraction: share of the images; one image at least, unless 0.
    test_fraction: likewise.
  """
  if val_fraction + test_fraction >= 1:
    raise ValueError(f'--val_fraction={val_fraction:g} and --test_fraction='
                     f'{test_fraction:g} leave nothing to train on')
  shuffled = list(captioned)
  random.Random(_SEED).shuffle(shuffled)
  splits = {}
  for split, fraction in (('val', val_fraction), ('test', test_fraction)):
    if fraction:
      size = max(1, round(fraction * len(captioned)))
      splits[split], shuffled = shuffled[:size], shuffled[size:]
  return {'train': shuffled, **splits}


def sample_pairs(splits: Splits, number: int) -> Splits:
  """Draws image-caption pairs, the same ones each time.

  Args:
    splits: the images; of those none of whose captions is drawn none is
      left.
    number: of pairs, of all splits together.
  """
  pairs = [(split, i, j) for split, captioned in splits.items()
           for i, image in enumerate(captioned)
           for j in range(len(image.captions))]
  drawn = {}
  for split, i, j in random.Random(_SEED).sample(
      pairs, min(number, len(pairs))):
    drawn.setdefault((split, i), []).append(j)
  return {split: [image._replace(
      captions=[image.captions[j] for j in sorted(drawn[split, i])])
                  for i, image in enumerate(captioned) if (split, i) in drawn]
          for split, captioned in splits.items()}
