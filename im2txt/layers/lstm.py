"""The LSTM, by step and unrolled over whole captions.

Zaremba et al. 2014, https://arxiv.org/abs/1409.2329, section 3, with one bias
and forget bias 1. Shapes: B batch, T padded caption length, E input width, H
units.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from im2txt.layers import core

tf1 = tf.compat.v1

_Matmul = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class State(NamedTuple):
  """The state of an LSTM, in the order of im2txt's state tensors."""

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
      initializer: core.Initializer,
      dtype: str = 'float32',
  ):
    """Initialize with hyperparameters.

    Args:
      units: H.
      scope: variable scope.
      initializer: of the kernel; the bias starts at 0.
      dtype: of the matrix products.
    """
    self._units = units
    self._scope = scope
    self._initializer = initializer
    self._dtype = dtype

  def zero_state(self, batch_size: tf.Tensor) -> State:
    """Return a state of zeros, each [B, H]."""
    zeros = tf.zeros([batch_size, self._units])
    return State(c=zeros, h=zeros)

  def output(self, state: State) -> tf.Tensor:
    """Return the last output, float32 [B, H]."""
    return state.h

  def step(
      self, inputs: tf.Tensor, state: State
  ) -> tuple[tf.Tensor, State]:
    """Run one time step.

    Args:
      inputs: float32 [B, E].
      state: each [B, H].

    Returns:
      The output float32 [B, H] and the next state.
    """
    input_kernel, recurrent_kernel, bias = self._variables(inputs.shape[-1])
    gates = (self._matmul(inputs, input_kernel) + bias
             + self._matmul(state.h, recurrent_kernel))
    _, state = _cell(gates, state.c)
    return state.h, state

  def unroll(self, inputs: tf.Tensor, state: State) -> tf.Tensor:
    """Run all time steps, with one matrix product for all inputs.

    Args:
      inputs: float32 [B, T, E].
      state: initial; each [B, H].

    Returns:
      Outputs float32 [B, T, H].
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
    return core.matmul(x, y, self._dtype)

  def _variables(self, width: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    with tf1.variable_scope(f'{self._scope}/basic_lstm_cell',
                            reuse=tf1.AUTO_REUSE):
      kernel = tf1.get_variable(
          'kernel', [width + self._units, 4 * self._units],
          initializer=self._initializer)
      bias = tf1.get_variable(
          'bias', [4 * self._units], initializer=tf1.zeros_initializer())
    # The gradient of a slice is a padded copy of the kernel; of a split not.
    return *tf.split(kernel, [width, self._units]), bias


def _cell(gates: tf.Tensor, c: tf.Tensor) -> tuple[tf.Tensor, State]:
  """Return activations [B, 4H] of the gates [B, 4H], and the next state."""
  i, j, f, o = tf.split(gates, 4, axis=1)
  i, j, f, o = tf.sigmoid(i), tf.tanh(j), tf.sigmoid(f + 1.0), tf.sigmoid(o)
  c = c * f + i * j
  return tf.concat([i, j, f, o], axis=1), State(c=c, h=tf.tanh(c) * o)


class _Trace(NamedTuple):
  """What the backward pass needs of each time step."""

  activations: tf.Tensor  # float32 [T, B, 4H], of the gates
  cells: tf.Tensor        # float32 [T, B, H]
  outputs: tf.Tensor      # float32 [T, B, H]


def _recur(
    matmul: _Matmul, gates: tf.Tensor, c: tf.Tensor, h: tf.Tensor,
    kernel: tf.Tensor,
) -> tf.Tensor:
  """Compute the recurrent half of an LSTM over a whole caption.

  Its gradient is written out: the one that TensorFlow derives transposes the
  kernel and adds up the kernel's gradient at every word; here both are done
  once.

  Args:
    matmul: multiplies [N, M] by [M, K].
    gates: float32 [T, B, 4H], the part that depends on the inputs.
    c: float32 [B, H], initial memory cell.
    h: float32 [B, H], initial output.
    kernel: float32 [H, 4H].

  Returns:
    Outputs float32 [T, B, H].
  """
  units = kernel.shape[0]

  @tf.custom_gradient
  def run(gates, c, h, kernel):
    trace = _forward(matmul, gates, State(c, h), kernel)

    def gradient(outputs_gradient):
      cells_before = tf.concat([c[tf.newaxis], trace.cells[:-1]], axis=0)
      dgates, state = _backward(
          matmul, trace, cells_before, kernel, outputs_gradient)
      outputs_before = tf.concat([h[tf.newaxis], trace.outputs[:-1]], axis=0)
      kernel_gradient = matmul(
          tf.transpose(tf.reshape(outputs_before, [-1, units])),
          tf.reshape(dgates, [-1, 4 * units]))
      return dgates, state.c, state.h, kernel_gradient

    return trace.outputs, gradient

  return run(gates, c, h, kernel)


def _forward(
    matmul: _Matmul, gates: tf.Tensor, state: State, kernel: tf.Tensor
) -> _Trace:
  """Run all time steps; arguments as of `_recur`."""
  length = tf.shape(gates)[0]

  def body(t, state, activations, cells, outputs):
    activation, state = _cell(gates[t] + matmul(state.h, kernel), state.c)
    return (t + 1, state, activations.write(t, activation),
            cells.write(t, state.c), outputs.write(t, state.h))

  arrays = [tf.TensorArray(tf.float32, length) for _ in range(3)]
  _, _, *arrays = tf.while_loop(
      lambda t, *_: t < length, body, (tf.constant(0), state, *arrays))
  return _Trace(*(array.stack() for array in arrays))


def _backward(
    matmul: _Matmul, trace: _Trace, cells_before: tf.Tensor,
    kernel: tf.Tensor, outputs_gradient: tf.Tensor,
) -> tuple[tf.Tensor, State]:
  """Run backpropagation through time.

  Args:
    matmul: see `_recur`.
    trace: of the forward pass.
    cells_before: float32 [T, B, H], memory cell before each step.
    kernel: float32 [H, 4H].
    outputs_gradient: float32 [T, B, H].

  Returns:
    The gradients of the gates, float32 [T, B, 4H], and of the initial state.
  """
  transposed = tf.transpose(kernel)
  length = tf.shape(trace.cells)[0]

  def body(t, gradient, gates_gradient):
    dh = outputs_gradient[t] + gradient.h
    i, j, f, o = tf.split(trace.activations[t], 4, axis=1)
    tanh_c = tf.tanh(trace.cells[t])
    dc = gradient.c + dh * o * (1.0 - tanh_c * tanh_c)
    dgates = tf.concat([
        dc * j * i * (1.0 - i),
        dc * i * (1.0 - j * j),
        dc * cells_before[t] * f * (1.0 - f),
        dh * tanh_c * o * (1.0 - o)], axis=1)
    return (t - 1, State(c=dc * f, h=matmul(dgates, transposed)),
            gates_gradient.write(t, dgates))

  zeros = tf.zeros_like(cells_before[0])
  _, state, gates_gradient = tf.while_loop(
      lambda t, *_: t >= 0, body,
      (length - 1, State(zeros, zeros), tf.TensorArray(tf.float32, length)))
  return gates_gradient.stack(), state
