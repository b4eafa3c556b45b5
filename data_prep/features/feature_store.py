"""Look up features of images in shards that an earlier run wrote."""

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

# Other files in a folder of features.
_NO_SHARDS = (feature_cache.FILE_NAME, locks.FILE_NAME, vocabulary.FILE_NAME,
              caption_styles.path_of(vocabulary.FILE_NAME))


class Place(NamedTuple):
  """Position of a serialized record in a file, in bytes."""

  path: str
  offset: int
  size: int


class FeatureStore:
  """Index of the features in a folder, by the digest of the image."""

  def __init__(
      self, runner: Runner, folder: str,
      description: feature_cache.Description, skip_damage: bool = False,
  ):
    """Index the shards of the folder.

    Args:
      runner: indexes the shards.
      folder: of feature shards.
      description: what the features must have been made with.
      skip_damage: whether to use the records before the damage of a damaged
        shard.

    Raises:
      ValueError: the folder has no features, they were made with something
        else, or a shard is damaged.
    """
    written = feature_cache.read(folder)
    if written is None:
      raise ValueError(f'{folder} has no {feature_cache.FILE_NAME}: these are '
                       'no features to reuse')
    if written != description:
      raise ValueError(
          f'{folder}: its features were made with something else '
          f'({written.difference(description)}) and cannot be reused')
    paths = [os.path.join(folder, name)
             for name in file_system.listdir(folder)
             if name not in _NO_SHARDS and not atomic_files.is_temporary(name)]
    sizes = {key: description.num_bytes(key) for key in description.shapes}
    indexed = runner.filter_map(
        functools.partial(_index_shard, sizes=sizes, skip_damage=skip_damage),
        paths,
        Label('looking for features to reuse', 'shard'))
    for _, damage in indexed:
      if damage:
        logging.warning('not reused: %s', damage)
    self._places = {
        bytes.fromhex(digest): Place(path, offset, size)
        for path, (records, _) in zip(paths, indexed, strict=True)
        for digest, offset, size in records}

  def lookup(self, digest: bytes) -> Place | None:
    """Return where the features of an image are, or None."""
    return self._places.get(digest)


def read(place: Place, keys: Iterable[str]) -> dict[str, bytes]:
  """Read the features of an image as they are in the record, by key."""
  context = tf.train.SequenceExample.FromString(file_system.read_part(
      place.path, place.offset, place.size)).context.feature
  return {key: context[key].bytes_list.value[0] for key in keys}


def _index_shard(
    path: str, sizes: Mapping[str, int], skip_damage: bool
) -> tuple[list[tuple[str, int, int]], str]:
  """Return digest in hex, offset and size of each record, and the damage."""
  found = []
  offset = 0
  try:
    for number, record in tfrecords.read(path):
      digest = _parse_digest(record, sizes, f'{path}, record {number}')
      found.append((digest.hex(), offset + tfrecords.HEAD_SIZE, len(record)))
      offset += tfrecords.HEAD_SIZE + len(record) + tfrecords.TAIL_SIZE
  except ValueError as error:
    if not skip_damage:
      raise
    return found, str(error)
  return found, ''


def _parse_digest(
    record: bytes, sizes: Mapping[str, int], where: str
) -> bytes:
  """Return the digest of the image whose features a record has."""
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
