"""Inception v3 (Szegedy et al. 2015, https://arxiv.org/abs/1512.00567)."""

import numpy as np
import tensorflow as tf
import tf_slim as slim
from tf_slim.nets import inception_v3

from im2txt.encoders import encoder, keras_weights
from im2txt.layers import normalization

tf1 = tf.compat.v1

_BATCH_NORM_DECAY = 0.9997
_BATCH_NORM_EPSILON = 0.001
_STDDEV = 0.1
# Widths and strides of the layers with 'VALID' padding, which cuts edges off.
_CUTTING = ((3, 2), (3, 1), (3, 2), (3, 1), (3, 2), (3, 2), (3, 2))


class InceptionV3(encoder.Encoder):
  """The network of slim's nets, with im2txt's numbers and variables.

  Weights: slim's `inception_v3.ckpt`, any im2txt checkpoint, or Keras's
  `inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5`.
  """

  scope = 'InceptionV3'
  image_side = 299
  weights_suffixes = keras_weights.SUFFIXES
  checkpoint_source = ('fetch it with '
                       '`python -m data_prep.download inception_v3`')

  def encode(
      self, images: tf.Tensor, trainable: bool, training: bool
  ) -> encoder.Encoding:
    """Build the network: C = 2048, 8 x 8 regions of 299 x 299 pixels."""
    training = trainable and training
    regularizer = (
        slim.l2_regularizer(self._weight_decay) if trainable else None)
    normalizer_params = {
        'decay': _BATCH_NORM_DECAY, 'epsilon': _BATCH_NORM_EPSILON,
        'scale': False, 'trainable': trainable, 'training': training}
    with (
        tf1.variable_scope(tf1.get_variable_scope(), reuse=tf1.AUTO_REUSE),
        slim.arg_scope(
            [slim.conv2d],
            weights_initializer=tf1.truncated_normal_initializer(
                stddev=_STDDEV),
            weights_regularizer=regularizer,
            activation_fn=tf.nn.relu,
            normalizer_fn=normalization.batch_norm,
            normalizer_params=normalizer_params,
            trainable=trainable)):
      net, _ = inception_v3.inception_v3_base(images, scope=self.scope)
    return self._pool(net, training)

  def grid(self, height: int, width: int) -> tuple[int, int]:
    """Return the rows and columns of regions; edges are cut off."""
    for kernel, stride in _CUTTING:
      height, width = ((side - kernel) // stride + 1
                       for side in (height, width))
    return height, width

  def read_weights(self, path: str) -> dict[str, np.ndarray]:
    """Read Keras's `.h5`."""
    return keras_weights.read(path, self._convolution_scopes())

  def _convolution_scopes(self) -> list[str]:
    """List the scopes of the 94 convolutions in the order of their creation."""
    with tf.Graph().as_default():
      self.encode(tf1.placeholder(tf.float32, [None, 299, 299, 3]),
                  trainable=False, training=False)
      return [variable.op.name.removesuffix('/weights')
              for variable in tf1.global_variables()
              if variable.op.name.endswith('/weights')]
