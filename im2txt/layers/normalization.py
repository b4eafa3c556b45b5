"""Batch and layer normalization.

Shapes: B batch, C channels.
"""

import warnings

import tensorflow as tf
import tf_slim as slim

tf1 = tf.compat.v1

# slim's layers warn at each call about a Keras method they use.
warnings.filterwarnings('ignore', message='.*layer.apply.*')


def batch_norm(
    inputs: tf.Tensor,
    decay: float,
    epsilon: float,
    scale: bool,
    trainable: bool,
    training: bool,
) -> tf.Tensor:
  """Normalize over the batch (Ioffe and Szegedy 2015).

  Its variables and arguments are those of `slim.batch_norm`, which does not
  run under Keras 3, so that it can be slim's `normalizer_fn`.

  Args:
    inputs: float32 [B, height, width, C].
    decay: of the moving averages of mean and variance.
    epsilon: added to the variance.
    scale: whether to multiply by a learned `gamma`.
    trainable: whether `gamma` and `beta` are trained.
    training: whether to normalize by the statistics of the batch; the updates
      of the moving averages are then added to UPDATE_OPS.

  Returns:
    float32 [B, height, width, C].
  """
  channels = inputs.shape[-1]

  def variable(name, initializer, trainable):
    return slim.model_variable(
        name, [channels], initializer=initializer, trainable=trainable)

  with tf1.variable_scope('BatchNorm', reuse=tf1.AUTO_REUSE):
    zeros, ones = tf1.zeros_initializer(), tf1.ones_initializer()
    gamma = (variable('gamma', ones, trainable) if scale
             else tf.ones([channels]))
    beta = variable('beta', zeros, trainable)
    moving_mean = variable('moving_mean', zeros, False)
    moving_variance = variable('moving_variance', ones, False)
    if not training:
      return tf1.nn.fused_batch_norm(
          inputs, gamma, beta, moving_mean, moving_variance,
          epsilon=epsilon, is_training=False)[0]
    outputs, mean, variance = tf1.nn.fused_batch_norm(
        inputs, gamma, beta, epsilon=epsilon, is_training=True)
    for moving, batch in ((moving_mean, mean), (moving_variance, variance)):
      tf1.add_to_collection(
          tf1.GraphKeys.UPDATE_OPS,
          tf1.assign_sub(moving, (moving - batch) * (1.0 - decay)))
    return outputs


def layer_norm(inputs: tf.Tensor, scope: str) -> tf.Tensor:
  """Normalize over channels (Ba et al. 2016, https://arxiv.org/abs/1607.06450).

  Args:
    inputs: float32 [..., C].
    scope: variable scope of `gamma` and `beta`, each [C].

  Returns:
    float32 [..., C].
  """
  channels = inputs.shape[-1]
  with tf1.variable_scope(scope, reuse=tf1.AUTO_REUSE):
    gamma = tf1.get_variable(
        'gamma', [channels], initializer=tf1.ones_initializer())
    beta = tf1.get_variable(
        'beta', [channels], initializer=tf1.zeros_initializer())
  mean, variance = tf.nn.moments(inputs, axes=[-1], keepdims=True)
  return (inputs - mean) * tf.math.rsqrt(variance + 1e-6) * gamma + beta
