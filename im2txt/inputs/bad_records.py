"""Bad records: those that a model cannot use, found, left out, explained."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from im2txt import configuration
from im2txt.inputs import graph_errors, records, tfrecords
from im2txt.inputs.batch import Example
from im2txt.inputs.shards import Shards
from im2txt.text import vocabulary


def look_through(
    shards: Shards, config: configuration.ModelConfig,
    vocab: vocabulary.Vocabulary | None = None,
) -> Iterator[tfrecords.Fault | None]:
  """Check every record as evaluation reads it.

  Args:
    shards: where the records are.
    config: the model, which has the sizes and what captions may be.
    vocab: checks also whether captions are between its markers.

  Yields:
    Of each record in order what is wrong with it, if anything.

  Raises:
    ValueError: the shards are of features that another encoder made, or one
      cannot be read at all.
  """
  source = records.make_source(shards, config, training=False)

  def check(serialized: tf.Tensor) -> Any:
    example = source.select_version(records.parse(serialized, source, config))
    with tf.control_dependencies(
        _check_markers(example, vocab) if vocab else []):
      data = tf.nest.map_structure(tf.identity, example.data)
    return source.check(data)

  return tfrecords.look_through(shards.files, check)


def _check_markers(
    example: Example, vocab: vocabulary.Vocabulary
) -> list[tf.Operation]:
  """Assert that captions begin and end with the markers."""
  first = example.captions[:, 0]
  last = tf.gather(example.captions, example.lengths - 1, batch_dims=1)
  return [
      tf.debugging.Assert(tf.reduce_all(tf.equal(ids, marker)), [
          f'a caption {place} with word id', tf.boolean_mask(
              ids, tf.not_equal(ids, marker))[:1],
          f'not with the marker {vocab.id_to_word(marker)} ({marker})'])
      for ids, marker, place in ((first, vocab.start_id, 'begins'),
                                 (last, vocab.end_id, 'ends'))]


def left_out(
    shards: Shards, config: configuration.ModelConfig
) -> Sequence[tfrecords.Fault] | None:
  """Return the records that are left out; None: bad ones stop the program.

  The first time they are looked for and logged.

  Args:
    shards: where the records are.
    config: the model.

  Raises:
    ValueError: as of `look_through`, or no record can be used.
  """
  return _find_faults(shards, config) if shards.skips_bad_records else None


@functools.cache
def _find_faults(
    shards: Shards, config: configuration.ModelConfig
) -> tuple[tfrecords.Fault, ...]:
  judged = list(look_through(shards, config))
  faults = tuple(filter(None, judged))
  tfrecords.warn_of(faults)
  if None not in judged:
    more = f'; {faults[0]}' if faults else ''
    raise ValueError(f'{shards.files[0]}, one of {len(shards.files)} shards: '
                     f'none has a record that can be used{more}')
  return faults


@contextlib.contextmanager
def explained_errors(
    shards: Shards, config: configuration.ModelConfig
) -> Iterator[None]:
  """Turn TensorFlow's error about a bad record into a line that names it.

  Args:
    shards: what is being read.
    config: the model.

  Raises:
    ValueError: a shard is damaged, a record is no image-caption pair, or one
      has a word that the model has no output for.
  """
  try:
    yield
  except (tf.errors.DataLossError, tf.errors.InvalidArgumentError,
          tf.errors.NotFoundError, tf.errors.PermissionDeniedError) as error:
    reason = graph_errors.reason(error)
    logging.info('%s; looking for the record in %s', reason, shards.pattern)
    fault = next(filter(None, look_through(shards, config)), None)
    if fault:
      raise fault.error() from None
    raise ValueError(
        f'cannot use a record of {shards.pattern}: {reason}') from None


def reader(
    shards: Shards, config: configuration.ModelConfig
) -> Callable[[tf.Tensor], tf.data.Dataset]:
  """Return what makes the data set of one shard's records, serialized."""
  faults = left_out(shards, config) or ()
  # Not converted: there is nothing to convert, and looking for it takes long.
  return tf.autograph.experimental.do_not_convert(
      lambda file: tfrecords.dataset(file, faults))
