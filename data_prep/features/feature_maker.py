"""Write shards of features; the only step that needs the encoder.

A process reads the weights of the encoder once for all its shards. The images
of a shard are encoded in the same batches wherever it is written: a batch of
another size may round differently.
"""

import base64
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from data_prep.features import feature_store, image_scan
from im2txt import configuration, encoders
from im2txt.checkpoints import encoder_weights, variable_loader
from im2txt.inputs import (
    bad_records,
    feature_cache,
    image_processing,
    sequence_example,
)
from im2txt.inputs.shards import Shards

tf1 = tf.compat.v1

KEYS = {'pooled': [feature_cache.POOLED],
        'regions': [feature_cache.REGIONS],
        'both': [feature_cache.POOLED, feature_cache.REGIONS]}


class Image(NamedTuple):
  """An image of a shard to write, in values that JSON has.

  Attributes:
    image_id: its id.
    digest: SHA-256 of its file, in hex.
    captions: as in `image_scan.ScannedImage`, each in base64.
    place: of features to reuse, or None if the image must be encoded.
  """

  image_id: int
  digest: str
  captions: Sequence[str]
  place: Sequence[Any] | None


class Shard(NamedTuple):
  """A shard to write, in values that JSON has.

  Attributes:
    path: the file.
    sources: shards of images, each with the numbers of the records to encode.
    images: the content of its records.
  """

  path: str
  sources: Sequence[tuple[str, Sequence[int]]]
  images: Sequence[Image]


class Recipe(NamedTuple):
  """How images become features.

  Attributes:
    config: the encoder, its weights and the size of its images.
    description: which features are made.
    batch_size: images encoded at once.
  """

  config: configuration.ModelConfig
  description: feature_cache.Description
  batch_size: int


def make_shard(images: Sequence[tuple[image_scan.ScannedImage, str, int]],
               path: str, store: feature_store.FeatureStore | None) -> Shard:
  """Describe a shard.

  Args:
    images: each with its file and the number of its record there.
    path: of the shard.
    store: has features of images that need not be encoded.
  """
  shard_images = []
  sources: dict[str, list[int]] = {}
  for image, file, record in images:
    place = store.lookup(image.digest) if store else None
    if place is None:
      sources.setdefault(file, []).append(record)
    shard_images.append(Image(
        image.image_id, image.digest.hex(),
        [base64.b64encode(captions).decode('ascii')
         for captions in image.captions], place))
  return Shard(path, list(sources.items()), shard_images)


def count_to_encode(shard: Shard) -> int:
  """Return how many images of a shard must be encoded."""
  return sum(len(records) for _, records in shard.sources)


