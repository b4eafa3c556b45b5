"""The LSTM, one step or a whole caption at a time.

Zaremba et al. 2014, https://arxiv.org/abs/1409.2329, section 3, with one bias
and forget bias 1. Shapes: B batch, T padded caption length, E input width, H
units.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from im2txt.layers import core as layers

tf1 = tf.compat.v1


class State(NamedTuple):
  """What an LSTM remembers, in the order in which im2txt feeds it."""

  c: tf.Tensor  # [B, H] memory cell
  h: tf.Tensor  # [B, H] output


class LSTM:
  """An LSTM with the variables of TensorFlow's BasicLSTMCell.

  They are `<scope>/basic_lstm_cell/kernel` [E + H, 4H] and `bias` [4H], gates
  in the order i, j, f, o.
  """

  def __init__(
      self,
      units: int,
      scope: str,
      initializer: layers.Initializer,
      dtype: str = 'float32',
  ):
    """Notes the numbers.

    Args:
      units: H.
      scope: variable scope.
      initializer: of the kernel; the bias begins at 0.
      dtype: of the matrix products.
    """
    self._units = units
    self._scope = scope
    self._initializer = initializer
    self._dtype = dtype

  def zero_state(self, batch_size: tf.Tensor) -> State:
    """Returns a state of zeros, each [B, H]."""
    zeros = tf.zeros([batch_size, self._units])
    return State(c=zeros, h=zeros)

  def output(self, state: State) -> tf.Tensor:
    """What it said last, float32 [B, H]."""
    return state.h

  def step(
      self, inputs: tf.Tensor, state: State
  ) -> tuple[tf.Tensor, State]:
    """One time step.

    Args:
      inputs: float32 [B, E].
      state: each [B, H].

    Returns:
      float32 [B, H] and the next state.
    """
    input_kernel, recurrent_kernel, bias = self._variables(inputs.shape[-1])
    gates = (self._matmul(inputs, input_kernel) + bias
             + self._matmul(state.h, recurrent_kernel))
    _, state = _cell(gates, state.c)
    return state.h, state

  def unroll(self, inputs: tf.Tensor, state: State) -> tf.Tensor:
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
    gates = self._matmul(tf.reshape(inputs, [-1, width]), input_kernel) + bias
    gates = tf.reshape(gates, [length, batch_size, 4 * self._units])
    outputs = _recur(self._matmul, gates, state.c, state.h, recurrent_kernel)
    return tf.transpose(outputs, [1, 0, 2])

  def _matmul(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    return layers.matmul(x, y, self._dtype)

  def _variables(self, width: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    with tf1.variable_scope(f'{self._scope}/basic_lstm_cell',
                            reuse=tf1.AUTO_REUSE):
      kernel = tf1.get_variable(
          'kernel', [width + self._units, 4 * self._units],
          initializer=self._initializer)
      bias = tf1.get_variable(
          'bias', [4 * self._units], initializer=tf1.zeros_initializer())
    # Slices would have a padded copy of the kernel each as their gradient.
    return *tf.split(kernel, [width, self._units]), bias


def _cell(gates: tf.Tensor, c: tf.Tensor) -> tuple[tf.Tensor, State]:
  """Activations [B, 4H] of the gates [B, 4H], and the state after them."""
  i, j, f, o = tf.split(gates, 4, axis=1)
  i, j, f, o = tf.sigmoid(i), tf.tanh(j), tf.sigmoid(f + 1.0), tf.sigmoid(o)
  c = c * f + i * j
  return tf.concat([i, j, f, o], axis=1), State(c=c, h=tf.tanh(c) * o)


def _recur(
    matmul: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    gates: tf.Tensor,
    c: tf.Tensor,
    h: tf.Tensor,
    kernel: tf.Tensor,
) -> tf.Tensor:
  """The recurrent half of an LSTM over a whole caption.

  Its gradient is written out, for the one that TensorFlow derives transposes
  the kernel and adds up the kernel's gradient at every word; here both are
  done once.

  Args:
    matmul: of [N, M] and [M, K].
    gates: float32 [T, B, 4H], the inputs' share.
    c: float32 [B, H], memory cell before.
    h: float32 [B, H], output before.
    kernel: float32 [H, 4H].

  Returns:
    Outputs float32 [T, B, H].
  """
  units = kernel.shape[0]

  @tf.custom_gradient
  def run(gates, c, h, kernel):
    length = tf.shape(gates)[0]

    def forward(t, state, activations, cells, outputs):
      found, state = _cell(gates[t] + matmul(state.h, kernel), state.c)
      return (t + 1, state, activations.write(t, found),
              cells.write(t, state.c), outputs.write(t, state.h))

    arrays = [tf.TensorArray(tf.float32, length) for _ in range(3)]
    _, _, *arrays = tf.while_loop(
        lambda t, *_: t < length, forward,
        (tf.constant(0), State(c, h), *arrays))
    activations, cells, outputs = [array.stack() for array in arrays]

    def gradient(outputs_gradient):
      transposed = tf.transpose(kernel)
      cells_before = tf.concat([c[tf.newaxis], cells[:-1]], axis=0)

      def backward(t, gradient, gates_gradient):
        dh = outputs_gradient[t] + gradient.h
        i, j, f, o = tf.split(activations[t], 4, axis=1)
        tanh_c = tf.tanh(cells[t])
        dc = gradient.c + dh * o * (1.0 - tanh_c * tanh_c)
        dgates = tf.concat([
            dc * j * i * (1.0 - i),
            dc * i * (1.0 - j * j),
            dc * cells_before[t] * f * (1.0 - f),
            dh * tanh_c * o * (1.0 - o)], axis=1)
        return (t - 1, State(c=dc * f, h=matmul(dgates, transposed)),
                gates_gradient.write(t, dgates))

      _, state, gates_gradient = tf.while_loop(
          lambda t, *_: t >= 0, backward,
          (length - 1, State(tf.zeros_like(c), tf.zeros_like(h)),
           tf.TensorArray(tf.float32, length)))
      dgates = gates_gradient.stack()
      outputs_before = tf.concat([h[tf.newaxis], outputs[:-1]], axis=0)
      kernel_gradient = matmul(
          tf.transpose(tf.reshape(outputs_before, [-1, units])),
          tf.reshape(dgates, [-1, 4 * units]))
      return dgates, state.c, state.h, kernel_gradient

    return outputs, gradient

  return run(gates, c, h, kernel)
