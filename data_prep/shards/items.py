"""Items, shards and the functions that deal the items out to the shards.

list_items -> assign_shards -> shard_writer.write_shard. They keep no state, so
that any runner can run them.
"""

import glob
import itertools
import os
import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from data_prep.datasets.captioned_images import CaptionedImage
from data_prep.images import stored_images
from im2txt.text import caption_styles, vocabulary

_T = TypeVar('_T')

SHUFFLE_SEED = 12345  # As in im2txt.

# By layout, what a record holds.
LAYOUTS = {'im2txt': 'image-caption pair', 'image': 'image'}


class Item(NamedTuple):
  """The content of one record: an image with one or all of its captions.

  Attributes:
    image_id: the image's id.
    path: its file.
    captions: one, or all, as people wrote them.
  """
  image_id: int
  path: str
  captions: Sequence[str]


class Shard(NamedTuple):
  """A file to write and its records."""
  path: str
  items: Sequence[Item]


class Recipe(NamedTuple):
  """How an item becomes a record.

  Attributes:
    layout: one of LAYOUTS.
    image_format: how its image is stored.
    style: how its captions become words.
    vocab: gives the ids of the words.
  """
  layout: str
  image_format: stored_images.ImageFormat
  style: caption_styles.CaptionStyle
  vocab: vocabulary.Vocabulary


def count_records(captioned: Sequence[CaptionedImage], layout: str) -> int:
  """Return how many records these images become."""
  if layout == 'image':
    return len(captioned)
  return sum(len(image.captions) for image in captioned)


def list_items(
    captioned: Iterable[CaptionedImage], layout: str
) -> list[Item]:
  """Return the items of one split, shuffled the same way each time.

  Args:
    captioned: the split's images.
    layout: one of LAYOUTS.
  """
  items = [Item(image.image_id, image.path, captions)
           for image in captioned
           for captions in ([image.captions] if layout == 'image' else
                            [[caption] for caption in image.captions])]
  random.Random(SHUFFLE_SEED).shuffle(items)
  return items


def shard_path(output_dir: str, split: str, number: int, total: int) -> str:
  """Return e.g. output_dir/train-00000-of-00256."""
  return os.path.join(output_dir, f'{split}-{number:05d}-of-{total:05d}')


def assign_shards(
    output_dir: str, split: str, items: Sequence[Item], total: int
) -> list[Shard]:
  """Divide the items of a split among `total` shards; see `split_evenly`."""
  return [Shard(shard_path(output_dir, split, i, total), part)
          for i, part in enumerate(split_evenly(items, total))]


def split_evenly(items: Sequence[_T], total: int) -> list[Sequence[_T]]:
  """Split items into `total` parts whose sizes differ by at most one."""
  bounds = np.linspace(0, len(items), total + 1).astype(int)
  return [items[start:end] for start, end in itertools.pairwise(bounds)]


def shard_pattern(output_dir: str, split: str) -> str:
  """Return a glob pattern of the shards of a split, however many."""
  digits = '[0-9]' * 5
  return os.path.join(glob.escape(output_dir), f'{split}-{digits}-of-{digits}')


def temporary_pattern(output_dir: str, split: str) -> str:
  """Return a glob pattern of the files that killed writers leave behind."""
  return f'{shard_pattern(output_dir, split)}.*.tmp'
