"""The layers of encoders and decoders, but for recurrent cells.

Shapes: B batch, E input width, C channels.
Each layer makes its variables under the scope it is given, and finds them
again when it is connected a second time.
"""

import warnings
from collections.abc import Callable

import tensorflow as tf
import tf_slim as slim

from im2txt import configuration

tf1 = tf.compat.v1

Initializer = Callable[..., tf.Tensor]

_DTYPES = {'float32': tf.float32, 'bfloat16': tf.bfloat16,
           'float16': tf.float16}

# slim's convolutions warn at each call about a Keras method they use.
warnings.filterwarnings('ignore', message='.*layer.apply.*')


def batch_norm(
    inputs: tf.Tensor,
    decay: float,
    epsilon: float,
    scale: bool,
    trainable: bool,
    training: bool,
) -> tf.Tensor:
  """Batch normalisation with slim's variables (Ioffe and Szegedy 2015).

  slim's own does not run under Keras 3. Made for `normalizer_fn`.

  Args:
    inputs: float32 [B, height, width, C].
    decay: share that the moving statistics keep at each update.
    epsilon: added to the variance.
    scale: whether to multiply by a learnt `gamma`.
    trainable: whether `gamma` and `beta` are trained.
    training: whether to normalise by the batch's own statistics; the updates
      of the moving ones then go to UPDATE_OPS.

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
  """Layer normalisation (Ba et al. 2016, https://arxiv.org/abs/1607.06450).

  Args:
    inputs: float32 [..., C].
    scope: variable scope, of `gamma` and `beta`, each [C].

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


def dropout(x: tf.Tensor, keep_prob: float) -> tf.Tensor:
  """Keeps a share of the values, scaled up; all where it is 1."""
  return x if keep_prob == 1.0 else tf.nn.dropout(x, rate=1.0 - keep_prob)


def uniform(scale: float) -> Initializer:
  """Values uniform in +- `scale`."""
  return tf1.random_uniform_initializer(-scale, scale)


def matmul(x: tf.Tensor, y: tf.Tensor, dtype: str) -> tf.Tensor:
  """Product of float32 [N, M] and [M, K], computed in a type; float32 [N, K].

  Args:
    x: float32 [N, M].
    y: float32 [M, K].
    dtype: 'float32', 'bfloat16' or 'float16'.

  Raises:
    ValueError: another type.
  """
  dtype = configuration.choose(_DTYPES, 'compute_dtype', dtype)
  return tf.cast(tf.matmul(tf.cast(x, dtype), tf.cast(y, dtype)), tf.float32)


def dense(
    inputs: tf.Tensor,
    units: int,
    scope: str,
    initializer: Initializer,
    use_bias: bool = True,
    dtype: str = 'float32',
) -> tf.Tensor:
  """A linear layer with variables `weights` [E, units] and `biases` [units].

  Args:
    inputs: float32 [..., E].
    units: output width.
    scope: variable scope.
    initializer: of the weights; biases begin at 0.
    use_bias: whether there are biases.
    dtype: of the product.

  Returns:
    float32 [..., units].
  """
  width = inputs.shape[-1]
  with tf1.variable_scope(scope, reuse=tf1.AUTO_REUSE):
    weights = tf1.get_variable(
        'weights', [width, units], initializer=initializer)
    outputs = matmul(tf.reshape(inputs, [-1, width]), weights, dtype)
    outputs = tf.reshape(
        outputs, tf.concat([tf.shape(inputs)[:-1], [units]], axis=0))
    if use_bias:
      outputs += tf1.get_variable(
          'biases', [units], initializer=tf1.zeros_initializer())
    return outputs


def embedding(
    ids: tf.Tensor,
    vocab_size: int,
    width: int,
    scope: str,
    initializer: Initializer,
    trainable: bool = True,
) -> tf.Tensor:
  """Rows of `embedding_map`.

  The result's name is `<scope>/embedding_lookup`.

  Args:
    ids: integers [...], each below `vocab_size`.
    vocab_size: number of rows.
    width: their width.
    scope: variable scope.
    initializer: of the map.
    trainable: whether it is trained.

  Returns:
    float32 [..., width].
  """
  # In the scope, for an error of an id out of range names it.
  with tf1.variable_scope(scope, reuse=tf1.AUTO_REUSE):
    table = _map(vocab_size, width, initializer, trainable)
    return tf.identity(tf.gather(table, ids), 'embedding_lookup')


def embedding_map(
    vocab_size: int,
    width: int,
    scope: str,
    initializer: Initializer,
    trainable: bool = True,
) -> tf.Variable:
  """The variable `map` [vocab_size, width]; arguments as of `embedding`."""
  with tf1.variable_scope(scope, reuse=tf1.AUTO_REUSE):
    return _map(vocab_size, width, initializer, trainable)


def _map(
    vocab_size: int, width: int, initializer: Initializer, trainable: bool
) -> tf.Variable:
  return tf1.get_variable('map', [vocab_size, width], initializer=initializer,
                          trainable=trainable)


def tied_dense(
    inputs: tf.Tensor, table: tf.Variable, scope: str, dtype: str = 'float32'
) -> tf.Tensor:
  """A linear layer whose weights are an embedding's; variable `biases` [V].

  Args:
    inputs: float32 [N, E].
    table: float32 [V, E], see `embedding_map`.
    scope: variable scope.
    dtype: of the product.

  Returns:
    float32 [N, V].
  """
  with tf1.variable_scope(scope, reuse=tf1.AUTO_REUSE):
    biases = tf1.get_variable(
        'biases', [table.shape[0]], initializer=tf1.zeros_initializer())
    return matmul(inputs, tf.transpose(table), dtype) + biases
