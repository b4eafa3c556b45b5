"""Records that a configuration cannot use: found, left out, explained."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from im2txt import configuration
from im2txt.inputs import graph_errors, tfrecords
from im2txt.inputs import records as shard_records


def look_through(
    config: configuration.ModelConfig, files: Sequence[str] | None = None
) -> Iterator[tfrecords.Fault | None]:
  """Checks every record as evaluation reads it.

  Args:
    config: `input_file_pattern`, the sizes, and what captions may be.
    files: the shards, if not all that match the pattern.

  Yields:
    Of each record in order what is wrong with it, if anything.

  Raises:
    ValueError: no file matches; the shards are of features that another
      encoder made; a shard cannot be read at all.
  """
  if files is None:
    files = shard_records.find_shards(config.input_file_pattern)
  source = shard_records.make_source(files, config, training=False)

  def check(serialized: tf.Tensor) -> Any:
    data = source.choose(shard_records.parse(serialized, source, config)).data
    return source.decode(
        tf.nest.map_structure(lambda x: x[tf.newaxis], data),
        tf.zeros([1, 2], tf.int64))

  return tfrecords.look_through(files, check)


def skips(config: configuration.ModelConfig) -> bool:
  """Whether bad records are left out, not errors.

  Raises:
    ValueError: `bad_records` is neither.
  """
  return configuration.choose(
      {tfrecords.STOP: False, tfrecords.SKIP: True},
      'bad_records', config.bad_records)


def left_out(
    config: configuration.ModelConfig, files: Sequence[str] | None = None
) -> Sequence[tfrecords.Fault] | None:
  """The records that are left out; None: they stop the program.

  The first time they are looked for and said.

  Args:
    config: `bad_records`, and as of `look_through`.
    files: likewise.

  Raises:
    ValueError: as of `look_through`; `bad_records` is something else.
  """
  if not skips(config):
    return None
  return _found_faults(
      type(config), dataclasses.astuple(config),
      tuple(files or shard_records.find_shards(config.input_file_pattern)))


@functools.cache
def _found_faults(
    config_class: type, values: tuple, files: tuple[str, ...]
) -> tuple[tfrecords.Fault, ...]:
  judged = list(look_through(config_class(*values), files))
  faults = tuple(filter(None, judged))
  tfrecords.say(faults)
  if None not in judged:
    more = f'; {faults[0]}' if faults else ''
    raise ValueError(f'{files[0]}, one of {len(files)} shards: none has a '
                     f'record that can be used{more}')
  return faults


@contextlib.contextmanager
def explained_errors(
    config: configuration.ModelConfig, files: Sequence[str] | None = None
) -> Iterator[None]:
  """Turns what TensorFlow says of a bad record into a line that names it.

  Args:
    config: of what is being read, as of `look_through`.
    files: likewise.

  Raises:
    ValueError: a shard is damaged, a record is no image-caption pair, or one
      has a word that the model has no output for.
  """
  try:
    yield
  except (tf.errors.DataLossError, tf.errors.InvalidArgumentError,
          tf.errors.NotFoundError, tf.errors.PermissionDeniedError) as error:
    where = ', '.join(files or [config.input_file_pattern])
    reason = graph_errors.reason(error)
    logging.info('%s; looking for the record in %s', reason, where)
    fault = next(filter(None, look_through(config, files)), None)
    if fault:
      raise fault.error() from None
    raise ValueError(f'cannot use a record of {where}: {reason}') from None


def reader(
    files: Sequence[str], config: configuration.ModelConfig
) -> Callable[[tf.Tensor], tf.data.Dataset]:
  """What makes the data set of a shard's records, serialized."""
  faults = left_out(config, files) or ()
  return lambda file: tfrecords.dataset(file, faults)
