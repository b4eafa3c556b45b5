"""Shards in, padded batches out.

Shapes: B batch, T longest caption of the batch less one.

A caption [<S>, a, dog, </S>] becomes

  input_seqs:  <S>  a    dog
  target_seqs: a    dog  </S>
  input_mask:  1    1    1

and a shorter one of the same batch is filled up with 0 in all three:

  input_seqs:  <S>  dog  0
  target_seqs: dog  </S> 0
  input_mask:  1    1    0

0 is the id of a word too: only the mask tells padding from words.
"""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf

from im2txt import (
    configuration,
    graph_errors,
    image_processing,
    sequence_example,
)

tf1 = tf.compat.v1


class Batch(NamedTuple):
  """Image-caption pairs; see the module for how they are padded."""

  images: tf.Tensor       # float32 [B, height, width, 3], pixels in [-1, 1]
  input_seqs: tf.Tensor   # int32 [B, T]
  target_seqs: tf.Tensor  # int32 [B, T]
  input_mask: tf.Tensor   # int32 [B, T]


def make_batch(config: configuration.ModelConfig, training: bool) -> Batch:
  """Builds the input pipeline that the configuration names.

  Iterators and epoch counters are started by the graph's table and local
  initialisers, queues by its queue runners; a MonitoredSession sees to all.

  Args:
    config: `input_file_pattern`, `input_pipeline` and the sizes. Without a
      pattern the batch is placeholders.
    training: for ever in random order with distorted pictures, or once in the
      order of the files with plain ones.

  Raises:
    ValueError: no file matches, or there is no such pipeline.
  """
  if config.input_file_pattern is None:
    return _placeholders(config)
  pipelines = {'tf_data': _tf_data_batch, 'queue': _queue_batch}
  if config.input_pipeline not in pipelines:
    raise ValueError(
        f'input_pipeline is {config.input_pipeline!r}; it must be one of '
        f'{", ".join(map(repr, pipelines))}')
  files = find_shards(config.input_file_pattern)
  batch = pipelines[config.input_pipeline](files, config, training)
  # Both markers counted, as in im2txt.
  lengths = tf.reduce_sum(batch.input_mask, axis=1) + 1
  for name, reduce in (('min', tf.reduce_min), ('max', tf.reduce_max),
                       ('mean', tf.reduce_mean)):
    tf1.summary.scalar(f'caption_length/batch_{name}',
                       reduce(tf.cast(lengths, tf.float32)))
  return batch


def find_shards(patterns: str) -> list[str]:
  """Shards that match any of the comma-separated patterns, in order.

  Raises:
    ValueError: a pattern matches nothing, its file system cannot be reached,
      or the shards have no record.
  """
  files = [file for pattern in patterns.split(',') for file in _match(pattern)]
  for file in files:
    if tf.io.gfile.isdir(file):
      raise ValueError(f'{file} is a folder; input_file_pattern must match '
                       'its shards')
  # A shard without a record is a file without a byte.
  if not any(tf.io.gfile.stat(file).length for file in files):
    raise ValueError(f'the shards {patterns} hold no captions')
  return files


def _match(pattern: str) -> list[str]:
  try:
    # A plain name first, so that brackets in it need no escapes.
    if tf.io.gfile.exists(pattern):
      return [pattern]
    matches = sorted(tf.io.gfile.glob(pattern))
  except tf.errors.OpError as error:
    raise ValueError(
        f'input_file_pattern: {pattern}: {error.message}') from None
  if not matches:
    raise ValueError(f'input_file_pattern: no file matches {pattern}')
  return matches


@contextlib.contextmanager
def explained_errors(pattern: str) -> Iterator[None]:
  """Turns what TensorFlow says of a bad record into a line about the shards.

  Args:
    pattern: of the shards being read.

  Raises:
    ValueError: a shard is damaged, a record is no image-caption pair, or one
      has a word that the model has no output for.
  """
  try:
    yield
  except (tf.errors.DataLossError, tf.errors.InvalidArgumentError,
          tf.errors.NotFoundError, tf.errors.PermissionDeniedError) as error:
    raise ValueError(f'cannot use a record of {pattern}: '
                     f'{graph_errors.reason(error)}') from None


