"""An encoder of the tests' own: of the usual kind, but built in no time.

Two convolutions with batch normalisation, which halve images five times, and
weights that it brings itself. Command lines that the tests' command server
starts know it as `tiny`, and so does the process that runs the tests; a
process that is started in another way does not.

Shapes: O output channels, I input channels.
"""

import numpy as np
import tensorflow as tf
import tf_slim as slim

from im2txt.encoders import ENCODERS, Encoder, Encoding
from im2txt.encoders.encoder import pool_regions
from im2txt.layers import normalization

tf1 = tf.compat.v1

NAME = 'tiny'
C = 9
# Of each convolution: [height, width, I, O] of its kernel.
_KERNELS = {'Stem': (9, 9, 3, 5), 'Head': (5, 5, 5, C)}


class TinyEncoder(Encoder):
  """C = 9, one region for each 32 x 32 pixels."""

  scope = 'TinyEncoder'
  image_side = 64
  weights_package = 'tiny-encoder'
  weights_suffixes = ('tiny_encoder.py',)

  def encode(
      self, images: tf.Tensor, trainable: bool, training: bool
  ) -> Encoding:
    """Connect the encoder as `Encoder.encode` says."""
    training = trainable and training
    decay = slim.l2_regularizer(self._weight_decay) if trainable else None
    with (tf1.variable_scope(self.scope, reuse=tf1.AUTO_REUSE),
          slim.arg_scope(
              [slim.conv2d], trainable=trainable, weights_regularizer=decay,
              normalizer_fn=normalization.batch_norm, normalizer_params={
                  'decay': 0.9, 'epsilon': 1e-3, 'scale': True,
                  'trainable': trainable, 'training': training})):
      net = slim.conv2d(images, 5, 9, stride=8, scope='Stem')
      net = slim.conv2d(
          net, C, 5, stride=4, activation_fn=None, scope='Head')
    pooled, regions = pool_regions(net)
    if training:
      pooled = tf.nn.dropout(pooled, rate=1.0 - self._dropout_keep_prob)
    return Encoding(pooled, regions)

  def default_weights(self) -> str:
    """Return the path of this file: it says what they are drawn from."""
    return __file__

  def read_weights(self, path: str) -> dict[str, np.ndarray]:
    """Draw this file's weights."""
    random = np.random.default_rng(7)
    weights = {}
    for layer, shape in _KERNELS.items():
      scope = f'{self.scope}/{layer}'
      fan_in = np.prod(shape[:3])
      weights |= {
          f'{scope}/weights': random.normal(0.0, (2 / fan_in) ** 0.5, shape),
          f'{scope}/BatchNorm/gamma': random.uniform(0.7, 1.3, shape[3]),
          f'{scope}/BatchNorm/beta': random.normal(0.0, 0.3, shape[3]),
          f'{scope}/BatchNorm/moving_mean': random.normal(0.0, 0.1, shape[3]),
          f'{scope}/BatchNorm/moving_variance': random.uniform(
              0.1, 0.3, shape[3])}
    return {name: value.astype(np.float32) for name, value in weights.items()}


def register() -> None:
  """Let `config.model.encoder` name it in this process."""
  ENCODERS[NAME] = TinyEncoder
