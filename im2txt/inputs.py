"""Shards in, padded batches out.

Shapes: P pictures of a batch, B captions of a batch (P of them, or all that
the pictures have), T longest caption of the batch less one, n captions of a
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

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from im2txt import (
    bad_records,
    configuration,
    feature_cache,
    file_system,
    graph_errors,
    image_processing,
    sequence_example,
    whole_file,
)
from im2txt.encoders import Encoding

tf1 = tf.compat.v1

# Captions of these lengths and up to the next stand in batches of their own.
# Rare lengths stand together: a batch of one and the same caption would be
# among the last that a small set fills.
_BUCKETS = (*range(10, 19), 20, 22, 25)


class Batch(NamedTuple):
  """Pictures and their captions; see the module for how they are padded."""

  # float32 [P, height, width, 3], pixels in [-1, 1], or what a feature cache
  # has of them.
  images: tf.Tensor | Encoding
  input_seqs: tf.Tensor   # int32 [B, T]
  target_seqs: tf.Tensor  # int32 [B, T]
  input_mask: tf.Tensor   # int32 [B, T]
  image_rows: tf.Tensor   # int32 [B], which of the pictures a caption is of


class _Example(NamedTuple):
  """A picture and n of its captions; in a batch padded, with P in front."""

  data: dict[str, tf.Tensor]  # string [], by context key
  captions: tf.Tensor         # int32 [n, T + 1], padded
  lengths: tf.Tensor          # int32 [n]


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
    training: for ever in random order with distorted pictures, a caption of a
      picture at a time unless `all_captions` says otherwise; or once in the
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
  files = find_shards(config.input_file_pattern)
  if len(files) < num_replicas:
    raise ValueError(
        f'{num_replicas} replicas need a shard each at the least, but '
        f'{config.input_file_pattern} are {len(files)}; build more')
  files = files[replica::num_replicas]
  source = _make_source(files, config, training)
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
  """Reads the pictures of some records, in order, plain, without captions.

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
  files = find_shards(config.input_file_pattern)
  source = _make_source(files, config, training=False)
  plain = tf.autograph.experimental.do_not_convert
  dataset = tf.data.Dataset.zip((
      tf.data.Dataset.from_tensor_slices(files).flat_map(
          _shard_reader(files, config)),
      tf.data.Dataset.from_tensor_slices(np.array(chosen, bool))))
  dataset = dataset.filter(plain(lambda _, wanted: wanted)).map(
      plain(lambda serialized, _: source.choose(
          _example(serialized, source, config)).data),
      num_parallel_calls=config.num_preprocess_threads)
  draw = _draw()
  dataset = dataset.enumerate().batch(config.batch_size).map(
      plain(lambda orders, data: source.decode(data, _seeds(draw, orders))),
      num_parallel_calls=config.num_preprocess_threads).prefetch(2)
  return source.images(_next_of(dataset))


def find_shards(patterns: str) -> list[str]:
  """Shards that match any of the comma-separated patterns, in order.

  Raises:
    ValueError: a pattern matches nothing, or the shards have no record.
    OSError: its file system cannot be reached.
  """
  found = [file for pattern in patterns.split(',') for file in _match(pattern)]
  for file in found:
    if file_system.isdir(file):
      raise ValueError(f'{file} is a folder; name its shards')
  # A shard without a record is a file without a byte.
  if not any(map(file_system.size, found)):
    raise ValueError(f'the shards {patterns} hold no captions')
  return found


def _match(pattern: str) -> list[str]:
  # A plain name first, so that brackets in it need no escapes.
  if file_system.exists(pattern):
    return [pattern]
  matches = [file for file in file_system.glob(pattern)
             if not whole_file.is_temporary(file)]
  if not matches:
    raise ValueError(f'no file matches {pattern}')
  return matches


def find_features(
    config: configuration.ModelConfig,
) -> feature_cache.Description | None:
  """What made the features of the configuration's shards; None of pictures.

  Raises:
    ValueError: no file matches, or the model is not for these features.
  """
  return _describe(find_shards(config.input_file_pattern), config)


