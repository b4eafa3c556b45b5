"""Batches by tf.data.

Shapes as in `pipeline`.
"""

from typing import Any

import tensorflow as tf

from im2txt import configuration
from im2txt.inputs import bad_records, records
from im2txt.inputs.batch import Batch, Example, shift
from im2txt.inputs.shards import Shards

tf1 = tf.compat.v1

# Captions of these lengths and up to the next stand in batches of their own.
# Rare lengths stand together: a batch of one and the same caption would be
# among the last that a small set fills.
_BUCKETS = (*range(10, 19), 20, 22, 25)


def make_batch(
    shards: Shards,
    source: records.Source,
    config: configuration.ModelConfig,
    training: bool,
) -> Batch:
  """Build the data set; see `pipeline.make_batch`.

  Args:
    shards: the shards.
    source: how to read their records.
    config: the sizes.
    training: whether to shuffle and repeat.
  """
  # Not converted, so that what a function raises stays one line.
  plain = tf.autograph.experimental.do_not_convert
  dataset = read_records(shards, config, training)
  dataset = dataset.map(
      plain(lambda serialized: records.parse(serialized, source, config)),
      num_parallel_calls=config.num_preprocess_threads)
  if training and not config.all_captions:
    dataset = dataset.flat_map(plain(_one_by_one))
  # After that, so that an image's captions see different versions of it.
  dataset = dataset.map(plain(source.select_version))
  if training:
    dataset = dataset.shuffle(
        config.values_per_input_shard * config.input_queue_capacity_factor)
    dataset = dataset.repeat()
  dataset = dataset.enumerate()
  if training and config.bucket_by_length:
    dataset = dataset.bucket_by_sequence_length(
        plain(lambda _, example: tf.reduce_max(example.lengths)),
        _BUCKETS, [config.batch_size] * (len(_BUCKETS) + 1))
  else:
    dataset = dataset.padded_batch(config.batch_size)
  # Where an image stands in the stream says how it is distorted, so that
  # threads may decode in any order.
  draw = draw_number()
  # Decoded in batches only, for pixels waiting for a batch need much memory.
  dataset = dataset.map(
      plain(lambda orders, examples: (
          examples, source.decode(examples.data, seeds_of(draw, orders)))),
      num_parallel_calls=config.num_preprocess_threads)
  dataset = dataset.prefetch(2)
  examples, decoded = next_of(dataset)
  return list_captions(examples, decoded, source)


def _one_by_one(example: Example) -> tf.data.Dataset:
  """Return the record's captions as examples of one caption each."""
  captions = tf.data.Dataset.from_tensor_slices(
      (example.captions, example.lengths))
  images = tf.data.Dataset.from_tensors(example.data).repeat()
  return tf.data.Dataset.zip((images, captions)).map(
      lambda data, caption: Example(
          data, caption[0][tf.newaxis, :caption[1]], caption[1][tf.newaxis]))


def read_records(
    shards: Shards, config: configuration.ModelConfig, training: bool
) -> tf.data.Dataset:
  """Return serialized records, string [], once through the shards."""
  dataset = tf.data.Dataset.from_tensor_slices(list(shards.files))
  if training:
    dataset = dataset.shuffle(len(shards.files))
  return dataset.interleave(
      bad_records.reader(shards, config),
      cycle_length=config.num_input_reader_threads if training else 1)


def list_captions(
    examples: Example, decoded: Any, source: records.Source
) -> Batch:
  """List the captions of a padded batch of examples."""
  rows = tf.where(examples.lengths > 0)  # [B, 2]
  captions = tf.gather_nd(examples.captions, rows)  # [B, T + 1]
  lengths = tf.gather_nd(examples.lengths, rows)  # [B]
  return Batch(source.images(decoded), *shift(captions, lengths),
               tf.cast(rows[:, 0], tf.int32))


def draw_number() -> tf.Tensor:
  """Draw a number at random, int64 []; in data sets once an iterator."""
  return tf.random.uniform([], maxval=tf.int64.max, dtype=tf.int64)


def seeds_of(draw: tf.Tensor, orders: tf.Tensor) -> tf.Tensor:
  """Return seeds int64 [P, 2] of a number [] and of images' numbers [P]."""
  return tf.stack([tf.fill(tf.shape(orders), draw), orders], axis=1)


def next_of(dataset: tf.data.Dataset) -> Any:
  """Return the next element; table initialisers start the iterator."""
  iterator = tf1.data.make_initializable_iterator(dataset)
  tf1.add_to_collection(
      tf1.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
  return iterator.get_next()
