"""ResNet, v1 (He et al. 2015, https://arxiv.org/abs/1512.03385)."""

from collections.abc import Callable

import tensorflow as tf
import tf_slim as slim
from tf_slim.nets import resnet_v1

from im2txt.encoders import encoder
from im2txt.layers import normalization

tf1 = tf.compat.v1

_BATCH_NORM_DECAY = 0.997
_BATCH_NORM_EPSILON = 1e-5
# Of the pixels in [0, 255] that the published weights were trained on.
_RGB_MEAN = (123.68, 116.78, 103.94)


class ResNetV1(encoder.Encoder):
  """The network of slim's nets, with its variables; subclasses have a depth.

  A block halves the resolution in the 3 x 3 convolution of its last unit; the
  paper does it in the first 1 x 1 convolution of the next block.

  Weights: slim's `resnet_v1_<depth>.ckpt`, or a checkpoint of a run that
  trained the encoder. slim's were trained on pixels less their mean, and no
  more: the division by ImageNet's deviation that PyTorch's tutorials show
  belongs to PyTorch's weights.

  Attributes:
    network: slim's function that builds it.
  """

  image_side = 224
  network: Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]

  def encode(
      self, images: tf.Tensor, trainable: bool, training: bool
  ) -> encoder.Encoding:
    """Build the network: C = 2048, a region for each 32 x 32 pixels."""
    training = trainable and training
    net = (images + 1.0) * 127.5 - tf.constant(_RGB_MEAN)
    with (tf1.variable_scope(tf1.get_variable_scope(), reuse=tf1.AUTO_REUSE),
          slim.arg_scope(self._arg_scope(trainable, training))):
      net, _ = self.network(net, global_pool=False, scope=self.scope)
    return self._pool(net, training)

  def _arg_scope(self, trainable: bool, training: bool):
    decay = slim.l2_regularizer(self._weight_decay) if trainable else None
    with (
        slim.arg_scope(
            [slim.conv2d],
            weights_initializer=slim.variance_scaling_initializer(),
            weights_regularizer=decay,
            activation_fn=tf.nn.relu,
            normalizer_fn=normalization.batch_norm,
            normalizer_params={
                'decay': _BATCH_NORM_DECAY, 'epsilon': _BATCH_NORM_EPSILON,
                'scale': True, 'trainable': trainable, 'training': training},
            trainable=trainable),
        slim.arg_scope([slim.max_pool2d], padding='SAME') as scope):
      return scope


class ResNetV1Depth50(ResNetV1):
  """50 layers; 23.5 million parameters."""

  scope = 'resnet_v1_50'
  network = staticmethod(resnet_v1.resnet_v1_50)
  checkpoint_source = ('slim publishes it as resnet_v1_50.ckpt in '
                       'resnet_v1_50_2016_08_28.tar.gz')


class ResNetV1Depth101(ResNetV1):
  """101 layers; 42.5 million parameters."""

  scope = 'resnet_v1_101'
  network = staticmethod(resnet_v1.resnet_v1_101)
  checkpoint_source = ('slim publishes it as resnet_v1_101.ckpt in '
                       'resnet_v1_101_2016_08_28.tar.gz')


class ResNetV1Depth152(ResNetV1):
  """152 layers; 58.1 million parameters."""

  scope = 'resnet_v1_152'
  network = staticmethod(resnet_v1.resnet_v1_152)
  checkpoint_source = ('fetch it with '
                       '`python -m data_prep.download resnet_v1_152`')