def caption_feature(config: configuration.ModelConfig) -> str:
  """Feature-list key of the captions' ids in the configuration's shards.

  Raises:
    ValueError: as of `find_features`.
  """
  files = find_shards(config.input_file_pattern)
  return _make_source(files, config, training=False).caption_feature


def _describe(
    files: list[str], config: configuration.ModelConfig
) -> feature_cache.Description | None:
  description = feature_cache.find(files)
  if description:
    description.check(config, os.path.dirname(files[0]))
  return description


def look_through(
    config: configuration.ModelConfig, files: Sequence[str] | None = None
) -> Iterator[bad_records.Fault | None]:
  """Checks every record as evaluation reads it.

  Args:
    config: `input_file_pattern`, the sizes, and what captions may be.
    files: the shards, if not all that match the pattern.

  Yields:
    Of each record in order what is wrong with it, if anything.

  Raises:
    ValueError: as of `make_batch`; a shard cannot be read at all.
  """
  if files is None:
    files = find_shards(config.input_file_pattern)
  source = _make_source(files, config, training=False)

  def check(serialized: tf.Tensor) -> Any:
    data = source.choose(_example(serialized, source, config)).data
    return source.decode(
        tf.nest.map_structure(lambda x: x[tf.newaxis], data),
        tf.zeros([1, 2], tf.int64))

  return bad_records.look_through(files, check)


def skips_bad_records(config: configuration.ModelConfig) -> bool:
  """Whether they are left out, not errors.

  Raises:
    ValueError: `bad_records` is neither.
  """
  return configuration.choose(
      {bad_records.STOP: False, bad_records.SKIP: True},
      'bad_records', config.bad_records)


def left_out(
    config: configuration.ModelConfig, files: Sequence[str] | None = None
) -> Sequence[bad_records.Fault] | None:
  """The records that are left out; None: they stop the program.

  The first time they are looked for and said.

  Args:
    config: `bad_records`, and as of `look_through`.
    files: likewise.

  Raises:
    ValueError: as of `look_through`; `bad_records` is something else.
  """
  if not skips_bad_records(config):
    return None
  return _found_faults(
      type(config), dataclasses.astuple(config),
      tuple(files or find_shards(config.input_file_pattern)))


@functools.cache
def _found_faults(
    config_class: type, values: tuple, files: tuple[str, ...]
) -> tuple[bad_records.Fault, ...]:
  judged = list(look_through(config_class(*values), files))
  faults = tuple(filter(None, judged))
  bad_records.say(faults)
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


def _shard_reader(
    files: Sequence[str], config: configuration.ModelConfig
) -> Callable[[tf.Tensor], tf.data.Dataset]:
  """What makes the data set of a shard's records, serialized."""
  faults = left_out(config, files) or ()
  return lambda file: bad_records.dataset(file, faults)


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


class _Pictures:
  """Reads records of pictures."""

  def __init__(self, config: configuration.ModelConfig, training: bool):
    self.keys = (config.image_feature_name,)
    self.caption_feature = config.caption_feature_name
    self._config = config
    self._training = training

  def choose(self, example: _Example) -> _Example:
    """Chooses the version of a picture; here it is made in `decode`."""
    return example

  def decode(
      self, data: dict[str, tf.Tensor], seeds: tf.Tensor
  ) -> tf.Tensor:
    """Pixels [P, height, width, 3] of files [P]; `seeds`: int64 [P, 2]."""
    def process(encoded_image, seed):
      return image_processing.process_image(
          encoded_image, self._training, self._config, seed[1], seed)

    [encoded_images] = data.values()
    return tf.map_fn(lambda x: process(*x), (encoded_images, seeds),
                     fn_output_signature=tf.float32)

  def images(self, pixels: tf.Tensor) -> tf.Tensor:
    """What stands in the batch."""
    return pixels


