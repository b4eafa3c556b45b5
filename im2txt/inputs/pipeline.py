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

import numpy as np
import tensorflow as tf
from absl import logging

from im2txt import configuration
from im2txt.files import file_system
from im2txt.inputs import bad_records, queues, records, tf_data
from im2txt.inputs.batch import Batch, Encoding
from im2txt.inputs.shards import Shards

tf1 = tf.compat.v1


def make_batch(
    shards: Shards | None, config: configuration.ModelConfig, training: bool,
    replica: int = 0, num_replicas: int = 1,
) -> Batch:
  """Build the input pipeline that the configuration names.

  Iterators and epoch counters are started by the graph's table and local
  initialisers, queues by its queue runners; a MonitoredSession sees to all.

  Args:
    shards: what to read; None: the batch is placeholders.
    config: `input_pipeline` and the sizes.
    training: for ever in random order with distorted images, a caption of an
      image at a time unless `all_captions` says otherwise; or once in the
      order of the files with plain ones and all captions of each.
    replica: which part of the files to read.
    num_replicas: the parts.

  Raises:
    ValueError: there are fewer shards than replicas, all hold no record, there
      is no such pipeline, or the shards are of features that another encoder
      made.
  """
  if shards is None:
    return _placeholders(config)
  build = configuration.lookup(
      {'tf_data': tf_data.make_batch, 'queue': queues.make_batch},
      'input_pipeline', config.input_pipeline)
  shards = shards.part(replica, num_replicas)
  source = records.make_source(shards, config, training)
  _warn_of_empty(shards.files)
  batch = build(shards, source, config, training)
  if training and not config.all_captions:
    # One caption an image, also where captions are fed.
    batch = batch._replace(
        image_rows=tf.range(tf.shape(batch.input_seqs)[0]))
  # Both markers counted, as in im2txt.
  lengths = tf.reduce_sum(batch.input_mask, axis=1) + 1
  for name, reduce in (('min', tf.reduce_min), ('max', tf.reduce_max),
                       ('mean', tf.reduce_mean)):
    tf1.summary.scalar(f'caption_length/batch_{name}',
                       reduce(tf.cast(lengths, tf.float32)))
  return batch


def make_images(
    shards: Shards, config: configuration.ModelConfig, chosen: Sequence[bool]
) -> tf.Tensor | Encoding:
  """Read the images of some records, in order, plain, without captions.

  Args:
    shards: what to read.
    config: the sizes.
    chosen: of each record of the shards, whether to read it; of those that
      are not left out.

  Returns:
    As `Batch.images` is; the iterator is started by the graph's table
    initialiser.

  Raises:
    ValueError: as of `make_batch`.
  """
  source = records.make_source(shards, config, training=False)
  plain = tf.autograph.experimental.do_not_convert
  dataset = tf.data.Dataset.zip((
      tf.data.Dataset.from_tensor_slices(list(shards.files)).flat_map(
          bad_records.reader(shards, config)),
      tf.data.Dataset.from_tensor_slices(np.array(chosen, bool))))
  dataset = dataset.filter(plain(lambda _, wanted: wanted)).map(
      plain(lambda serialized, _: source.select_version(
          records.parse(serialized, source, config)).data),
      num_parallel_calls=config.num_preprocess_threads)
  draw = tf_data.draw_number()
  dataset = dataset.enumerate().batch(config.batch_size).map(
      plain(lambda orders, data: source.decode(
          data, tf_data.seeds_of(draw, orders))),
      num_parallel_calls=config.num_preprocess_threads).prefetch(2)
  return source.images(tf_data.next_of(dataset))


def _warn_of_empty(files: Sequence[str]) -> None:
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
