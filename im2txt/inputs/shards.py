"""Shards of images or of features that a pattern names, found once."""

import dataclasses
import functools
import os

from im2txt import configuration
from im2txt.files import atomic_files, file_system
from im2txt.inputs import feature_cache, tfrecords
from im2txt.text import vocabulary


@dataclasses.dataclass(frozen=True, eq=False)
class Shards:
  """Shards and what to do with their bad records.

  Attributes:
    pattern: comma-separated patterns, as they were given; for messages.
    files: the shards that match, in order.
    bad_records: 'stop' or 'skip', see `ModelConfig.bad_records`.
  """

  pattern: str
  files: tuple[str, ...]
  bad_records: str = tfrecords.STOP

  @classmethod
  def find(cls, pattern: str, bad_records: str = tfrecords.STOP) -> 'Shards':
    """Find the shards that match any of comma-separated patterns.

    Args:
      pattern: the patterns.
      bad_records: 'stop' or 'skip'.

    Raises:
      ValueError: a pattern matches nothing, no shard has a record, or there is
        no such `bad_records`.
      OSError: the file system cannot be reached.
    """
    configuration.lookup(
        dict.fromkeys([tfrecords.STOP, tfrecords.SKIP]), 'bad_records',
        bad_records)
    files = tuple(
        file for one in pattern.split(',') for file in _match(one))
    for file in files:
      if file_system.isdir(file):
        raise ValueError(f'{file} is a folder; name its shards')
    # A shard without a record is a file without a byte.
    if not any(map(file_system.size, files)):
      raise ValueError(f'the shards {pattern} hold no captions')
    return cls(pattern, files, bad_records)

  @property
  def folder(self) -> str:
    """The folder of the first shard."""
    return os.path.dirname(self.files[0])

  @property
  def skips_bad_records(self) -> bool:
    """Whether bad records are left out, not errors."""
    return self.bad_records == tfrecords.SKIP

  @functools.cached_property
  def vocab_file(self) -> str | None:
    """The vocabulary beside the shards, if there is one."""
    path = os.path.join(self.folder, vocabulary.FILE_NAME)
    return path if file_system.exists(path) else None

  @functools.cached_property
  def features(self) -> feature_cache.Description | None:
    """What made the features of the shards; None: they hold images.

    Raises:
      ValueError: the shards are of several kinds, or not complete.
    """
    return feature_cache.find(self.files)

  def features_for(
      self, config: configuration.ModelConfig
  ) -> feature_cache.Description | None:
    """Return the description of the features; None: the shards hold images.

    Raises:
      ValueError: another encoder than the model's made the features.
    """
    if self.features:
      self.features.check(config, self.folder)
    return self.features

  def part(self, index: int, count: int) -> 'Shards':
    """Return the shards that one of `count` replicas reads.

    Raises:
      ValueError: there are fewer shards than replicas.
    """
    if len(self.files) < count:
      raise ValueError(
          f'{count} replicas need a shard each at the least, but '
          f'{self.pattern} are {len(self.files)}; build more')
    if count == 1:
      return self
    return dataclasses.replace(self, files=self.files[index::count])


def _match(pattern: str) -> list[str]:
  # A plain name first, so that brackets in it need no escapes.
  if file_system.exists(pattern):
    return [pattern]
  matches = [file for file in file_system.glob(pattern)
             if not atomic_files.is_temporary(file)]
  if not matches:
    raise ValueError(f'no file matches {pattern}')
  return matches
