"""What an image encoder is: pixels in, a vector and a map of regions out."""

import abc

import numpy as np
import tensorflow as tf

from im2txt import configuration
from im2txt.checkpoints import names
from im2txt.inputs.batch import Encoding


class Encoder(abc.ABC):
  """Constructed with numbers, connected to images any number of times.

  Attributes:
    scope: variable scope; every variable of the encoder lies under it.
    image_side: pixels a side of the images that it was made for.
    weights_package: name of the package that brings its pretrained weights.
  """

  scope: str
  image_side: int
  weights_package: str | None = None

  def __init__(
      self, dropout_keep_prob: float = 0.8, weight_decay: float = 0.00004
  ):
    """Notes the numbers.

    Args:
      dropout_keep_prob: of the pooled features while the encoder is trained.
      weight_decay: of the convolutions while the encoder is trained.
    """
    self._dropout_keep_prob = dropout_keep_prob
    self._weight_decay = weight_decay

  @classmethod
  def from_config(cls, config: configuration.ModelConfig) -> 'Encoder':
    """Makes the encoder with the numbers of the configuration."""
    return cls(config.encoder_dropout_keep_prob, config.encoder_weight_decay)

  @abc.abstractmethod
  def encode(
      self, images: tf.Tensor, trainable: bool, training: bool
  ) -> Encoding:
    """Connects the encoder.

    Args:
      images: float32 [B, height, width, 3], pixels in [-1, 1].
      trainable: whether its weights are trained.
      training: whether this is the training graph; dropout, batch statistics
        and weight decay are there only if `trainable` as well.

    Returns:
      The images' encoding.
    """

  def grid(self, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the regions of images of a size, in pixels.

    Of a network that halves them five times, with 'SAME' padding.
    """
    return -(-height // 32), -(-width // 32)

  def default_weights(self) -> str | None:
    """Path of pretrained weights that came with the packages, if any."""
    return None

  @abc.abstractmethod
  def read_weights(self, path: str) -> dict[str, np.ndarray]:
    """Reads pretrained weights.

    Args:
      path: a file of a format this encoder knows.

    Returns:
      Value of every variable of the encoder, by its name in the graph.

    Raises:
      OSError: the file is not there.
      ValueError: it is damaged or of another network.
    """


  def _pool(self, feature_map: tf.Tensor, training: bool) -> Encoding:
    """The encoding of a feature map; its vector with dropout in training."""
    pooled, regions = pool_regions(feature_map)
    if training:
      pooled = tf.nn.dropout(pooled, rate=1.0 - self._dropout_keep_prob)
    return Encoding(pooled, regions)


def read_checkpoint(path: str, scope: str) -> dict[str, np.ndarray]:
  """Reads an encoder's variables out of a TensorFlow checkpoint.

  Of variables that have a moving average that is read, as captioning does.

  Args:
    path: the checkpoint's prefix, or its `.index` file.
    scope: the encoder's.

  Raises:
    FileNotFoundError: there is none.
    ValueError: it is damaged or has nothing under the scope.
  """
  try:
    reader = tf.compat.v1.train.NewCheckpointReader(
        path.removesuffix('.index'))
  except tf.errors.NotFoundError:
    raise FileNotFoundError(f'{path}: no such checkpoint') from None
  except (tf.errors.OpError, ValueError) as error:
    raise ValueError(f'{path} is no readable checkpoint: {error}') from None
  theirs = reader.get_variable_to_shape_map()
  names = {name: average if (average := names.average_name(name))
           in theirs else name
           for name in theirs if name.startswith(f'{scope}/')}
  if not names:
    raise ValueError(f'{path} has no variables under {scope}/')
  try:
    return {ours: reader.get_tensor(name) for ours, name in names.items()}
  except (tf.errors.OpError, RuntimeError, IndexError) as error:
    raise ValueError(f'{path} is damaged: {error}') from None


def pool_regions(feature_map: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Averages a feature map and lists its cells.

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
