"""Every layer against numpy, and its variables' names and shapes."""

import numpy as np
import pytest
import tensorflow as tf

from im2txt import layers

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


def variables():
  return {v.op.name: v.shape.as_list() for v in tf1.global_variables()}


def run(fetches, feeds=None, values=None):
  """Runs with some of the variables, by name, at other than first values."""
  assigns = [tf1.assign(v, values[v.op.name]) for v in tf1.global_variables()
             if v.op.name in (values or {})]
  with tf1.Session() as session:
    session.run(tf1.global_variables_initializer())
    session.run(assigns)
    return session.run(fetches, feeds)


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
  lstm = layers.LSTM(H, 'cell', INITIALIZER)
  inputs, c, h = (random.normal(size=shape).astype(np.float32)
                  for shape in ((B, T, E), (B, H), (B, H)))
  unrolled = lstm.unroll(tf.constant(inputs), layers.LSTMState(c, h))
  state = layers.LSTMState(tf.constant(c), tf.constant(h))
  stepped = []
  for t in range(T):
    hidden, state = lstm.step(tf.constant(inputs[:, t]), state)
    stepped.append(hidden)
  assert variables() == {'cell/basic_lstm_cell/kernel': [E + H, 4 * H],
                         'cell/basic_lstm_cell/bias': [4 * H]}
  kernel, _ = tf1.global_variables()
  # A bias of zeros, as it begins, could stand anywhere.
  bias_value = random.normal(size=4 * H).astype(np.float32)
  got = run({'unrolled': unrolled, 'stepped': tf.stack(stepped, axis=1),
             'state': state, 'kernel': kernel},
            values={'cell/basic_lstm_cell/bias': bias_value})
  outputs, c, h = numpy_lstm(inputs, c, h, got['kernel'], bias_value)
  np.testing.assert_allclose(got['unrolled'], outputs, atol=1e-5)
  np.testing.assert_allclose(got['stepped'], outputs, atol=1e-5)
  np.testing.assert_allclose(got['state'].c, c, atol=1e-5)
  np.testing.assert_allclose(got['state'].h, h, atol=1e-5)


def test_lstm_begins_with_a_bias_of_zeros_and_a_state_of_zeros():
  lstm = layers.LSTM(H, 'cell', INITIALIZER)
  state = lstm.zero_state(tf.constant(B))
  lstm.step(tf.zeros([B, E]), state)
  _, bias = tf1.global_variables()
  bias, state = run([bias, state])
  assert not bias.any()
  assert state.c.shape == state.h.shape == (B, H)
  assert not state.c.any() and not state.h.any()


def test_lstm_of_unknown_batch_and_length(random):
  inputs = tf1.placeholder(tf.float32, [None, None, E])
  lstm = layers.LSTM(H, 'cell', INITIALIZER)
  outputs = lstm.unroll(inputs, lstm.zero_state(tf.shape(inputs)[0]))
  assert outputs.shape[-1] == H
  assert run(outputs, {inputs: random.normal(size=(B, T, E))}).shape == (
      B, T, H)


def test_gradient_of_the_unrolled_lstm_is_that_of_the_steps(random):
  lstm = layers.LSTM(H, 'cell', INITIALIZER)
  inputs = tf.constant(random.normal(size=(B, T, E)), tf.float32)
  weights = tf.constant(random.normal(size=(B, T, H)), tf.float32)
  state = lstm.zero_state(tf.constant(B))
  unrolled = lstm.unroll(inputs, state)
  stepped = []
  for t in range(T):
    hidden, state = lstm.step(inputs[:, t], state)
    stepped.append(hidden)
  xs = [inputs, *tf1.global_variables()]
  of_unrolled, of_stepped = run([
      tf.gradients(weights * unrolled, xs),
      tf.gradients(weights * tf.stack(stepped, axis=1), xs)])
  for ours, theirs in zip(of_unrolled, of_stepped, strict=True):
    assert np.abs(theirs).max() > 0
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_dense(random):
  inputs = random.normal(size=(B, E)).astype(np.float32)
  outputs = layers.dense(tf.constant(inputs), H, 'projection', INITIALIZER)
  assert variables() == {'projection/weights': [E, H],
                         'projection/biases': [H]}
  weights, biases = tf1.global_variables()
  bias_value = random.normal(size=H).astype(np.float32)
  got, weights = run([outputs, weights],
                     values={'projection/biases': bias_value})
  np.testing.assert_allclose(got, inputs @ weights + bias_value, atol=1e-5)
  assert not run(biases).any()