class FeatureMaker:
  """The encoder with its weights; call `close` in the end."""

  def __init__(self, config: configuration.ModelConfig):
    """Read the weights.

    Args:
      config: the encoder, its weights and the size of its images.

    Raises:
      OSError: the weights are not there.
      ValueError: no weights are given, or they are of another network.
    """
    self._encoder = encoders.make(config)
    self._weights = encoder_weights.find(config, self._encoder)
    if not self._weights:
      raise ValueError(f'the encoder {config.encoder} needs its weights: give '
                       '--inception_checkpoint_file')
    self._config = config
    self._record_config = image_scan.without_caption_limits(config)
    self._session = None
    self._graph = tf.Graph()
    with self._graph.as_default():
      self._encoding = self._encode_images(tf.zeros(
          [1, config.image_height, config.image_width, 3]))
      variables = encoder_weights.variables(self._encoder)
      self._loader = variable_loader.VariableLoader(variables)
      self._values = encoder_weights.read(
          self._encoder, self._weights, variables)
    self._digest = encoder_weights.digest(self._encoder, self._values)

  def describe(
      self, features: str, precision: str, augmentations: int, source: str
  ) -> feature_cache.Description:
    """Return the description of features that this encoder makes."""
    return feature_cache.Description(
        encoder=self._config.encoder,
        weights=self._digest,
        image_height=self._config.image_height,
        image_width=self._config.image_width,
        preprocessing=image_processing.describe(
            self._config, augmentations),
        precision=precision,
        augmentations=augmentations,
        shapes={key: self._encoding[key].shape[1:].as_list()
                for key in KEYS[features]},
        source=source)

  def check_weights(self, description: feature_cache.Description) -> None:
    """Check that a description names the weights of this encoder.

    Raises:
      ValueError: it names others.
    """
    if description.weights != self._digest:
      raise ValueError(
          f'{self._weights} has other weights here than '
          'where the work began; all machines must see the same file')

  def encode(
      self,
      sources: Sequence[tuple[str, Sequence[int]]],
      description: feature_cache.Description,
      batch_size: int,
  ) -> Iterator[dict[str, bytes]]:
    """Encode the images of some records of shards, in order.

    Args:
      sources: shards, each with the numbers of the records to encode, in order.
      description: which features to make; the same in every call.
      batch_size: images encoded at once; the same in every call.

    Yields:
      The features of an image as they are in a record, by key.

    Raises:
      ValueError: an image cannot be decoded.
    """
    if self._session is None:
      self._build_graph(description, batch_size)
    for path, records in sources:
      chosen = np.zeros(max(records) + 1, bool)
      chosen[records] = True
      self._session.run(
          self._initializer, {self._file: path, self._chosen: chosen})
      while True:
        try:
          with bad_records.explained_errors(
              Shards(path, (path,)), self._record_config):
            features = self._session.run(self._fetches)
        except tf.errors.OutOfRangeError:
          break
        for arrays in zip(*features.values(), strict=True):
          try:
            packed = {key: description.pack(array)
                      for key, array in zip(features, arrays, strict=True)}
          except ValueError as error:
            raise ValueError(f'{path}, of an image: {error}') from None
          yield packed

  def close(self) -> None:
    """Close the session; without it an interrupted program does not end."""
    if self._session is not None:
      self._session.close()
      self._session = None

  def _build_graph(
      self, description: feature_cache.Description, batch_size: int
  ) -> None:
    versions = description.augmentations + 1
    with self._graph.as_default():
      self._file = tf1.placeholder(tf.string, [])
      self._chosen = tf1.placeholder(tf.bool, [None])
      dataset = self._read(self._file, self._chosen, versions).batch(
          max(1, batch_size // versions)).prefetch(2)
      iterator = tf1.data.make_initializable_iterator(dataset)
      self._initializer = iterator.initializer
      images = iterator.get_next()  # [P, versions, height, width, 3]
      encoding = self._encode_images(
          tf.reshape(images, [-1, *images.shape[2:]]))
      self._fetches = {
          key: tf.reshape(encoding[key], [-1, versions, *shape])
          for key, shape in description.shapes.items()}
      self._session = tf1.Session()
      self._loader.load(self._session, self._values)

  def _encode_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
    encoding = self._encoder.encode(images, False, False)
    return {feature_cache.POOLED: encoding.pooled,
            feature_cache.REGIONS: encoding.regions}

  def _read(
      self, file: tf.Tensor, chosen: tf.Tensor, versions: int
  ) -> tf.data.Dataset:
    """Return the plain version of each image, then the distorted ones.

    The distortions follow from the bytes of the image, so they do not depend
    on what was encoded before.
    """
    config = self._config

    def decode(serialized: tf.Tensor) -> tf.Tensor:
      record = sequence_example.parse(
          serialized, [config.image_feature_name], config.caption_feature_name)
      encoded_image = record.data[config.image_feature_name]
      image = image_processing.decode_image(encoded_image)
      seed = tf.strings.to_hash_bucket_fast(encoded_image, 2**62)
      return tf.stack([image_processing.fit_image(image, False, config)] + [
          image_processing.fit_image(
              image, True, config, seed + i, tf.stack([seed, i]))
          for i in range(1, versions)])

    plain = tf.autograph.experimental.do_not_convert
    # The shard may be damaged after the last chosen record.
    records = tf.data.TFRecordDataset(file).take(
        tf.size(chosen, out_type=tf.int64))
    records = tf.data.Dataset.zip((
        records, tf.data.Dataset.from_tensor_slices(chosen)))
    return (records.filter(plain(lambda _, chosen: chosen))
            .map(plain(lambda serialized, _: decode(serialized)),
                 config.num_preprocess_threads))


# An encoder keeps all CPUs busy and has one session: it makes one shard at a
# time, even if a runner has several threads.
_lock = threading.Lock()
_makers: dict[str, FeatureMaker] = {}  # By configuration; usually one.


def get_maker(config: configuration.ModelConfig) -> FeatureMaker:
  """Return the encoder of this process; the first call makes it."""
  key = repr(config)
  if key not in _makers:
    _makers[key] = FeatureMaker(config)
  return _makers[key]


def close() -> None:
  """Close the encoders of this process."""
  while _makers:
    _makers.popitem()[1].close()


def write_shard(shard: Sequence[Any], recipe: Recipe) -> None:
  """Write a shard of features whole or not at all.

  Args:
    shard: a `Shard`, or what JSON made of it.
    recipe: how images become features.

  Raises:
    ValueError: an image cannot be decoded, or the file of weights of this
      machine differs from that of the machine where the work began.
    OSError: a file cannot be read or the shard not written.
  """
  with _lock:
    _write_shard(Shard(*shard), recipe)


def _write_shard(shard: Shard, recipe: Recipe) -> None:
  config, description, batch_size = recipe
  maker = get_maker(config)
  maker.check_weights(description)
  features = maker.encode(shard.sources, description, batch_size)

  def records() -> Iterator[bytes]:
    for image_id, digest, captions, place in shard.images:
      data = (next(features, None) if place is None else feature_store.read(
          feature_store.Place(*place), description.shapes))
      if data is None:
        raise ValueError(
            f'{", ".join(path for path, _ in shard.sources)}: fewer records '
            'than when the work began')
      example = sequence_example.make_image(
          image_id, {feature_cache.DIGEST: bytes.fromhex(digest), **data},
          image_scan.parse_captions(map(base64.b64decode, captions)))
      yield example.SerializeToString(deterministic=True)

  sequence_example.write_records(shard.path, records())
