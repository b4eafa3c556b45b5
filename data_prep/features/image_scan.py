"""Looks through shards once: which images they hold, and their captions."""

import base64
import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from data_prep.runners.runner import Label, Runner
from im2txt import configuration
from im2txt.inputs import bad_records, sequence_example, tfrecords
from im2txt.inputs.shards import Shards

# Of a record: image id, SHA-256 of the image's file in hex, and its serialized
# FeatureLists in base64, so that JSON has it.
_Found = tuple[int, str, str]


class ScannedImage(NamedTuple):
  """An image of the shards.

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
    first: for each file, for each of its records, whether it is the first one
      of its image, and none that is left out; bool.
    images: in the order of these first records.
  """

  files: list[str]
  first: list[np.ndarray]
  images: list[ScannedImage]


def reading(config: configuration.ModelConfig) -> configuration.ModelConfig:
  """How images are read: whatever words the captions have, and how many.

  Args:
    config: of a model that is to be trained on the features.
  """
  return configuration.ModelConfig(**{
      field.name: getattr(config, field.name)
      for field in dataclasses.fields(configuration.ModelConfig)
  } | {'vocab_size': 0, 'max_sequence_length': 0})


def scan(
    runner: Runner, shards: Shards, config: configuration.ModelConfig
) -> list[Group]:
  """Look through shards of either layout.

  Args:
    runner: looks through one shard.
    shards: the shards; those that differ by their number only are one group.
    config: keys of the encoded image and of the captions' ids, and the size of
      images.

  Raises:
    ValueError: a record is none of an image with captions, or all are left
      out.
  """
  skips = shards.skips_bad_records
  found = runner.find(
      functools.partial(_scan_file, config=reading(config), skips=skips),
      list(shards.files), Label('looking through shards', 'shard'))
  faults = [tfrecords.Fault(*fault) for _, bad in found for fault in bad]
  groups = {}
  for file, (records, _) in zip(shards.files, found, strict=True):
    groups.setdefault(re.sub(r'\d{5}(-of-\d{5})$', r'\1', file), []).append(
        (file, records))
  scanned = [_group(members) for members in groups.values()]
  if faults and not any(group.images for group in scanned):
    raise faults[0].error()
  tfrecords.warn_of(faults)
  return scanned


def digest(groups: Sequence[Group]) -> str:
  """Tells what shards hold from what others do."""
  hashed = hashlib.sha256()
  for group in groups:
    hashed.update('\n'.join(map(os.path.basename, group.files)).encode())
    for image in group.images:
      hashed.update(str(image.image_id).encode() + image.digest)
      for captions in image.captions:
        hashed.update(hashlib.sha256(captions).digest())
  return hashed.hexdigest()


def captions_of(found: Iterable[bytes]) -> list[sequence_example.Caption]:
  """All captions of an image, as it has them."""
  return [caption for serialized in found
          for caption in sequence_example.captions_of(
              tf.train.SequenceExample(
                  feature_lists=tf.train.FeatureLists.FromString(serialized)))]


def _group(members: Sequence[tuple[str, Sequence[_Found | None]]]) -> Group:
  """A group of its files and what each of their records is."""
  images = {}
  first = []
  for _, records in members:
    firsts = []
    for record in records:
      if record is None:
        firsts.append(False)
        continue
      image_id, digest_hex, captions = record
      found = ScannedImage(image_id, bytes.fromhex(digest_hex),
                    [base64.b64decode(captions)])
      known = images.setdefault((found.image_id, found.digest), found)
      firsts.append(known is found)
      if known is not found:
        known.captions.extend(found.captions)
    first.append(np.array(firsts, bool))
  return Group([file for file, _ in members], first, list(images.values()))


def _scan_file(
    file: str, config: configuration.ModelConfig, skips: bool
) -> tuple[list[_Found | None], list[tfrecords.Fault]]:
  """What each record of a shard is, in order, and what is left out."""
  faults = (list(filter(None, bad_records.look_through(
      Shards(file, (file,)), config))) if skips else [])
  found = {}
  for number, record in tfrecords.read(file, faults):
    try:
      found[number] = _look(
          record, config.image_feature_name, config.caption_feature_name)
    except ValueError as error:
      fault = tfrecords.Fault(file, number, str(error))
      if not skips:
        raise fault.error() from None
      faults.append(fault)
  return ([found.get(i) for i in range(max(found, default=-1) + 1)],
          sorted(faults))


def _look(record: bytes, image_feature: str, caption_feature: str) -> _Found:
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
  images = context[image_feature].bytes_list.value
  if len(images) != 1:
    raise ValueError(f'no image under {image_feature}; features are made '
                     'from shards of images')
  image_id = sequence_example.image_id_of(example)
  # Maps are written in any order but for this.
  captions = example.feature_lists.SerializeToString(deterministic=True)
  return (image_id, hashlib.sha256(images[0]).hexdigest(),
          base64.b64encode(captions).decode('ascii'))
