"""The interface of image encoders: pixels in, a vector and regions out."""

import abc

import numpy as np
import tensorflow as tf

from im2txt import configuration
from im2txt.inputs.batch import Encoding


class Encoder(abc.ABC):
  """Constructed with numbers, connected to images any number of times.

  Attributes:
    scope: variable scope; every variable of the encoder lies under it.
    image_side: pixels a side of the images that it was designed for.
    weights_package: name of the package that brings its pretrained weights.
    weights_suffixes: ends of the names of the files that `read_weights` reads;
      weights in any other file are a TensorFlow checkpoint.
    checkpoint_source: where its published checkpoint is to be had.
  """

  scope: str
  image_side: int
  weights_package: str | None = None
  weights_suffixes: tuple[str, ...] = ()
  checkpoint_source: str | None = None

  def __init__(
      self, dropout_keep_prob: float = 0.8, weight_decay: float = 0.00004
  ):
    """Store the hyper-parameters.

    Args:
      dropout_keep_prob: of the pooled features while the encoder is trained.
      weight_decay: of the convolutions while the encoder is trained.
    """
    self._dropout_keep_prob = dropout_keep_prob
    self._weight_decay = weight_decay

  @classmethod
  def from_config(cls, config: configuration.ModelConfig) -> 'Encoder':
    """Construct the encoder with the configuration's hyper-parameters."""
    return cls(config.encoder_dropout_keep_prob, config.encoder_weight_decay)

  @abc.abstractmethod
  def encode(
      self, images: tf.Tensor, trainable: bool, training: bool
  ) -> Encoding:
    """Build the encoder's graph.

    Args:
      images: float32 [B, height, width, 3], pixels in [-1, 1].
      trainable: whether its weights are trained.
      training: whether this is the training graph; dropout, batch statistics
        and weight decay are used only if `trainable` as well.

    Returns:
      The images' encoding.
    """

  def grid(self, height: int, width: int) -> tuple[int, int]:
    """Return the rows and columns of regions of images of a size, in pixels.

    This is for a network of five halvings with 'SAME' padding.
    """
    return -(-height // 32), -(-width // 32)

  def default_weights(self) -> str | None:
    """Return the path of pretrained weights that a package brings, if any."""
    return None

  def read_weights(self, path: str) -> dict[str, np.ndarray]:
    """Read pretrained weights in the format of another framework.

    Args:
      path: a file whose name ends in one of `weights_suffixes`.

    Returns:
      Value of every variable of the encoder, by its name in the graph.

    Raises:
      OSError: the file is not there.
      ValueError: it is damaged or of another network.
    """
    raise NotImplementedError(f'{type(self).__name__} reads no such file')

  def _pool(self, feature_map: tf.Tensor, training: bool) -> Encoding:
    """Pool a feature map to an encoding, with dropout in training."""
    pooled, regions = pool_regions(feature_map)
    if training:
      pooled = tf.nn.dropout(pooled, rate=1.0 - self._dropout_keep_prob)
    return Encoding(pooled, regions)


def pool_regions(feature_map: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Average a feature map, and list its cells as regions.

  Args:
    feature_map: float32 [B, rows, columns, C].

  Returns:
    float32 [B, C] average and float32 [B, rows * columns, C] regions, row by
    row.
  """
  _, rows, columns, channels = feature_map.shape
  cells = rows * columns if rows and columns else -1
  batch_size = tf.shape(feature_map)[0]
  regions = tf.reshape(feature_map, [batch_size, cells, channels])
  return tf.reduce_mean(feature_map, [1, 2]), regions
