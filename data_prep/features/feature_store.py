"""Finds the features of an image in shards that an earlier run wrote."""

import functools
import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import tensorflow as tf
from absl import logging
from google.protobuf.message import DecodeError

from data_prep.runners.runner import Label, Runner
from im2txt.files import atomic_files, file_system, locks
from im2txt.inputs import feature_cache, tfrecords
from im2txt.text import caption_styles, vocabulary

# What else lies in a folder of features.
_NO_SHARDS = (feature_cache.FILE_NAME, locks.FILE_NAME, vocabulary.FILE_NAME,
              caption_styles.path_of(vocabulary.FILE_NAME))


class Place(NamedTuple):
  """Where a serialized record lies, in bytes of a file."""

  path: str
  offset: int
  size: int


class FeatureStore:
  """Where the features of a folder lie, by the digest of the image."""

  def __init__(
      self, runner: Runner, folder: str,
      description: feature_cache.Description, skips: bool = False,
  ):
    """Looks through the folder.

    Args:
      runner: looks through one shard.
      folder: of feature shards.
      description: what the features must have been made with.
      skips: whether of a bad shard what stands before the damage is taken.

    Raises:
      ValueError: the folder has none, they were made with something else, or
        a shard is damaged.
    """
    found = feature_cache.read(folder)
    if found is None:
      raise ValueError(f'{folder} has no {feature_cache.FILE_NAME}: these are '
                       'no features to reuse')
    if found != description:
      raise ValueError(
          f'{folder}: its features were made with something else '
          f'({found.difference(description)}) and cannot be reused')
    paths = [os.path.join(folder, name)
             for name in file_system.listdir(folder)
             if name not in _NO_SHARDS and not atomic_files.is_temporary(name)]
    sizes = {key: description.num_bytes(key) for key in description.shapes}
    found = runner.find(
        functools.partial(_index, sizes=sizes, skips=skips), paths,
        Label('looking for features to reuse', 'shard'))
    for _, damage in found:
      if damage:
        logging.warning('not reused: %s', damage)
    self._places = {
        bytes.fromhex(digest): Place(path, offset, size)
        for path, (records, _) in zip(paths, found, strict=True)
        for digest, offset, size in records}

  def find(self, digest: bytes) -> Place | None:
    """Where an image's features are, if there are any."""
    return self._places.get(digest)


def read(place: Place, keys: Iterable[str]) -> dict[str, bytes]:
  """An image's features as they lie in the record, by key."""
  context = tf.train.SequenceExample.FromString(file_system.read_part(
      place.path, place.offset, place.size)).context.feature
  return {key: context[key].bytes_list.value[0] for key in keys}


def _index(
    path: str, sizes: Mapping[str, int], skips: bool
) -> tuple[list[tuple[str, int, int]], str]:
  """Digest in hex, offset and size of each record of a shard; the damage."""
  found = []
  offset = 0
  try:
    for number, record in tfrecords.read(path):
      found.append((_digest(record, sizes, f'{path}, record {number}').hex(),
                    offset + tfrecords.HEAD_SIZE, len(record)))
      offset += tfrecords.HEAD_SIZE + len(record) + tfrecords.TAIL_SIZE
  except ValueError as error:
    if not skips:
      raise
    return found, str(error)
  return found, ''


def _digest(record: bytes, sizes: Mapping[str, int], where: str) -> bytes:
  """The digest of the image that a record has the features of."""
  try:
    context = tf.train.SequenceExample.FromString(record).context.feature
    digest, *packed = (
        context[key].bytes_list.value[0]
        for key in (feature_cache.DIGEST, *sizes))
  except (DecodeError, IndexError):
    raise ValueError(f'{where}: no features; this is no shard of features'
                     ) from None
  if list(map(len, packed)) != list(sizes.values()):
    raise ValueError(f'{where}: not as many bytes of features as '
                     f'{feature_cache.FILE_NAME} says')
  return digest
