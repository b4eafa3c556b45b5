"""MobileNetV3 (Howard et al. 2019, https://arxiv.org/abs/1905.02244)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_slim as slim

from im2txt.encoders import encoder, keras_weights
from im2txt.layers import normalization

tf1 = tf.compat.v1

# Keras's numbers.
_BATCH_NORM_DECAY = 0.999
_BATCH_NORM_EPSILON = 0.001


def _hard_sigmoid(x: tf.Tensor) -> tf.Tensor:
  return tf.nn.relu6(x + 3.0) / 6.0


def _hard_swish(x: tf.Tensor) -> tf.Tensor:
  return x * _hard_sigmoid(x)


class _Block(NamedTuple):
  kernel: int
  expanded: int
  channels: int
  squeezed: int  # A quarter of `expanded`, about; 0: is not squeezed.
  activation: Callable[[tf.Tensor], tf.Tensor]
  stride: int


# Table 2.
_STEM_CHANNELS = 16
_BLOCKS = (
    _Block(3, 16, 16, 8, tf.nn.relu, 2),
    _Block(3, 72, 24, 0, tf.nn.relu, 2),
    _Block(3, 88, 24, 0, tf.nn.relu, 1),
    _Block(5, 96, 40, 24, _hard_swish, 2),
    _Block(5, 240, 40, 64, _hard_swish, 1),
    _Block(5, 240, 40, 64, _hard_swish, 1),
    _Block(5, 120, 48, 32, _hard_swish, 1),
    _Block(5, 144, 48, 40, _hard_swish, 1),
    _Block(5, 288, 96, 72, _hard_swish, 2),
    _Block(5, 576, 96, 144, _hard_swish, 1),
    _Block(5, 576, 96, 144, _hard_swish, 1),
)
# The table squeezes here as well; Keras's network does not, nor its weights.
_HEAD_CHANNELS = 576


class MobileNetV3Small(encoder.Encoder):
  """Keras's network: 0.9 million parameters, made for small computers.

  Weights: Keras's `weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5`,
  that with the classifier, or any such model that Keras saved as `.h5`.
  """

  scope = 'MobileNetV3Small'
  image_side = 224
  weights_suffixes = keras_weights.SUFFIXES

  def encode(
      self, images: tf.Tensor, trainable: bool, training: bool
  ) -> encoder.Encoding:
    """Build the network: C = 576, a region for each 32 x 32 pixels."""
    training = trainable and training
    with (tf1.variable_scope(self.scope, reuse=tf1.AUTO_REUSE),
          slim.arg_scope(self._arg_scope(trainable, training))):
      net = slim.conv2d(images, _STEM_CHANNELS, 3, stride=2, scope='Stem')
      for number, block in enumerate(_BLOCKS):
        net = _connect(block, net, f'Block_{number}')
      net = slim.conv2d(net, _HEAD_CHANNELS, 1, scope='Head')
    return self._pool(net, training)

  def read_weights(self, path: str) -> dict[str, np.ndarray]:
    """Read Keras's `.h5`."""
    return keras_weights.read_in_order(path, self._shapes())

  def _shapes(self) -> dict[str, tuple[int, ...]]:
    """Return the variables' shapes by name, in the order of their creation."""
    with tf.Graph().as_default():
      self.encode(
          tf1.placeholder(
              tf.float32, [None, self.image_side, self.image_side, 3]),
          trainable=False, training=False)
      return {v.op.name: tuple(v.shape) for v in tf1.global_variables()}

  def _arg_scope(self, trainable: bool, training: bool):
    decay = slim.l2_regularizer(self._weight_decay) if trainable else None
    common = {
        'activation_fn': _hard_swish,
        'normalizer_fn': normalization.batch_norm,
        'normalizer_params': {
            'decay': _BATCH_NORM_DECAY, 'epsilon': _BATCH_NORM_EPSILON,
            'scale': True, 'trainable': trainable, 'training': training},
        'weights_regularizer': decay,
        'trainable': trainable,
        'padding': 'SAME',
    }
    with slim.arg_scope(
        [slim.conv2d, slim.separable_conv2d], **common) as scope:
      return scope


def _connect(block: _Block, inputs: tf.Tensor, scope: str) -> tf.Tensor:
  """Inverted bottleneck with squeeze-and-excitation (figure 4)."""
  net = inputs
  with tf1.variable_scope(scope):
    if block.expanded > inputs.shape[-1]:
      net = slim.conv2d(net, block.expanded, 1,
                        activation_fn=block.activation, scope='Expand')
    net = slim.separable_conv2d(
        net, None, block.kernel, depth_multiplier=1, stride=block.stride,
        activation_fn=block.activation, scope='Depthwise')
    if block.squeezed:
      net *= _gates(net, block.squeezed)
    net = slim.conv2d(
        net, block.channels, 1, activation_fn=None, scope='Project')
  if block.stride == 1 and inputs.shape[-1] == block.channels:
    net += inputs
  return net


def _gates(inputs: tf.Tensor, squeezed: int) -> tf.Tensor:
  """Compute the squeeze-and-excitation gates, float32 [B, 1, 1, C]."""
  net = tf.reduce_mean(inputs, [1, 2], keepdims=True)
  with slim.arg_scope([slim.conv2d], normalizer_fn=None):
    net = slim.conv2d(
        net, squeezed, 1, activation_fn=tf.nn.relu, scope='Squeeze')
    return slim.conv2d(net, inputs.shape[-1], 1, activation_fn=_hard_sigmoid,
                       scope='Excite')