class _Features:
  """Reads records of a feature cache."""

  def __init__(self, description: feature_cache.Description, training: bool):
    self.keys = tuple(description.shapes)
    self.caption_feature = sequence_example.CAPTION_IDS
    self._description = description
    self._training = training

  def choose(self, example: _Example) -> _Example:
    """Chooses the version: a distorted one for training, if there are any."""
    example = example._replace(data={
        key: self._description.checked(key, packed)
        for key, packed in example.data.items()})
    augmentations = self._description.augmentations
    if not augmentations:
      return example
    number = (tf.random.uniform([], 1, augmentations + 1, tf.int32)
              if self._training else tf.constant(0))
    return example._replace(data={
        key: self._description.version(key, packed, number)
        for key, packed in example.data.items()})

  def decode(
      self, data: dict[str, tf.Tensor], seeds: tf.Tensor
  ) -> dict[str, tf.Tensor]:
    """Features float32 [P, ...] of their bytes [P], by key."""
    del seeds
    return {key: self._description.unpack(key, packed)
            for key, packed in data.items()}

  def images(self, features: dict[str, tf.Tensor]) -> Encoding:
    """What stands in the batch."""
    regions = features.get(feature_cache.REGIONS)
    pooled = features.get(feature_cache.POOLED)
    return Encoding(
        tf.reduce_mean(regions, 1) if pooled is None else pooled, regions)


_Source = _Pictures | _Features


def _make_source(
    files: list[str], config: configuration.ModelConfig, training: bool
) -> _Source:
  description = _describe(files, config)
  return (_Features(description, training) if description
          else _Pictures(config, training))


def _example(
    serialized: tf.Tensor, source: _Source, config: configuration.ModelConfig
) -> _Example:
  record = sequence_example.parse(
      serialized, source.keys, source.caption_feature, config.vocab_size,
      config.longest_caption())
  return _Example(record.data, record.captions.to_tensor(),
                  tf.cast(record.captions.row_lengths(), tf.int32))


def _one_by_one(example: _Example) -> tf.data.Dataset:
  """The record's captions, each with the picture, as records of their own."""
  captions = tf.data.Dataset.from_tensor_slices(
      (example.captions, example.lengths))
  pictures = tf.data.Dataset.from_tensors(example.data).repeat()
  return tf.data.Dataset.zip((pictures, captions)).map(
      lambda data, caption: _Example(
          data, caption[0][tf.newaxis, :caption[1]], caption[1][tf.newaxis]))


def _batch(
    examples: _Example, decoded: Any, source: _Source
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
    source: _Source,
    config: configuration.ModelConfig,
    training: bool,
) -> Batch:
  # Not converted, so that what a function raises stays one line.
  plain = tf.autograph.experimental.do_not_convert
  dataset = _records(files, config, training)
  dataset = dataset.map(
      plain(lambda serialized: _example(serialized, source, config)),
      num_parallel_calls=config.num_preprocess_threads)
  if training and not config.all_captions:
    dataset = dataset.flat_map(plain(_one_by_one))
  # After that, so that a picture's captions see different versions of it.
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
  # Where a picture stands in the stream says how it is distorted, so that
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
  """Seeds int64 [P, 2] of a number [] and of pictures' numbers [P]."""
  return tf.stack([tf.fill(tf.shape(orders), draw), orders], axis=1)


def _records(
    files: Sequence[str], config: configuration.ModelConfig, training: bool
) -> tf.data.Dataset:
  """Serialized records, string [], once through the shards."""
  dataset = tf.data.Dataset.from_tensor_slices(files)
  if training:
    dataset = dataset.shuffle(len(files))
  return dataset.interleave(
      _shard_reader(files, config),
      cycle_length=config.num_input_reader_threads if training else 1)


def _next_of(dataset: tf.data.Dataset) -> Any:
  """The next element, from the table initialisers on."""
  iterator = tf1.data.make_initializable_iterator(dataset)
  tf1.add_to_collection(
      tf1.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
  return iterator.get_next()


def _queue_batch(
    files: list[str],
    source: _Source,
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
  if left_out(config, files):
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

  def example(thread: int) -> tuple[_Example, Any]:
    found = _example(values.dequeue(), source, config)
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


def _draw_caption(example: _Example) -> _Example:
  """One of the record's captions at random."""
  i = tf.random.uniform(
      [], 0, tf.shape(example.lengths)[0], dtype=tf.int32)
  length = example.lengths[i]
  return example._replace(captions=example.captions[i:i + 1, :length],
                          lengths=length[tf.newaxis])
