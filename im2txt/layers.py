"""The layers of every encoder and decoder; variables are made nowhere else.

Shapes: B batch, T padded caption length, E input width, H units, C channels.
Each layer makes its variables under the scope it is given, and finds them
again when it is connected a second time.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
import tf_slim as slim

tf1 = tf.compat.v1

Initializer = Callable[..., tf.Tensor]

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


def dense(
    inputs: tf.Tensor,
    units: int,
    scope: str,
    initializer: Initializer,
    use_bias: bool = True,
) -> tf.Tensor:
  """A linear layer with variables `weights` [E, units] and `biases` [units].

  Args:
    inputs: float32 [N, E].
    units: output width.
    scope: variable scope.
    initializer: of the weights; biases begin at 0.
    use_bias: whether there are biases.

  Returns:
    float32 [N, units].
  """
  with tf1.variable_scope(scope, reuse=tf1.AUTO_REUSE):
    weights = tf1.get_variable(
        'weights', [inputs.shape[-1], units], initializer=initializer)
    outputs = tf.matmul(inputs, weights)
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
) -> tf.Tensor:
  """Rows of the variable `map` [vocab_size, width].

  The result's name is `<scope>/embedding_lookup`.

  Args:
    ids: integers [...], each below `vocab_size`.
    vocab_size: number of rows.
    width: their width.
    scope: variable scope.
    initializer: of the map.

  Returns:
    float32 [..., width].
  """
  with tf1.variable_scope(scope, reuse=tf1.AUTO_REUSE):
    table = tf1.get_variable(
        'map', [vocab_size, width], initializer=initializer)
    return tf.identity(tf.gather(table, ids), 'embedding_lookup')


class LSTMState(NamedTuple):
  """What an LSTM remembers, in the order in which im2txt feeds it."""

  c: tf.Tensor  # [B, H] memory cell
  h: tf.Tensor  # [B, H] output


class LSTM:
  """An LSTM with one bias and forget bias 1 (Zaremba et al. 2014, §3).

  https://arxiv.org/abs/1409.2329. Variables under
  `<scope>/basic_lstm_cell`: kernel [E + H, 4H] and bias [4H], gates in the
  order i, j, f, o as in TensorFlow's BasicLSTMCell.
  """

  def __init__(
      self,
      units: int,
      scope: str,
      initializer: Initializer,
  ):
    self._units = units
    self._scope = scope
    self._initializer = initializer

  def zero_state(self, batch_size: tf.Tensor) -> LSTMState:
    """Returns a state of zeros, each [B, H]."""
    zeros = tf.zeros([batch_size, self._units])
    return LSTMState(c=zeros, h=zeros)

  def step(
      self, inputs: tf.Tensor, state: LSTMState
  ) -> tuple[tf.Tensor, LSTMState]:
    """One time step.

    Args:
      inputs: float32 [B, E].
      state: each [B, H].

    Returns:
      float32 [B, H] and the next state.
    """
    input_kernel, recurrent_kernel, bias = self._variables(inputs.shape[-1])
    gates = tf.matmul(inputs, input_kernel) + bias
    state = self._cell(gates, state, recurrent_kernel)
    return state.h, state

  def unroll(self, inputs: tf.Tensor, state: LSTMState) -> tf.Tensor:
    """All time steps, the inputs' share of the gates computed at once.

    Args:
      inputs: float32 [B, T, E].
      state: before the first step; each [B, H].

    Returns:
      float32 [B, T, H].
    """
    width = inputs.shape[-1]
    input_kernel, recurrent_kernel, bias = self._variables(width)
    inputs = tf.transpose(inputs, [1, 0, 2])  # [T, B, E]
    length, batch_size = tf.unstack(tf.shape(inputs)[:2])
    gates = tf.matmul(tf.reshape(inputs, [-1, width]), input_kernel) + bias
    gates = tf.reshape(gates, [length, batch_size, 4 * self._units])
    states = tf.scan(
        lambda state, gates: self._cell(gates, state, recurrent_kernel),
        gates, initializer=state)
    return tf.transpose(states.h, [1, 0, 2])

  def _cell(
      self, input_gates: tf.Tensor, state: LSTMState, kernel: tf.Tensor
  ) -> LSTMState:
    gates = input_gates + tf.matmul(state.h, kernel)  # [B, 4H]
    i, j, f, o = tf.split(gates, 4, axis=1)
    c = state.c * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
    return LSTMState(c=c, h=tf.tanh(c) * tf.sigmoid(o))

  def _variables(self, width: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    with tf1.variable_scope(f'{self._scope}/basic_lstm_cell',
                            reuse=tf1.AUTO_REUSE):
      kernel = tf1.get_variable(
          'kernel', [width + self._units, 4 * self._units],
          initializer=self._initializer)
      bias = tf1.get_variable(
          'bias', [4 * self._units], initializer=tf1.zeros_initializer())
    return kernel[:width], kernel[width:], bias
