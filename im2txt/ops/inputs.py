"""The original im2txt's queues, from shards to padded batches.

Shapes: B batch, T padded caption length.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from im2txt import configuration
from im2txt.inputs import batch, queues, sequence_example
from im2txt.inputs.shards import Shards

tf1 = tf.compat.v1


def parse_sequence_example(
    serialized: tf.Tensor, image_feature: str, caption_feature: str
) -> tuple[tf.Tensor, tf.Tensor]:
  """Parse a record of an image and one caption.

  Args:
    serialized: string [], a serialized SequenceExample.
    image_feature: context key of the encoded image.
    caption_feature: feature-list key of the caption's ids.

  Returns:
    The encoded image, string [], and the caption's ids, int32 [.].
  """
  record = sequence_example.parse(
      serialized, (image_feature,), caption_feature)
  return record.data[image_feature], record.captions.flat_values


def prefetch_input_data(
    reader: Any,
    file_pattern: str,
    is_training: bool,
    batch_size: int,
    values_per_shard: int,
    input_queue_capacity_factor: int = 16,
    num_reader_threads: int = 1,
) -> tf.queue.QueueBase:
  """Build the queue of serialized records, with the threads that fill it.

  Args:
    reader: without effect; shards are TFRecord files.
    file_pattern: of the shards; several are separated by commas.
    is_training: whether to shuffle and repeat.
    batch_size: records that are taken at once.
    values_per_shard: records of a shard, about.
    input_queue_capacity_factor: shards that the shuffle holds at the least.
    num_reader_threads: shards that are read at once in training.

  Returns:
    A queue of string [].

  Raises:
    ValueError: no file has such a name.
  """
  del reader
  return queues.read_into_queue(
      Shards.find(file_pattern),
      configuration.ModelConfig(
          batch_size=batch_size, values_per_input_shard=values_per_shard,
          input_queue_capacity_factor=input_queue_capacity_factor,
          num_input_reader_threads=num_reader_threads),
      is_training)


def batch_with_dynamic_pad(
    images_and_captions: Sequence[tuple[tf.Tensor, tf.Tensor]],
    batch_size: int,
    queue_capacity: int,
    add_summaries: bool = True,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
  """Batch images and captions, padded to the longest caption.

  Args:
    images_and_captions: of each thread an image [height, width, channels] and
      a caption's ids, integers [.], both markers included.
    batch_size: B.
    queue_capacity: examples that wait at the most.
    add_summaries: whether to write the captions' lengths for TensorBoard.

  Returns:
    Images [B, height, width, channels], `input_seqs`, `target_seqs` and
    `input_mask`, each int32 [B, T].
  """
  images, captions, lengths = tf1.train.batch_join(
      [(image, tf.cast(caption, tf.int32), tf.size(caption))
       for image, caption in images_and_captions],
      batch_size=batch_size, capacity=queue_capacity, dynamic_pad=True,
      name='batch_and_pad')
  if add_summaries:
    for name, reduce in (('min', tf.reduce_min), ('max', tf.reduce_max),
                         ('mean', tf.reduce_mean)):
      tf1.summary.scalar(f'caption_length/batch_{name}', reduce(lengths - 1))
  return images, *batch.shift(captions, lengths)
