"""Records of tensors on their way from shards to the model.

Shapes: P images of a batch, B captions of a batch, T padded caption length, n
captions of a record, L regions, C channels.
"""

from typing import NamedTuple

import tensorflow as tf


class Encoding(NamedTuple):
  """Encoder outputs of a batch of images: L regions of C channels."""

  pooled: tf.Tensor          # float32 [B, C]
  regions: tf.Tensor | None  # float32 [B, L, C]; None: of a cache without


class Batch(NamedTuple):
  """Images and their captions, padded as `pipeline` shows."""

  # float32 [P, height, width, 3], pixels in [-1, 1], or encoder outputs of a
  # feature cache.
  images: tf.Tensor | Encoding
  input_seqs: tf.Tensor   # int32 [B, T]
  target_seqs: tf.Tensor  # int32 [B, T]
  input_mask: tf.Tensor   # int32 [B, T]
  image_rows: tf.Tensor   # int32 [B], the image of each caption


class Example(NamedTuple):
  """An image and n of its captions; in a batch padded, with P in front."""

  data: dict[str, tf.Tensor]  # string [], by context key
  captions: tf.Tensor         # int32 [n, T + 1], padded
  lengths: tf.Tensor          # int32 [n]


def shift(
    captions: tf.Tensor, lengths: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Return `input_seqs`, `target_seqs` and `input_mask` of captions.

  Args:
    captions: int32 [B, T + 1], padded at the end.
    lengths: int32 [B], words of each, both markers included.
  """
  mask = tf.sequence_mask(
      lengths - 1, tf.shape(captions)[1] - 1, tf.int32)  # [B, T]
  return captions[:, :-1] * mask, captions[:, 1:] * mask, mask