def test_dense_without_biases(random):
  inputs = random.normal(size=(B, E)).astype(np.float32)
  outputs = layers.dense(tf.constant(inputs), H, 'projection', INITIALIZER,
                         use_bias=False)
  assert variables() == {'projection/weights': [E, H]}
  got, weights = run([outputs, *tf1.global_variables()])
  np.testing.assert_allclose(got, inputs @ weights, atol=1e-5)


def test_embedding_takes_rows():
  ids = np.array([[4, 0, 12], [1, 1, 7]])
  outputs = layers.embedding(tf.constant(ids), 13, E, 'words', INITIALIZER)
  assert outputs.op.name == 'words/embedding_lookup'
  assert variables() == {'words/map': [13, E]}
  got, table = run([outputs, *tf1.global_variables()])
  np.testing.assert_array_equal(got, table[ids])


def test_a_second_connection_reuses_the_variables():
  for _ in range(2):
    layers.dense(tf.zeros([B, E]), H, 'projection', INITIALIZER)
    layers.embedding(tf.zeros([B], tf.int32), 13, E, 'words', INITIALIZER)
    layers.LSTM(H, 'cell', INITIALIZER).step(
        tf.zeros([B, E]), layers.LSTMState(tf.zeros([B, H]), tf.zeros([B, H])))
    with tf1.variable_scope('conv'):
      layers.batch_norm(tf.zeros([B, 2, 2, 7]), 0.9, 0.1, True, True, False)
  assert len(tf1.global_variables()) == 2 + 1 + 2 + 4


@pytest.mark.parametrize('scale', [False, True])
def test_batch_norm_by_the_moving_statistics(random, scale):
  images = random.normal(3.0, 2.0, size=(B, 5, 9, 7)).astype(np.float32)
  with tf1.variable_scope('conv'):
    outputs = layers.batch_norm(tf.constant(images), 0.9, 0.1, scale,
                                trainable=False, training=False)
  names = ['gamma'] * scale + ['beta', 'moving_mean', 'moving_variance']
  values = {f'conv/BatchNorm/{name}':
            random.uniform(0.5, 2.0, size=7).astype(np.float32)
            for name in names}
  assert variables() == dict.fromkeys(values, [7])
  got = run(outputs, values=values)
  *gamma, beta, mean, variance = values.values()
  expected = (images - mean) / np.sqrt(variance + 0.1) * (
      gamma[0] if scale else 1.0) + beta
  np.testing.assert_allclose(got, expected, atol=1e-5)
  assert not tf1.get_collection(tf1.GraphKeys.UPDATE_OPS)
  assert not tf1.trainable_variables()


@pytest.mark.parametrize('scale', [False, True])
def test_batch_norm_by_the_statistics_of_the_batch(random, scale):
  images = random.normal(3.0, 2.0, size=(B, 5, 9, 7)).astype(np.float32)
  outputs = layers.batch_norm(tf.constant(images), 0.9, 0.1, scale,
                              trainable=True, training=True)
  moving = tf1.global_variables()[-2:]
  with tf1.Session() as session:
    session.run(tf1.global_variables_initializer())
    got, before = session.run([outputs, moving])
    session.run(tf1.get_collection(tf1.GraphKeys.UPDATE_OPS))
    after = session.run(moving)
  mean, variance = images.mean((0, 1, 2)), images.var((0, 1, 2))
  np.testing.assert_allclose(
      got, (images - mean) / np.sqrt(variance + 0.1), atol=1e-5)
  np.testing.assert_array_equal(before, [np.zeros(7), np.ones(7)])
  unbiased = images.var((0, 1, 2), ddof=1)
  np.testing.assert_allclose(
      after, [0.1 * mean, 0.9 + 0.1 * unbiased], atol=1e-5)
  assert [v.op.name for v in tf1.trainable_variables()] == (
      ['BatchNorm/gamma'] * scale + ['BatchNorm/beta'])


def test_batch_norm_begins_as_no_change_but_for_epsilon(random):
  images = random.normal(size=(B, 5, 9, 7)).astype(np.float32)
  outputs = layers.batch_norm(tf.constant(images), 0.9, 3.0, True,
                              trainable=True, training=False)
  np.testing.assert_allclose(run(outputs), images / 2.0, atol=1e-5)
