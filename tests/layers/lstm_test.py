"""The LSTM against numpy, and its gradient against the one derived."""

import numpy as np
import pytest
import tensorflow as tf
from fresh_session import run, variables

from im2txt.layers import lstm

tf1 = tf.compat.v1

B, T, E, H = 3, 7, 5, 11
INITIALIZER = tf1.random_uniform_initializer(-0.5, 0.5, seed=1)


@pytest.fixture(autouse=True)
def graph():
  with tf.Graph().as_default() as graph:
    yield graph


@pytest.fixture
def random():
  return np.random.default_rng(1)


def sigmoid(x):
  return 1.0 / (1.0 + np.exp(-x))


def numpy_lstm(inputs, c, h, kernel, bias):
  """Zaremba et al. 2014, equations of section 2.1, one word at a time."""
  outputs = []
  for x in inputs.transpose(1, 0, 2):
    gates = np.concatenate([x, h], axis=1) @ kernel + bias
    i, j, f, o = np.split(gates, 4, axis=1)
    c = c * sigmoid(f + 1.0) + sigmoid(i) * np.tanh(j)
    h = np.tanh(c) * sigmoid(o)
    outputs.append(h)
  return np.stack(outputs, axis=1), c, h


def test_lstm_is_the_one_of_the_paper(random):
  cell = lstm.LSTM(H, 'lstm', INITIALIZER)
  inputs, c, h = (random.normal(size=shape).astype(np.float32)
                  for shape in ((B, T, E), (B, H), (B, H)))
  unrolled = cell.unroll(tf.constant(inputs), lstm.State(c, h))
  state = lstm.State(tf.constant(c), tf.constant(h))
  stepped = []
  for t in range(T):
    hidden, state = cell.step(tf.constant(inputs[:, t]), state)
    stepped.append(hidden)
  assert variables() == {'lstm/basic_lstm_cell/kernel': [E + H, 4 * H],
                         'lstm/basic_lstm_cell/bias': [4 * H]}
  kernel, _ = tf1.global_variables()
  # A bias of zeros, as it begins, could stand anywhere.
  bias_value = random.normal(size=4 * H).astype(np.float32)
  got = run({'unrolled': unrolled, 'stepped': tf.stack(stepped, axis=1),
             'state': state, 'kernel': kernel},
            values={'lstm/basic_lstm_cell/bias': bias_value})
  outputs, c, h = numpy_lstm(inputs, c, h, got['kernel'], bias_value)
  np.testing.assert_allclose(got['unrolled'], outputs, atol=1e-5)
  np.testing.assert_allclose(got['stepped'], outputs, atol=1e-5)
  np.testing.assert_allclose(got['state'].c, c, atol=1e-5)
  np.testing.assert_allclose(got['state'].h, h, atol=1e-5)


def test_lstm_begins_with_a_bias_of_zeros_and_a_state_of_zeros():
  cell = lstm.LSTM(H, 'lstm', INITIALIZER)
  state = cell.zero_state(tf.constant(B))
  cell.step(tf.zeros([B, E]), state)
  _, bias = tf1.global_variables()
  bias, state = run([bias, state])
  assert not bias.any()
  assert state.c.shape == state.h.shape == (B, H)
  assert not state.c.any() and not state.h.any()


def test_lstm_of_unknown_batch_and_length(random):
  inputs = tf1.placeholder(tf.float32, [None, None, E])
  cell = lstm.LSTM(H, 'lstm', INITIALIZER)
  outputs = cell.unroll(inputs, cell.zero_state(tf.shape(inputs)[0]))
  assert outputs.shape[-1] == H
  assert run(outputs, {inputs: random.normal(size=(B, T, E))}).shape == (
      B, T, H)


def test_gradient_of_the_unrolled_lstm_is_that_of_the_steps(random):
  cell = lstm.LSTM(H, 'lstm', INITIALIZER)
  inputs = tf.constant(random.normal(size=(B, T, E)), tf.float32)
  weights = tf.constant(random.normal(size=(B, T, H)), tf.float32)
  before = lstm.State(*(tf.constant(random.normal(size=(B, H)), tf.float32)
                        for _ in range(2)))
  unrolled = cell.unroll(inputs, before)
  state = before
  stepped = []
  for t in range(T):
    hidden, state = cell.step(inputs[:, t], state)
    stepped.append(hidden)
  xs = [inputs, *before, *tf1.global_variables()]
  of_unrolled, of_stepped = run([
      tf.gradients(weights * unrolled, xs),
      tf.gradients(weights * tf.stack(stepped, axis=1), xs)])
  for ours, theirs in zip(of_unrolled, of_stepped, strict=True):
    assert np.abs(theirs).max() > 0
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
