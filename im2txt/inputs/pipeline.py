"""Shards in, padded batches out.

Shapes: P images of a batch, B captions of a batch (P of them, or all that
the images have), T longest caption of the batch less one, n captions of a
record.

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

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from im2txt import configuration
from im2txt.files import file_system
from im2txt.inputs import bad_records
from im2txt.inputs import records as shard_records
from im2txt.inputs.batch import Batch, Encoding, Example

tf1 = tf.compat.v1

# Captions of these lengths and up to the next stand in batches of their own.
# Rare lengths stand together: a batch of one and the same caption would be
# among the last that a small set fills.
_BUCKETS = (*range(10, 19), 20, 22, 25)


def make_batch(
    config: configuration.ModelConfig, training: bool,
    replica: int = 0, num_replicas: int = 1,
) -> Batch:
  """Builds the input pipeline that the configuration names.

  Iterators and epoch counters are started by the graph's table and local
  initialisers, queues by its queue runners; a MonitoredSession sees to all.

  Args:
    config: `input_file_pattern`, `input_pipeline` and the sizes. Without a
      pattern the batch is placeholders.
    training: for ever in random order with distorted images, a caption of an
      image at a time unless `all_captions` says otherwise; or once in the
      order of the files with plain ones and all captions of each.
    replica: which part of the files to read.
    num_replicas: the parts.

  Raises:
    ValueError: no file matches, there are fewer than replicas, all hold no
      record, there is no such pipeline, or the shards are of features that
      another encoder made.
  """
  if config.input_file_pattern is None:
    return _placeholders(config)
  pipeline = configuration.choose(
      {'tf_data': _tf_data_batch, 'queue': _queue_batch},
      'input_pipeline', config.input_pipeline)
  files = shard_records.find_shards(config.input_file_pattern)
  if len(files) < num_replicas:
    raise ValueError(
        f'{num_replicas} replicas need a shard each at the least, but '
        f'{config.input_file_pattern} are {len(files)}; build more')
  files = files[replica::num_replicas]
  source = shard_records.make_source(files, config, training)
  _say_empty(files)
  batch = pipeline(files, source, config, training)
  # Both markers counted, as in im2txt.
  lengths = tf.reduce_sum(batch.input_mask, axis=1) + 1
  for name, reduce in (('min', tf.reduce_min), ('max', tf.reduce_max),
                       ('mean', tf.reduce_mean)):
    tf1.summary.scalar(f'caption_length/batch_{name}',
                       reduce(tf.cast(lengths, tf.float32)))
  return batch


def make_images(
    config: configuration.ModelConfig, chosen: Sequence[bool]
) -> tf.Tensor | Encoding:
  """Reads the images of some records, in order, plain, without captions.

  Args:
    config: `input_file_pattern`, `bad_records` and the sizes.
    chosen: of each record of the shards, whether to read it; of those that
      are not left out.

  Returns:
    As `Batch.images` is; the iterator is started by the graph's table
    initialiser.

  Raises:
    ValueError: as of `make_batch`.
  """
  files = shard_records.find_shards(config.input_file_pattern)
  source = shard_records.make_source(files, config, training=False)
  plain = tf.autograph.experimental.do_not_convert
  dataset = tf.data.Dataset.zip((
      tf.data.Dataset.from_tensor_slices(files).flat_map(
          bad_records.reader(files, config)),
      tf.data.Dataset.from_tensor_slices(np.array(chosen, bool))))
  dataset = dataset.filter(plain(lambda _, wanted: wanted)).map(
      plain(lambda serialized, _: source.choose(
          shard_records.parse(serialized, source, config)).data),
      num_parallel_calls=config.num_preprocess_threads)
  draw = _draw()
  dataset = dataset.enumerate().batch(config.batch_size).map(
      plain(lambda orders, data: source.decode(data, _seeds(draw, orders))),
      num_parallel_calls=config.num_preprocess_threads).prefetch(2)
  return source.images(_next_of(dataset))


def _say_empty(files: Sequence[str]) -> None:
  empty = [file for file in files if not file_system.size(file)]
  if len(empty) == len(files):
    raise ValueError(f'{files[0]} and all other shards to be read here hold no '
                     'record')
  if empty:
    logging.warning('%d of %d shards hold no record; the first is %s',
                    len(empty), len(files), empty[0])


def _placeholders(config: configuration.ModelConfig) -> Batch:
  images = tf1.placeholder(
      tf.float32, [None, config.image_height, config.image_width, 3], 'images')
  sequences = [tf1.placeholder(tf.int32, [None, None], name)
               for name in ('input_seqs', 'target_seqs', 'input_mask')]
  return Batch(images, *sequences, tf1.placeholder_with_default(
      tf.range(tf.shape(sequences[0])[0]), [None], 'image_rows'))


def _one_by_one(example: Example) -> tf.data.Dataset:
  """The record's captions, each with the image, as records of their own."""
  captions = tf.data.Dataset.from_tensor_slices(
      (example.captions, example.lengths))
  images = tf.data.Dataset.from_tensors(example.data).repeat()
  return tf.data.Dataset.zip((images, captions)).map(
      lambda data, caption: Example(
          data, caption[0][tf.newaxis, :caption[1]], caption[1][tf.newaxis]))


