"""The records of shards: images or features, and captions."""

import tensorflow as tf

from im2txt import configuration
from im2txt.inputs import feature_cache, image_processing, sequence_example
from im2txt.inputs.batch import Encoding, Example
from im2txt.inputs.shards import Shards


class _Images:
  """Read records of images."""

  def __init__(self, config: configuration.ModelConfig, training: bool):
    self.keys = (config.image_feature_name,)
    self.caption_feature = config.caption_feature_name
    self._config = config
    self._training = training

  def select_version(self, example: Example) -> Example:
    """Return the example; its image gets its version in `decode`."""
    return example

  def decode(
      self, data: dict[str, tf.Tensor], seeds: tf.Tensor
  ) -> tf.Tensor:
    """Return pixels [P, height, width, 3] of files [P].

    Args:
      data: string [P], by context key.
      seeds: int64 [P, 2].
    """
    def process(encoded_image, seed):
      return image_processing.process_image(
          encoded_image, self._training, self._config, seed[1], seed)

    [encoded_images] = data.values()
    return tf.map_fn(lambda x: process(*x), (encoded_images, seeds),
                     fn_output_signature=tf.float32)

  def check(self, data: dict[str, tf.Tensor]) -> tf.Tensor:
    """Do what `decode` may fail at, with one file, string [], and no more.

    The rest takes long to be set up anew for each shard.
    """
    [encoded_image] = data.values()
    return image_processing.decode_as_stored(encoded_image)

  def images(self, pixels: tf.Tensor) -> tf.Tensor:
    """Return `Batch.images`."""
    return pixels


class _Features:
  """Read records of a feature cache."""

  def __init__(self, description: feature_cache.Description, training: bool):
    self.keys = tuple(description.shapes)
    self.caption_feature = sequence_example.CAPTION_IDS
    self._description = description
    self._training = training

  def select_version(self, example: Example) -> Example:
    """Choose a version: a distorted one for training, if there are any."""
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
    """Return features float32 [P, ...] of their bytes [P], by key."""
    del seeds
    return {key: self._description.unpack(key, packed)
            for key, packed in data.items()}

  def check(self, data: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Do what `decode` may fail at, with bytes [] by key."""
    return self.decode(
        {key: packed[tf.newaxis] for key, packed in data.items()},
        tf.zeros([1, 2], tf.int64))

  def images(self, features: dict[str, tf.Tensor]) -> Encoding:
    """Return `Batch.images`."""
    regions = features.get(feature_cache.REGIONS)
    pooled = features.get(feature_cache.POOLED)
    return Encoding(
        tf.reduce_mean(regions, 1) if pooled is None else pooled, regions)


Source = _Images | _Features


def make_source(
    shards: Shards, config: configuration.ModelConfig, training: bool
) -> Source:
  """Return what reads the records of shards.

  Args:
    shards: of images or of features.
    config: the model that is to read them.
    training: whether images are distorted.

  Raises:
    ValueError: the shards are of features that the model cannot use.
  """
  description = shards.features_for(config)
  return (_Features(description, training) if description
          else _Images(config, training))


def caption_feature(
    shards: Shards, config: configuration.ModelConfig
) -> str:
  """Return the feature-list key of the captions' ids.

  Raises:
    ValueError: as of `make_source`.
  """
  return make_source(shards, config, training=False).caption_feature


def parse(
    serialized: tf.Tensor, source: Source, config: configuration.ModelConfig
) -> Example:
  """Read a record, string []; what is wrong with it is an error of the graph.

  Args:
    serialized: the record.
    source: of `make_source`.
    config: the model, whose words the captions must have.
  """
  record = sequence_example.parse(
      serialized, source.keys, source.caption_feature, config.vocab_size,
      config.longest_caption())
  return Example(record.data, record.captions.to_tensor(),
                 tf.cast(record.captions.row_lengths(), tf.int32))
