"""Finds the features of a photo in shards that an earlier run wrote."""

import os
from collections.abc import Iterable
from typing import NamedTuple

import tensorflow as tf
from google.protobuf.message import DecodeError

from data_prep.runner import Label, Runner
from im2txt import (
    bad_records,
    caption_styles,
    feature_cache,
    file_system,
    locks,
    vocabulary,
    whole_file,
)

# A TFRecord's length and checksums before and behind its bytes.
_BEFORE, _BEHIND = 12, 4
# What else lies in a folder of features.
_NO_SHARDS = (feature_cache.FILE_NAME, locks.FILE_NAME, vocabulary.FILE_NAME,
              caption_styles.path_of(vocabulary.FILE_NAME))


class Place(NamedTuple):
  """Where a serialized record lies, in bytes of a file."""

  path: str
  offset: int
  size: int


class FeatureStore:
  """Where the features of a folder lie, by the digest of the photo."""

  def __init__(
      self, runner: Runner, folder: str,
      description: feature_cache.Description,
  ):
    """Looks through the folder.

    Args:
      runner: looks through one shard.
      folder: of feature shards.
      description: what the features must have been made with.

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
             if name not in _NO_SHARDS and not whole_file.is_temporary(name)]
    found = runner.find(
        _index, paths, Label('looking for features to reuse', 'shard'))
    self._places = {
        bytes.fromhex(digest): Place(path, offset, size)
        for path, records in zip(paths, found, strict=True)
        for digest, offset, size in records}

  def find(self, digest: bytes) -> Place | None:
    """Where a photo's features are, if there are any."""
    return self._places.get(digest)


def read(place: Place, keys: Iterable[str]) -> dict[str, bytes]:
  """A photo's features as they lie in the record, by key."""
  with file_system.open(place.path, 'rb') as f:
    f.seek(place.offset)
    context = tf.train.SequenceExample.FromString(
        f.read(place.size)).context.feature
  return {key: context[key].bytes_list.value[0] for key in keys}


def _index(path: str) -> list[tuple[str, int, int]]:
  """Digest in hex, offset and size of each record of a shard."""
  found = []
  offset = 0
  for number, record in bad_records.read(path):
    try:
      context = tf.train.SequenceExample.FromString(record).context.feature
      [digest] = context[feature_cache.DIGEST].bytes_list.value
    except (DecodeError, ValueError):
      raise ValueError(f'{path}, record {number}: no features; this is no '
                       'shard of features') from None
    found.append((digest.hex(), offset + _BEFORE, len(record)))
    offset += _BEFORE + len(record) + _BEHIND
  return found
