"""The original im2txt's Inception v3."""

import tensorflow as tf

from im2txt import configuration, encoders


def inception_v3(
    images: tf.Tensor,
    trainable: bool = True,
    is_training: bool = True,
    weight_decay: float = 0.00004,
    dropout_keep_prob: float = 0.8,
) -> tf.Tensor:
  """Build the encoder `inception_v3` in the scope InceptionV3.

  Args:
    images: float32 [B, height, width, 3], pixels in [-1, 1].
    trainable: whether its weights are trained.
    is_training: whether this is the training graph.
    weight_decay: of its weights, if they are trained.
    dropout_keep_prob: share of the features kept, if its weights are trained.

  Returns:
    float32 [B, 2048], the means of the regions.
  """
  encoder = encoders.make(configuration.ModelConfig(
      encoder='inception_v3', encoder_weight_decay=weight_decay,
      encoder_dropout_keep_prob=dropout_keep_prob))
  return encoder.encode(images, trainable, is_training).pooled
