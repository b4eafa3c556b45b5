"""Shards of images or of features, and what their records hold."""

import os

import tensorflow as tf

from im2txt import configuration
from im2txt.files import atomic_files, file_system
from im2txt.inputs import feature_cache, image_processing, sequence_example
from im2txt.inputs.batch import Encoding, Example


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
             if not atomic_files.is_temporary(file)]
  if not matches:
    raise ValueError(f'no file matches {pattern}')
  return matches


def find_features(
    config: configuration.ModelConfig,
) -> feature_cache.Description | None:
  """What made the features of the configuration's shards; None of images.

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
  return make_source(files, config, training=False).caption_feature


def _describe(
    files: list[str], config: configuration.ModelConfig
) -> feature_cache.Description | None:
  description = feature_cache.find(files)
  if description:
    description.check(config, os.path.dirname(files[0]))
  return description


class _Images:
  """Reads records of images."""

  def __init__(self, config: configuration.ModelConfig, training: bool):
    self.keys = (config.image_feature_name,)
    self.caption_feature = config.caption_feature_name
    self._config = config
    self._training = training

  def choose(self, example: Example) -> Example:
    """Chooses the version of an image; here it is made in `decode`."""
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

  def choose(self, example: Example) -> Example:
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


Source = _Images | _Features


def make_source(
    files: list[str], config: configuration.ModelConfig, training: bool
) -> Source:
  """Finds out how to read the records of shards.

  Args:
    files: the shards, all of images or all of features.
    config: the model that is to read them.
    training: whether images are distorted.

  Raises:
    ValueError: the shards are of features that the model cannot use.
  """
  description = _describe(files, config)
  return (_Features(description, training) if description
          else _Images(config, training))


def parse(
    serialized: tf.Tensor, source: Source, config: configuration.ModelConfig
) -> Example:
  """Reads a record, string []; what is wrong with it is an error of the graph.

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
