"""Batches by queues and threads, as in im2txt.

Shapes as in `pipeline`.
"""

from typing import Any

import tensorflow as tf

from im2txt import configuration
from im2txt.inputs import bad_records, records, tf_data
from im2txt.inputs.batch import Batch, Example
from im2txt.inputs.shards import Shards

tf1 = tf.compat.v1


def make_batch(
    shards: Shards,
    source: records.Source,
    config: configuration.ModelConfig,
    training: bool,
) -> Batch:
  """Build the queues; see `pipeline.make_batch`.

  Args:
    shards: the shards.
    source: how to read their records.
    config: the sizes.
    training: whether to shuffle and repeat.
  """
  # In evaluation one reader and one thread keep the order of the files.
  values = read_into_queue(shards, config, training)

  def example(thread: int) -> tuple[Example, Any]:
    found = records.parse(values.dequeue(), source, config)
    if training and not config.all_captions:
      found = _draw_caption(found)
    found = source.select_version(found)
    decoded = source.decode(
        tf.nest.map_structure(lambda x: x[tf.newaxis], found.data),
        tf_data.seeds_of(
            tf_data.draw_number(), tf.constant([thread], tf.int64)))
    return found, tf.nest.map_structure(lambda x: x[0], decoded)

  threads = config.num_preprocess_threads if training else 1
  nests = [example(thread) for thread in range(threads)]
  joined = tf1.train.batch_join(
      [tf.nest.flatten(nest) for nest in nests], batch_size=config.batch_size,
      capacity=2 * config.num_preprocess_threads * config.batch_size,
      dynamic_pad=True, allow_smaller_final_batch=not training,
      name='batch_and_pad')
  return tf_data.list_captions(
      *tf.nest.pack_sequence_as(nests[0], joined), source)


def read_into_queue(
    shards: Shards, config: configuration.ModelConfig, training: bool
) -> tf.queue.QueueBase:
  """Build the queue of serialized records, string [], and its readers."""
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
  num_readers = config.num_input_reader_threads if training else 1
  if bad_records.left_out(shards, config):
    # Readers cannot leave out a record.
    dataset = tf_data.read_records(shards, config, training)
    serialized = num_readers * [
        tf_data.next_of(dataset.repeat() if training else dataset)]
  else:
    filenames = tf1.train.string_input_producer(
        list(shards.files), num_epochs=None if training else 1,
        shuffle=training, capacity=16, name=config.shard_queue_name)
    # Each reader keeps its own place in its own file.
    serialized = [tf1.TFRecordReader().read(filenames)[1]
                  for _ in range(num_readers)]
  tf1.train.add_queue_runner(tf1.train.QueueRunner(
      values, [values.enqueue([record]) for record in serialized]))
  tf1.summary.scalar(
      f'queue/{values.name}/fraction_of_{capacity}_full',
      tf.cast(values.size(), tf.float32) / capacity)
  return values


def _draw_caption(example: Example) -> Example:
  """Draw one of the record's captions at random."""
  i = tf.random.uniform(
      [], 0, tf.shape(example.lengths)[0], dtype=tf.int32)
  length = example.lengths[i]
  return example._replace(captions=example.captions[i:i + 1, :length],
                          lengths=length[tf.newaxis])