def _placeholders(config: configuration.ModelConfig) -> Batch:
  images = tf1.placeholder(
      tf.float32, [None, config.image_height, config.image_width, 3], 'images')
  return Batch(images, *(
      tf1.placeholder(tf.int32, [None, None], name)
      for name in ('input_seqs', 'target_seqs', 'input_mask')))


def _example(
    serialized: tf.Tensor,
    config: configuration.ModelConfig,
    training: bool,
    distortion_order: int | tf.Tensor,
) -> Batch:
  """One record as a batch without its first dimension."""
  encoded_image, caption = sequence_example.parse(
      serialized, config.image_feature_name, config.caption_feature_name)
  image = image_processing.process_image(
      encoded_image, training, config.image_height, config.image_width,
      config.image_format, distortion_order)
  return Batch(image, caption[:-1], caption[1:], tf.ones_like(caption[1:]))


def _tf_data_batch(
    files: list[str], config: configuration.ModelConfig, training: bool
) -> Batch:
  dataset = tf.data.Dataset.from_tensor_slices(files)
  if training:
    dataset = dataset.shuffle(len(files))
  dataset = dataset.interleave(
      tf.data.TFRecordDataset,
      cycle_length=config.num_input_reader_threads if training else 1)
  if training:
    dataset = dataset.shuffle(
        config.values_per_input_shard * config.input_queue_capacity_factor)
    dataset = dataset.repeat()
  # Not converted, so that what `_example` raises stays one line.
  dataset = dataset.enumerate().map(
      tf.autograph.experimental.do_not_convert(
          lambda i, serialized: _example(serialized, config, training, i)),
      num_parallel_calls=config.num_preprocess_threads)
  dataset = dataset.padded_batch(config.batch_size)
  dataset = dataset.prefetch(2)
  iterator = tf1.data.make_initializable_iterator(dataset)
  tf1.add_to_collection(
      tf1.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
  return iterator.get_next()


def _queue_batch(
    files: list[str], config: configuration.ModelConfig, training: bool
) -> Batch:
  filenames = tf1.train.string_input_producer(
      files, num_epochs=None if training else 1, shuffle=training,
      capacity=16, name=config.shard_queue_name)
  # In evaluation one reader and one thread keep the order of the files.
  if training:
    least = config.values_per_input_shard * config.input_queue_capacity_factor
    capacity = least + 100 * config.batch_size
    values = tf1.RandomShuffleQueue(
        capacity=capacity, min_after_dequeue=least, dtypes=[tf.string],
        name='random_input_queue')
  else:
    capacity = config.values_per_input_shard + 3 * config.batch_size
    values = tf1.FIFOQueue(
        capacity=capacity, dtypes=[tf.string], name='fifo_input_queue')
  # Each reader keeps its own place in its own file.
  tf1.train.add_queue_runner(tf1.train.QueueRunner(values, [
      values.enqueue([tf1.TFRecordReader().read(filenames)[1]])
      for _ in range(config.num_input_reader_threads if training else 1)]))
  tf1.summary.scalar(
      f'queue/{values.name}/fraction_of_{capacity}_full',
      tf.cast(values.size(), tf.float32) / capacity)
  threads = config.num_preprocess_threads if training else 1
  examples = [_example(values.dequeue(), config, training, thread)
              for thread in range(threads)]
  return Batch(*tf1.train.batch_join(
      examples, batch_size=config.batch_size,
      capacity=2 * config.num_preprocess_threads * config.batch_size,
      dynamic_pad=True, allow_smaller_final_batch=not training,
      name='batch_and_pad'))
