"""Captions files of images, a batch at a time, in the order given.

Shapes: B images of a batch, T longest caption, L regions.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from im2txt import configuration, encoders
from im2txt.checkpoints.trained_model import TrainedModel
from im2txt.decoders import Decoder
from im2txt.inference import ensemble
from im2txt.inputs import graph_errors, image_processing, image_size
from im2txt.results import result as results
from im2txt.search.beam_search import Captions

tf1 = tf.compat.v1

Search = Callable[[Decoder, Any], Captions]
Choose = Callable[
    [np.ndarray, Sequence[results.Caption]], Sequence[results.Caption]]


class _Batch(NamedTuple):
  """Images on their way to the encoder; see `_read`."""

  files: tf.Tensor       # string [B]
  images: tf.Tensor      # float32 [B, height, width, 3], pixels in [-1, 1]
  thumbnails: tf.Tensor  # string [B], JPEGs; empty unless asked for
  readable: tf.Tensor    # bool [B]; where not, the image is black


def caption_files(
    models: Sequence[TrainedModel],
    files: Sequence[str],
    search: Search,
    batch_size: int,
    thumbnail_side: int | None = None,
    choose: Choose | None = None,
) -> Iterator[list[results.Result]]:
  """Captions files of images.

  The files are read and decoded beside the graph, which so need not wait.

  Args:
    models: what captions them, together if they are several; see
      `ensemble.check`.
    files: the images.
    search: finds captions with a decoder and its memory.
    batch_size: images that go through the graph at once.
    thumbnail_side: pixels of the thumbnails; None: none are made.
    choose: of the captions found, by the features, float32 [C], that the
      first model's encoder sees in the image; None: all.

  Yields:
    The results of a batch, in the order of the files.

  Raises:
    ValueError: the checkpoint is damaged or of another model.
  """
  model = models[0]
  with tf.Graph().as_default(), tf1.Session() as session:
    names = tf1.placeholder(tf.string, [None])
    iterator = tf1.data.make_initializable_iterator(
        _batches(names, model.config, batch_size, thumbnail_side))
    batch = _Batch(*iterator.get_next())
    encodings = ensemble.encode(models, batch.images)
    decoder, memory = ensemble.build_memory(models, encodings)
    encoded = batch._replace(images=()), encodings[0].pooled, memory
    # Neither encoder nor search keeps every core busy: while one batch is
    # searched for, its memory fed, the next is encoded.
    memory_feed = tf.nest.map_structure(
        lambda x: tf1.placeholder(x.dtype, [None, *x.shape[1:]]), memory)
    captions = search(decoder, memory_feed)
    name = tf1.placeholder(tf.string, [])
    why_unreadable = _read(name, model.config, None).images.op
    ensemble.restorer(models)(session)
    # Fed, not a part of the graph: there may be very many.
    session.run(iterator.initializer,
                {names: [os.fsencode(file) for file in files]})

    def to_caption(sentence, log_probability, looked):
      return results.Caption(
          model.vocab.to_sentence(sentence), float(log_probability),
          _attention(sentence, looked, model) if decoder.attends else None)

    def to_result(
        file, thumbnail, readable, features, sentences, log_probabilities,
        looked):
      if not readable:
        return results.Result(os.fsdecode(file), error=_failure(
            session, why_unreadable, {name: file}))
      found = [to_caption(*caption) for caption in zip(
          sentences, log_probabilities, looked, strict=True)
          if np.isfinite(caption[1])]
      return results.Result(
          os.fsdecode(file),
          tuple(choose(features, found) if choose else found),
          thumbnail=thumbnail or None,
          seen=image_processing.visible_fraction(
              model.config) if decoder.attends else 1.0)

    following = session.run(encoded) if files else None
    while following:
      current, features, values = following
      feeds = dict(zip(tf.nest.flatten(memory_feed), tf.nest.flatten(values),
                       strict=True))
      try:
        found, following = session.run((captions, encoded), feeds)
      except tf.errors.OutOfRangeError:
        found, following = session.run(captions, feeds), None
      yield list(map(to_result, current.files, current.thumbnails,
                     current.readable, features, found.sentences,
                     found.log_probabilities, found.alignments))


def _batches(
    files: tf.Tensor, config: configuration.ModelConfig, batch_size: int,
    thumbnail_side: int | None,
) -> tf.data.Dataset:
  """Reads and decodes files, string [n], in parallel; keeps their order."""
  def read_or_blank(file: tf.Tensor) -> _Batch:
    blank = tf.data.Dataset.from_tensors(_Batch(
        file, tf.zeros([config.image_height, config.image_width, 3]),
        tf.constant(''), tf.constant(False)))
    return (tf.data.Dataset.from_tensors(file)
            .map(lambda file: _read(file, config, thumbnail_side))
            .ignore_errors()
            .concatenate(blank)
            .take(1)
            .get_single_element())

  return (tf.data.Dataset.from_tensor_slices(files)
          .map(read_or_blank, num_parallel_calls=tf.data.AUTOTUNE)
          .batch(batch_size)
          .prefetch(2))


def _read(
    file: tf.Tensor, config: configuration.ModelConfig,
    thumbnail_side: int | None,
) -> _Batch:
  """One file, string [], as a batch without its first dimension."""
  data = tf.io.read_file(file)
  problem = tf.numpy_function(image_size.problem, [data], tf.string)
  with tf.control_dependencies([
      tf.debugging.Assert(tf.equal(problem, ''), [problem])]):
    image = image_processing.decode_image(tf.identity(data))
  return _Batch(
      file,
      image_processing.fit_image(image, False, config),
      tf.constant('') if thumbnail_side is None
      else image_processing.thumbnail(image, thumbnail_side),
      tf.constant(True))


def _attention(
    sentence: np.ndarray, looked: np.ndarray, model: TrainedModel
) -> np.ndarray:
  """Where the model looked for each word of a caption.

  Args:
    sentence: int32 [T].
    looked: float32 [T, L].
    model: has the markers, which are left out, and the images' sides.

  Returns:
    float32 [words, rows, columns].
  """
  markers = (model.vocab.start_id, model.vocab.end_id)
  rows, columns = encoders.make(model.config).grid(
      model.config.image_height, model.config.image_width)
  return looked[~np.isin(sentence, markers)].reshape(-1, rows, columns)


def _failure(
    session: tf1.Session, operation: tf.Operation,
    feeds: dict[tf.Tensor, bytes],
) -> str:
  """Says in a line why an operation fails."""
  try:
    session.run(operation, feeds)
  except tf.errors.OpError as error:
    return graph_errors.reason(error)
  return 'it could not be read at first, but now it can: is it being written?'
