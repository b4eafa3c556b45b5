"""Looks through shards once: which photos they hold, and their captions."""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tqdm import tqdm

from im2txt import bad_records, sequence_example


class Photo(NamedTuple):
  """A photo of the shards.

  Attributes:
    image_id: its id.
    digest: SHA-256 of its file.
    captions: serialized FeatureLists of its records, which take a fraction of
      the memory of their words.
  """

  image_id: int
  digest: bytes
  captions: list[bytes]


class Group(NamedTuple):
  """Shards of one split.

  Attributes:
    files: the shards, in order.
    first: for each file, for each of its records that is not left out
      beforehand, whether it is the first one of its photo; bool.
    photos: in the order of these first records.
  """

  files: list[str]
  first: list[np.ndarray]
  photos: list[Photo]


def scan(
    files: Sequence[str], image_feature: str, caption_feature: str,
    left_out: Sequence[bad_records.Fault] | None = None,
) -> list[Group]:
  """Looks through shards of either layout.

  Args:
    files: the shards; those that differ by their number only are one group.
    image_feature: context key of the encoded picture.
    caption_feature: feature-list key of the captions' ids.
    left_out: of `inputs.left_out`; records that are none of a picture with
      captions are then left out too. None: they are errors.

  Raises:
    ValueError: a record is none of a picture with captions.
  """
  useless = []

  def photos_in(file: str) -> Iterator[Photo | None]:
    for number, record in bad_records.read(file, left_out or ()):
      try:
        yield _photo(record, image_feature, caption_feature)
      except ValueError as error:
        fault = bad_records.Fault(file, number, str(error))
        if left_out is None:
          raise fault.error() from None
        useless.append(fault)
        yield None

  groups = {}
  for file in files:
    groups.setdefault(re.sub(r'\d{5}(-of-\d{5})$', r'\1', file), []).append(
        file)
  with tqdm(desc='looking through shards', total=len(files), unit='shard',
            disable=None) as bar:
    found = [_scan_group(names, photos_in, bar) for names in groups.values()]
  if useless and not any(group.photos for group in found):
    raise useless[0].error()
  bad_records.say(useless)
  return found


def digest(groups: Sequence[Group]) -> str:
  """Tells what shards hold from what others do."""
  hashed = hashlib.sha256()
  for group in groups:
    hashed.update('\n'.join(map(os.path.basename, group.files)).encode())
    for photo in group.photos:
      hashed.update(str(photo.image_id).encode() + photo.digest)
      for captions in photo.captions:
        hashed.update(hashlib.sha256(captions).digest())
  return hashed.hexdigest()


def captions_of(photo: Photo) -> list[sequence_example.Caption]:
  """All captions of a photo."""
  return [caption for serialized in photo.captions
          for caption in sequence_example.captions_of(
              tf.train.SequenceExample(
                  feature_lists=tf.train.FeatureLists.FromString(serialized)))]


def _scan_group(
    files: list[str], photos_in: Callable[[str], Iterable[Photo | None]],
    bar: tqdm,
) -> Group:
  photos = {}
  first = []
  for file in files:
    firsts = []
    for found in photos_in(file):
      known = found and photos.setdefault(
          (found.image_id, found.digest), found)
      firsts.append(found is not None and known is found)
      if known is not found:
        known.captions.extend(found.captions)
    first.append(np.array(firsts, bool))
    bar.update()
  return Group(files, first, list(photos.values()))


def _photo(record: bytes, image_feature: str, caption_feature: str) -> Photo:
  try:
    example = tf.train.SequenceExample.FromString(record)
    lists = example.feature_lists.feature_list
    if caption_feature != sequence_example.CAPTION_IDS:
      lists[sequence_example.CAPTION_IDS].CopyFrom(lists[caption_feature])
      del lists[caption_feature]
    sequence_example.captions_of(example)
  except (DecodeError, ValueError) as error:
    raise ValueError(f'no captions: {error}') from None
  context = example.context.feature
  pictures = context[image_feature].bytes_list.value
  if len(pictures) != 1:
    raise ValueError(f'no picture under {image_feature}; features are made '
                     'from shards of pictures')
  image_id = sequence_example.image_id_of(example)
  # Maps are written in any order but for this.
  captions = example.feature_lists.SerializeToString(deterministic=True)
  return Photo(image_id, hashlib.sha256(pictures[0]).digest(), [captions])
