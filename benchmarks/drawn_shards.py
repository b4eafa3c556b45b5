"""Shards whose captions and features are drawn at random, of COCO's sizes."""

import os
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from im2txt import configuration, encoders
from im2txt.checkpoints import encoder_weights
from im2txt.inputs import feature_cache, image_processing, sequence_example

CAPTIONS_AN_IMAGE = 5
# How many of 2,151 captions of COCO have so many words, markers included.
_CAPTION_LENGTHS = {
    9: 5, 10: 85, 11: 352, 12: 447, 13: 428, 14: 299, 15: 194, 16: 111, 17: 90,
    18: 38, 19: 31, 20: 18, 21: 6, 22: 17, 23: 3, 24: 8, 25: 3, 26: 2, 27: 2,
    28: 4, 29: 4, 31: 1, 32: 1, 42: 1, 46: 1}


def write_pairs(path: str, vocab_size: int, images: Sequence[str]) -> None:
  """Write a shard of layout `im2txt`: an image with each of its captions."""
  captions = _draw_captions(vocab_size)
  with tf.io.TFRecordWriter(path) as writer:
    for i, data in enumerate(_read(images)):
      for caption in next(captions):
        writer.write(sequence_example.make_pair(
            i, data, caption).SerializeToString())


def write_images(path: str, vocab_size: int, images: Sequence[str]) -> None:
  """Write a shard of layout `image`: an image and all its captions."""
  captions = _draw_captions(vocab_size)
  with tf.io.TFRecordWriter(path) as writer:
    for i, data in enumerate(_read(images)):
      writer.write(sequence_example.make_image(
          i, {sequence_example.IMAGE_DATA: data},
          next(captions)).SerializeToString())


def encoder_digest(config: configuration.ModelConfig) -> str:
  """Return the digest of the encoder's pretrained weights."""
  encoder = encoders.make(config)
  return encoder_weights.digest(encoder, encoder_weights.read_file(
      encoder, encoder_weights.find(config, encoder)))


def write_features(
    folder: str, config: configuration.ModelConfig, weights: str,
    num_images: int, num_shards: int,
) -> int:
  """Write pooled features to shards `features-?????-of-?????`.

  Args:
    folder: made.
    config: the encoder and the size of its images.
    weights: digest of the encoder's weights.
    num_images: in all shards.
    num_shards: how many.

  Returns:
    The features' width.
  """
  with tf.Graph().as_default():
    pooled = encoders.make(config).encode(tf.zeros(
        [1, config.image_height, config.image_width, 3]), False, False).pooled
  shape = pooled.shape[1:].as_list()
  description = feature_cache.Description(
      config.encoder, weights, config.image_height, config.image_width,
      image_processing.describe(config, 0), 'float16', 0,
      {feature_cache.POOLED: shape}, '')
  os.mkdir(folder)
  feature_cache.write(folder, description)
  random = np.random.default_rng(0)
  captions = _draw_captions(config.vocab_size)
  for shard in range(num_shards):
    with tf.io.TFRecordWriter(os.path.join(
        folder, f'features-{shard:05d}-of-{num_shards:05d}')) as writer:
      for i in range(shard, num_images, num_shards):
        packed = description.pack(random.random(shape, np.float32))
        writer.write(sequence_example.make_image(
            i, {feature_cache.POOLED: packed},
            next(captions)).SerializeToString())
  return shape[0]


def _read(files: Sequence[str]) -> Iterator[bytes]:
  for file in files:
    with open(file, 'rb') as f:
      yield f.read()


def _draw_captions(
    vocab_size: int
) -> Iterator[list[sequence_example.Caption]]:
  """Draw the captions of one image after the other, for ever."""
  random = np.random.default_rng(0)
  lengths = np.repeat(list(_CAPTION_LENGTHS), list(_CAPTION_LENGTHS.values()))
  while True:
    found = []
    for length in random.choice(lengths, CAPTIONS_AN_IMAGE):
      ids = random.integers(0, vocab_size, length).tolist()
      found.append(sequence_example.Caption([f'word{i}' for i in ids], ids))
    yield found
