"""Scan shards once for the images and captions that they hold."""

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

# What a scan finds in a record: image id, SHA-256 of the image's file in hex,
# and its serialized FeatureLists in base64, so that JSON has it.
_Scanned = tuple[int, str, str]


class ScannedImage(NamedTuple):
  """An image of the shards.

  Attributes:
    image_id: its id.
    digest: SHA-256 of its file.
    captions: serialized FeatureLists of its records. They take a fraction of
      the memory of lists of words.
  """

  image_id: int
  digest: bytes
  captions: list[bytes]


class Group(NamedTuple):
  """Shards of one split.

  Attributes:
    files: the shards, in order.
    first: of each file, bool [records], whether the record is the first one of
      its image. A record that is left out is not.
    images: in the order of these first records.
  """

  files: list[str]
  first: list[np.ndarray]
  images: list[ScannedImage]


def without_caption_limits(
    config: configuration.ModelConfig
) -> configuration.ModelConfig:
  """Return a configuration that accepts captions of any words and length.

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
  """Scan shards of either layout.

  Args:
    runner: scans the shards.
    shards: the shards; those that differ only by their number are one group.
    config: the keys of the encoded image and of the caption ids, the size
      of images.

  Raises:
    ValueError: a record is none of an image with captions, or all are left
      out.
  """
  skip_bad = shards.skips_bad_records
  scans = runner.filter_map(
      functools.partial(
          _scan_shard, config=without_caption_limits(config),
          skip_bad=skip_bad),
      list(shards.files), Label('looking through shards', 'shard'))
  faults = [tfrecords.Fault(*fault) for _, bad in scans for fault in bad]
  groups = {}
  for file, (records, _) in zip(shards.files, scans, strict=True):
    groups.setdefault(re.sub(r'\d{5}(-of-\d{5})$', r'\1', file), []).append(
        (file, records))
  grouped = [_make_group(members) for members in groups.values()]
  if faults and not any(group.images for group in grouped):
    raise faults[0].error()
  tfrecords.warn_of(faults)
  return grouped


def digest(groups: Sequence[Group]) -> str:
  """Return a hash of the images and captions of shards."""
  hashed = hashlib.sha256()
  for group in groups:
    hashed.update('\n'.join(map(os.path.basename, group.files)).encode())
    for image in group.images:
      hashed.update(str(image.image_id).encode() + image.digest)
      for captions in image.captions:
        hashed.update(hashlib.sha256(captions).digest())
  return hashed.hexdigest()


def parse_captions(
    feature_lists: Iterable[bytes]
) -> list[sequence_example.Caption]:
  """Return all captions of an image.

  Args:
    feature_lists: the serialized FeatureLists of its records.
  """
  return [caption for serialized in feature_lists
          for caption in sequence_example.captions_of(
              tf.train.SequenceExample(
                  feature_lists=tf.train.FeatureLists.FromString(serialized)))]


def _make_group(
    members: Sequence[tuple[str, Sequence[_Scanned | None]]]
) -> Group:
  """Make a group of files and the scanned records of each."""
  images = {}
  first = []
  for _, records in members:
    firsts = []
    for record in records:
      if record is None:
        firsts.append(False)
        continue
      image_id, digest_hex, captions = record
      image = ScannedImage(image_id, bytes.fromhex(digest_hex),
                           [base64.b64decode(captions)])
      known = images.setdefault((image.image_id, image.digest), image)
      firsts.append(known is image)
      if known is not image:
        known.captions.extend(image.captions)
    first.append(np.array(firsts, bool))
  return Group([file for file, _ in members], first, list(images.values()))


def _scan_shard(
    file: str, config: configuration.ModelConfig, skip_bad: bool
) -> tuple[list[_Scanned | None], list[tfrecords.Fault]]:
  """Return what each record of a shard holds, and what is left out."""
  faults = (list(filter(None, bad_records.look_through(
      Shards(file, (file,)), config))) if skip_bad else [])
  scanned = {}
  for number, record in tfrecords.read(file, faults):
    try:
      scanned[number] = _parse_record(
          record, config.image_feature_name, config.caption_feature_name)
    except ValueError as error:
      fault = tfrecords.Fault(file, number, str(error))
      if not skip_bad:
        raise fault.error() from None
      faults.append(fault)
  return ([scanned.get(i) for i in range(max(scanned, default=-1) + 1)],
          sorted(faults))


def _parse_record(
    record: bytes, image_feature: str, caption_feature: str
) -> _Scanned:
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
  # Otherwise maps are written in any order.
  captions = example.feature_lists.SerializeToString(deterministic=True)
  return (image_id, hashlib.sha256(images[0]).hexdigest(),
          base64.b64encode(captions).decode('ascii'))
