"""Finds the features of a photo in shards that an earlier run wrote."""

import os
from typing import NamedTuple

import tensorflow as tf
from google.protobuf.message import DecodeError

from im2txt import (
    bad_records,
    caption_styles,
    feature_cache,
    file_system,
    vocabulary,
    whole_file,
)

# A TFRecord's length and checksums before and behind its bytes.
_BEFORE, _BEHIND = 12, 4
# What else lies in a folder of features.
_NO_SHARDS = (feature_cache.FILE_NAME, vocabulary.FILE_NAME,
              caption_styles.path_of(vocabulary.FILE_NAME))


class _Place(NamedTuple):
  path: str
  offset: int
  size: int


class FeatureStore:
  """The features of a folder, by the digest of the photo."""

  def __init__(self, folder: str, description: feature_cache.Description):
    """Looks through the folder.

    Args:
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
    self._keys = tuple(description.shapes)
    self._places = {}
    for name in sorted(file_system.listdir(folder)):
      if name not in _NO_SHARDS and not whole_file.is_temporary(name):
        self._index(os.path.join(folder, name))

  def __contains__(self, digest: bytes) -> bool:
    return digest in self._places

  def get(self, digest: bytes) -> dict[str, bytes]:
    """A photo's features as they lie in the record, by key."""
    place = self._places[digest]
    with file_system.open(place.path, 'rb') as f:
      f.seek(place.offset)
      context = tf.train.SequenceExample.FromString(
          f.read(place.size)).context.feature
    return {key: context[key].bytes_list.value[0] for key in self._keys}

  def _index(self, path: str) -> None:
    offset = 0
    for number, record in bad_records.read(path):
      try:
        context = tf.train.SequenceExample.FromString(record).context.feature
        [digest] = context[feature_cache.DIGEST].bytes_list.value
      except (DecodeError, ValueError):
        raise ValueError(f'{path}, record {number}: no features; this is no '
                         'shard of features') from None
      self._places[digest] = _Place(path, offset + _BEFORE, len(record))
      offset += _BEFORE + len(record) + _BEHIND
