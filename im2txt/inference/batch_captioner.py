"""Caption image files, a batch at a time, in the order given.

Shapes: B images of a batch, C channels, T longest caption, L regions.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from im2txt import configuration
from im2txt.decoders import Decoder
from im2txt.inference.loaded_model import LoadedModel
from im2txt.inputs import graph_errors, image_decoder, image_processing
from im2txt.results.result import Caption, Result
from im2txt.search.beam_search import Captions

tf1 = tf.compat.v1

Search = Callable[[Decoder, Any], Captions]
Rerank = Callable[[np.ndarray, Sequence[Caption]], Sequence[Caption]]


class _Batch(NamedTuple):
  """Images on their way to the encoder; see `_read`."""

  files: tf.Tensor       # string [B]
  images: tf.Tensor      # float32 [B, height, width, 3], pixels in [-1, 1]
  thumbnails: tf.Tensor  # string [B], JPEGs; empty unless asked for
  readable: tf.Tensor    # bool [B]; where not, the image is black


class _Encoded(NamedTuple):
  """A batch on its way from the encoder to the search."""

  files: tf.Tensor       # string [B]
  thumbnails: tf.Tensor  # string [B]
  readable: tf.Tensor    # bool [B]
  features: tf.Tensor    # float32 [B, C]
  memory: Any            # the decoder's, nest of [B, ...]


class BatchCaptioner:
  """The graph from image files to captions, and the session that runs it.

  Use it in a `with` statement, which closes the session.
  """

  def __init__(
      self,
      model: LoadedModel,
      search: Search,
      batch_size: int,
      thumbnail_side: int | None = None,
      rerank: Rerank | None = None,
  ):
    """Build the graph and restore the model.

    Args:
      model: what captions the images.
      search: finds captions with a decoder and its memory.
      batch_size: images that go through the graph at once.
      thumbnail_side: pixels of the thumbnails; None: none are made.
      rerank: orders and chooses the captions of an image by its features,
        float32 [C]; None: they stay as the search found them.

    Raises:
      ValueError: a checkpoint is damaged or of another model.
    """
    self._model = model
    self._rerank = rerank
    with tf.Graph().as_default() as graph:
      self._names = tf1.placeholder(tf.string, [None])
      self._iterator = tf1.data.make_initializable_iterator(_batches(
          self._names, model.config, batch_size, thumbnail_side))
      batch = _Batch(*self._iterator.get_next())
      decoder, memory, features = model.captioner.connect(batch.images)
      self._encoded = _Encoded(
          batch.files, batch.thumbnails, batch.readable, features, memory)
      # Neither encoder nor search keeps every core busy: while one batch is
      # searched for, its memory fed, the next is encoded.
      self._memory_feed = tf.nest.map_structure(
          lambda x: tf1.placeholder(x.dtype, [None, *x.shape[1:]]), memory)
      self._captions = search(decoder, self._memory_feed)
      self._name = tf1.placeholder(tf.string, [])
      self._reading = _read(self._name, model.config, None).images.op
      restore = model.restorer()
    self._session = tf1.Session(graph=graph)
    try:
      restore(self._session)
    except BaseException:
      self._session.close()
      raise

  def __enter__(self) -> 'BatchCaptioner':
    """Return itself."""
    return self

  def __exit__(self, *_: object) -> None:
    """Close the session."""
    self._session.close()

  def caption(self, files: Sequence[str]) -> Iterator[list[Result]]:
    """Caption image files, which are read and decoded beside the graph.

    Args:
      files: the images; at least one.

    Yields:
      The results of a batch, in the order of the files.
    """
    # Fed, not a part of the graph: there may be very many.
    self._session.run(self._iterator.initializer, {
        self._names: [os.fsencode(file) for file in files]})
    encoded = self._session.run(self._encoded)
    while encoded:
      captions, following = self._search_and_encode(encoded)
      yield self._results(encoded, captions)
      encoded = following

  def _search_and_encode(
      self, encoded: _Encoded
  ) -> tuple[Captions, _Encoded | None]:
    """Search for the captions of a batch while the next is encoded."""
    feeds = dict(zip(
        tf.nest.flatten(self._memory_feed), tf.nest.flatten(encoded.memory),
        strict=True))
    try:
      return self._session.run((self._captions, self._encoded), feeds)
    except tf.errors.OutOfRangeError:
      return self._session.run(self._captions, feeds), None

  def _results(self, encoded: _Encoded, captions: Captions) -> list[Result]:
    """Make the results of a batch."""
    visible = (image_processing.visible_fraction(self._model.config)
               if self._model.captioner.attends else 1.0)
    results = []
    for i, file in enumerate(encoded.files):
      name = os.fsdecode(file)
      if not encoded.readable[i]:
        results.append(Result(name, error=self._failure(file)))
        continue
      found = self._found(
          captions.sentences[i], captions.log_probabilities[i],
          captions.alignments[i])
      if self._rerank:
        found = self._rerank(encoded.features[i], found)
      results.append(Result(
          name, tuple(found), thumbnail=encoded.thumbnails[i] or None,
          visible_fraction=visible))
    return results

  def _found(
      self, sentences: np.ndarray, log_probabilities: np.ndarray,
      alignments: np.ndarray,
  ) -> list[Caption]:
    """List the captions that were found of an image.

    Args:
      sentences: int32 [n, T].
      log_probabilities: float32 [n], nats; -inf where there is no caption.
      alignments: float32 [n, T, L].
    """
    return [
        Caption(self._model.vocab.to_sentence(sentence), float(log_probability),
                self._attention(sentence, alignment))
        for sentence, log_probability, alignment in zip(
            sentences, log_probabilities, alignments, strict=True)
        if np.isfinite(log_probability)]

  def _attention(
      self, sentence: np.ndarray, alignment: np.ndarray
  ) -> np.ndarray | None:
    """Return a caption's attention, float32 [words, rows, columns], if any.

    Args:
      sentence: int32 [T]; markers have no attention.
      alignment: float32 [T, L].
    """
    if not self._model.captioner.attends:
      return None
    vocab = self._model.vocab
    is_word = ~np.isin(sentence, (vocab.start_id, vocab.end_id))
    return alignment[is_word].reshape(-1, *self._model.captioner.grid)

  def _failure(self, file: bytes) -> str:
    """Say in one line why a file cannot be read."""
    try:
      self._session.run(self._reading, {self._name: file})
    except tf.errors.OpError as error:
      return graph_errors.reason(error)
    return 'it could not be read at first, but now it can: is it being written?'


def caption_files(
    model: LoadedModel,
    files: Sequence[str],
    search: Search,
    batch_size: int,
    thumbnail_side: int | None = None,
    rerank: Rerank | None = None,
) -> Iterator[list[Result]]:
  """Caption image files with a graph and session of their own.

  Args:
    model: what captions them.
    files: the images.
    search: see `BatchCaptioner`, as of what follows.
    batch_size: images that go through the graph at once.
    thumbnail_side: pixels of the thumbnails; None: none are made.
    rerank: orders and chooses the captions of an image.

  Yields:
    The results of a batch, in the order of the files.

  Raises:
    ValueError: the checkpoint is damaged or of another model.
  """
  if not files:
    return
  with BatchCaptioner(
      model, search, batch_size, thumbnail_side, rerank) as captioner:
    yield from captioner.caption(files)


def _batches(
    files: tf.Tensor, config: configuration.ModelConfig, batch_size: int,
    thumbnail_side: int | None,
) -> tf.data.Dataset:
  """Read and decode files, string [n], in parallel; keep their order."""
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
          .map(tf.autograph.experimental.do_not_convert(read_or_blank),
               num_parallel_calls=tf.data.AUTOTUNE)
          .batch(batch_size)
          .prefetch(2))


def _read(
    file: tf.Tensor, config: configuration.ModelConfig,
    thumbnail_side: int | None,
) -> _Batch:
  """Read one file, string [], as a batch without its first dimension."""
  data = tf.io.read_file(file)
  problem, is_plain_jpeg, pixels = tf.numpy_function(
      image_decoder.decode_other, [data], (tf.string, tf.bool, tf.uint8))
  with tf.control_dependencies([
      tf.debugging.Assert(tf.equal(problem, ''), [problem])]):
    image = tf.cond(
        is_plain_jpeg, lambda: image_processing.decode_image(data),
        lambda: tf.ensure_shape(pixels, [None, None, 3]))
  return _Batch(
      file,
      image_processing.fit_image(image, False, config),
      tf.constant('') if thumbnail_side is None
      else image_processing.thumbnail(image, thumbnail_side),
      tf.constant(True))
