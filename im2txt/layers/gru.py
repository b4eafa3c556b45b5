"""The GRU, by step.

Cho et al. 2014, https://arxiv.org/abs/1406.1078, section 2.3, in the form of
https://arxiv.org/abs/1406.1078v1 that Keras has: the reset gate multiplies the
recurrent product, not the state before it, so that all gates need one product.

Shapes: B batch, E input width, H units.
"""

import tensorflow as tf

from im2txt.layers import core

tf1 = tf.compat.v1


class GRU:
  """A GRU with the variables of Keras's (`reset_after`).

  They are `<scope>/gru_cell/kernel` [E, 3H], `recurrent_kernel` [H, 3H] and
  `bias` [2, 3H], of the inputs and recurrent; gates in the order z, r, h.
  """

  def __init__(
      self,
      units: int,
      scope: str,
      initializer: core.Initializer,
      dtype: str = 'float32',
  ):
    """Initialize with hyperparameters.

    Args:
      units: H.
      scope: variable scope.
      initializer: of the kernels; the biases start at 0.
      dtype: of the matrix products.
    """
    self._units = units
    self._scope = scope
    self._initializer = initializer
    self._dtype = dtype

  def zero_state(self, batch_size: tf.Tensor) -> tf.Tensor:
    """Return a state of zeros, [B, H]."""
    return tf.zeros([batch_size, self._units])

  def output(self, state: tf.Tensor) -> tf.Tensor:
    """Return the last output, float32 [B, H]."""
    return state

  def step(
      self, inputs: tf.Tensor, state: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Run one time step.

    Args:
      inputs: float32 [B, E].
      state: float32 [B, H].

    Returns:
      The output float32 [B, H] and the next state, which is the same tensor.
    """
    width = 3 * self._units
    with tf1.variable_scope(f'{self._scope}/gru_cell',
                            reuse=tf1.AUTO_REUSE):
      kernel = tf1.get_variable(
          'kernel', [inputs.shape[-1], width], initializer=self._initializer)
      recurrent_kernel = tf1.get_variable(
          'recurrent_kernel', [self._units, width],
          initializer=self._initializer)
      bias = tf1.get_variable(
          'bias', [2, width], initializer=tf1.zeros_initializer())
    projected = core.matmul(inputs, kernel, self._dtype) + bias[0]
    recurrent = core.matmul(state, recurrent_kernel, self._dtype) + bias[1]
    sizes = [2 * self._units, self._units]
    input_gates, input_candidate = tf.split(projected, sizes, axis=1)
    recurrent_gates, recurrent_candidate = tf.split(recurrent, sizes, axis=1)
    z, r = tf.split(tf.sigmoid(input_gates + recurrent_gates), 2, axis=1)
    candidate = tf.tanh(input_candidate + r * recurrent_candidate)
    state = z * state + (1.0 - z) * candidate
    return state, state
