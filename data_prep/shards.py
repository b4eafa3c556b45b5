"""The steps from captioned pictures to shards, as plain functions.

list_pairs -> assign_shards -> shard_writer.write_shard. They keep no state, so
that any runner can run them; `build.py` runs them on this machine.
"""

import glob
import os
import random
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from data_prep.captioned_images import CaptionedImage
from im2txt import vocabulary

SHUFFLE_SEED = 12345  # im2txt's.


class Pair(NamedTuple):
  """A picture and one of its captions: what becomes one record.

  Attributes:
    image_id: the picture's id.
    path: its file.
    reencode: the file is not stored as it is, see `images.judge`.
    caption: as a person wrote it.
  """
  image_id: int
  path: str
  reencode: bool
  caption: str


class Shard(NamedTuple):
  """A file to write and its records."""
  path: str
  pairs: Sequence[Pair]


class Wording(NamedTuple):
  """How a caption becomes words and ids."""
  vocab: vocabulary.Vocabulary
  start_word: str
  end_word: str


def list_pairs(
    captioned: Iterable[CaptionedImage], reencode: Collection[str]
) -> list[Pair]:
  """Returns one split's pairs, shuffled the same way each time.

  Args:
    captioned: the split's pictures.
    reencode: paths of those whose files are not stored as they are.
  """
  pairs = [Pair(image.image_id, image.path, image.path in reencode, caption)
           for image in captioned for caption in image.captions]
  random.Random(SHUFFLE_SEED).shuffle(pairs)
  return pairs


def shard_path(output_dir: str, split: str, number: int, total: int) -> str:
  """Returns e.g. output_dir/train-00000-of-00256."""
  return os.path.join(output_dir, f'{split}-{number:05d}-of-{total:05d}')


def assign_shards(
    output_dir: str, split: str, pairs: Sequence[Pair], total: int
) -> list[Shard]:
  """Cuts a split's pairs into `total` shards of equal size but for one."""
  cuts = np.linspace(0, len(pairs), total + 1).astype(int)
  return [Shard(shard_path(output_dir, split, i, total),
                pairs[cuts[i]:cuts[i + 1]]) for i in range(total)]


def shard_pattern(output_dir: str, split: str) -> str:
  """Returns the glob of a split's shards, however many they are."""
  digits = '[0-9]' * 5
  return os.path.join(glob.escape(output_dir), f'{split}-{digits}-of-{digits}')


def temporary_pattern(output_dir: str, split: str) -> str:
  """Returns the glob of what killed writers of a split leave behind."""
  return f'{shard_pattern(output_dir, split)}.*.tmp'
