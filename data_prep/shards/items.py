"""The steps from captioned images to shards, as plain functions.

list_items -> assign_shards -> shard_writer.write_shard, with words_of. They
keep no state, so that any runner can run them.
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

SHUFFLE_SEED = 12345  # im2txt's.

# By layout, what a record holds.
LAYOUTS = {'im2txt': 'image-caption pair', 'image': 'image'}


class Item(NamedTuple):
  """What becomes one record: an image with one or all of its captions.

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
    form: how its image is stored.
    style: how its captions become words.
    vocab: has the words' ids.
  """
  layout: str
  form: stored_images.Form
  style: caption_styles.CaptionStyle
  vocab: vocabulary.Vocabulary


def words_of(caption: str, style: caption_styles.CaptionStyle) -> list[str]:
  """A caption's words, markers included."""
  # A token may hold a blank, with which it could not stand in a vocabulary.
  return ' '.join(style.tokenize(caption)).split()


def count_records(captioned: Sequence[CaptionedImage], layout: str) -> int:
  """Returns how many records these images become."""
  if layout == 'image':
    return len(captioned)
  return sum(len(image.captions) for image in captioned)


def list_items(
    captioned: Iterable[CaptionedImage], layout: str
) -> list[Item]:
  """Returns one split's items, shuffled the same way each time.

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
  """Returns e.g. output_dir/train-00000-of-00256."""
  return os.path.join(output_dir, f'{split}-{number:05d}-of-{total:05d}')


def assign_shards(
    output_dir: str, split: str, items: Sequence[Item], total: int
) -> list[Shard]:
  """Cuts a split's items into `total` shards of equal size but for one."""
  return [Shard(shard_path(output_dir, split, i, total), part)
          for i, part in enumerate(cut(items, total))]


def cut(items: Sequence[_T], total: int) -> list[Sequence[_T]]:
  """Cuts items into `total` parts of equal size but for one."""
  cuts = np.linspace(0, len(items), total + 1).astype(int)
  return [items[start:end] for start, end in itertools.pairwise(cuts)]


def shard_pattern(output_dir: str, split: str) -> str:
  """Returns the glob of a split's shards, however many they are."""
  digits = '[0-9]' * 5
  return os.path.join(glob.escape(output_dir), f'{split}-{digits}-of-{digits}')


def temporary_pattern(output_dir: str, split: str) -> str:
  """Returns the glob of what killed writers of a split leave behind."""
  return f'{shard_pattern(output_dir, split)}.*.tmp'