def _batch(
    examples: Example, decoded: Any, source: shard_records.Source
) -> Batch:
  """Lists the captions of a padded batch of examples."""
  rows = tf.where(examples.lengths > 0)  # [B, 2]
  captions = tf.gather_nd(examples.captions, rows)  # [B, T + 1]
  lengths = tf.gather_nd(examples.lengths, rows)  # [B]
  mask = tf.sequence_mask(
      lengths - 1, tf.shape(captions)[1] - 1, tf.int32)  # [B, T]
  return Batch(source.images(decoded), captions[:, :-1] * mask,
               captions[:, 1:] * mask, mask, tf.cast(rows[:, 0], tf.int32))


def _tf_data_batch(
    files: list[str],
    source: shard_records.Source,
    config: configuration.ModelConfig,
    training: bool,
) -> Batch:
  # Not converted, so that what a function raises stays one line.
  plain = tf.autograph.experimental.do_not_convert
  dataset = _records(files, config, training)
  dataset = dataset.map(
      plain(lambda serialized: shard_records.parse(serialized, source, config)),
      num_parallel_calls=config.num_preprocess_threads)
  if training and not config.all_captions:
    dataset = dataset.flat_map(plain(_one_by_one))
  # After that, so that an image's captions see different versions of it.
  dataset = dataset.map(plain(source.choose))
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
  draw = _draw()
  # Decoded in batches only, for pixels waiting for a batch need much memory.
  dataset = dataset.map(
      plain(lambda orders, examples: (
          examples, source.decode(examples.data, _seeds(draw, orders)))),
      num_parallel_calls=config.num_preprocess_threads)
  dataset = dataset.prefetch(2)
  examples, decoded = _next_of(dataset)
  return _batch(examples, decoded, source)


def _draw() -> tf.Tensor:
  """A number at random, int64 []; of a dataset's functions one an iterator."""
  return tf.random.uniform([], maxval=tf.int64.max, dtype=tf.int64)


def _seeds(draw: tf.Tensor, orders: tf.Tensor) -> tf.Tensor:
  """Seeds int64 [P, 2] of a number [] and of images' numbers [P]."""
  return tf.stack([tf.fill(tf.shape(orders), draw), orders], axis=1)


def _records(
    files: Sequence[str], config: configuration.ModelConfig, training: bool
) -> tf.data.Dataset:
  """Serialized records, string [], once through the shards."""
  dataset = tf.data.Dataset.from_tensor_slices(files)
  if training:
    dataset = dataset.shuffle(len(files))
  return dataset.interleave(
      bad_records.reader(files, config),
      cycle_length=config.num_input_reader_threads if training else 1)


def _next_of(dataset: tf.data.Dataset) -> Any:
  """The next element, from the table initialisers on."""
  iterator = tf1.data.make_initializable_iterator(dataset)
  tf1.add_to_collection(
      tf1.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
  return iterator.get_next()


def _queue_batch(
    files: list[str],
    source: shard_records.Source,
    config: configuration.ModelConfig,
    training: bool,
) -> Batch:
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
  num_readers = config.num_input_reader_threads if training else 1
  if bad_records.left_out(config, files):
    # Readers cannot leave out a record.
    records = _records(files, config, training)
    serialized = num_readers * [
        _next_of(records.repeat() if training else records)]
  else:
    filenames = tf1.train.string_input_producer(
        files, num_epochs=None if training else 1, shuffle=training,
        capacity=16, name=config.shard_queue_name)
    # Each reader keeps its own place in its own file.
    serialized = [tf1.TFRecordReader().read(filenames)[1]
                  for _ in range(num_readers)]
  tf1.train.add_queue_runner(tf1.train.QueueRunner(
      values, [values.enqueue([record]) for record in serialized]))
  tf1.summary.scalar(
      f'queue/{values.name}/fraction_of_{capacity}_full',
      tf.cast(values.size(), tf.float32) / capacity)

  def example(thread: int) -> tuple[Example, Any]:
    found = shard_records.parse(values.dequeue(), source, config)
    if training and not config.all_captions:
      found = _draw_caption(found)
    found = source.choose(found)
    decoded = source.decode(
        tf.nest.map_structure(lambda x: x[tf.newaxis], found.data),
        _seeds(_draw(), tf.constant([thread], tf.int64)))
    return found, tf.nest.map_structure(lambda x: x[0], decoded)

  threads = config.num_preprocess_threads if training else 1
  nests = [example(thread) for thread in range(threads)]
  joined = tf1.train.batch_join(
      [tf.nest.flatten(nest) for nest in nests], batch_size=config.batch_size,
      capacity=2 * config.num_preprocess_threads * config.batch_size,
      dynamic_pad=True, allow_smaller_final_batch=not training,
      name='batch_and_pad')
  return _batch(*tf.nest.pack_sequence_as(nests[0], joined), source)


def _draw_caption(example: Example) -> Example:
  """One of the record's captions at random."""
  i = tf.random.uniform(
      [], 0, tf.shape(example.lengths)[0], dtype=tf.int32)
  length = example.lengths[i]
  return example._replace(captions=example.captions[i:i + 1, :length],
                          lengths=length[tf.newaxis])
