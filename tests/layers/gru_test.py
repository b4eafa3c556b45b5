"""The GRU against Keras's, with the same weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from fresh_session import run, variables

from im2txt.layers import gru

tf1 = tf.compat.v1

B, T, E, H = 3, 7, 5, 11
INITIALIZER = tf1.random_uniform_initializer(-0.5, 0.5, seed=1)
SHAPES = {'gru/gru_cell/kernel': [E, 3 * H],
          'gru/gru_cell/recurrent_kernel': [H, 3 * H],
          'gru/gru_cell/bias': [2, 3 * H]}


@pytest.fixture
def random():
  return np.random.default_rng(1)


def unroll(cell, inputs, state):
  """Outputs [T, B, H] and the last state."""
  outputs = []
  for t in range(T):
    hidden, state = cell.step(inputs[:, t], state)
    outputs.append(hidden)
  return tf.stack(outputs), state


def test_gru_is_that_of_keras(random):
  inputs, state = (random.normal(size=shape).astype(np.float32)
                   for shape in ((B, T, E), (B, H)))
  # Biases, which begin as zeros, could stand anywhere if they stayed so.
  values = {name: random.normal(size=shape).astype(np.float32)
            for name, shape in SHAPES.items()}
  theirs = keras.layers.GRU(H, reset_after=True, return_sequences=True)
  theirs.build([B, T, E])
  theirs.set_weights(list(values.values()))
  expected = theirs(inputs, initial_state=tf.constant(state)).numpy()
  with tf.Graph().as_default():
    outputs, last = run(unroll(
        gru.GRU(H, 'gru', INITIALIZER), tf.constant(inputs),
        tf.constant(state)), values=values)
    assert variables() == SHAPES
  np.testing.assert_allclose(
      outputs, expected.transpose(1, 0, 2), atol=1e-5)
  np.testing.assert_array_equal(last, outputs[-1])
  assert np.abs(np.diff(outputs, axis=0)).max() > 0.1


def test_gru_begins_with_biases_of_zeros_and_a_state_of_zeros():
  with tf.Graph().as_default():
    cell = gru.GRU(H, 'gru', INITIALIZER)
    zeros = cell.zero_state(tf.constant(B))
    cell.step(tf.zeros([B, E]), zeros)
    kernel, recurrent_kernel, bias, state = run(
        [*tf1.global_variables(), zeros])
  assert not bias.any()
  assert kernel.all() and recurrent_kernel.all()
  assert state.shape == (B, H) and not state.any()


def test_gru_of_an_unknown_batch(random):
  with tf.Graph().as_default():
    inputs = tf1.placeholder(tf.float32, [None, T, E])
    cell = gru.GRU(H, 'gru', INITIALIZER)
    outputs, _ = unroll(cell, inputs, cell.zero_state(tf.shape(inputs)[0]))
    assert outputs.shape.as_list() == [T, None, H]
    for n in (1, B):
      assert run(outputs, {inputs: random.normal(size=(n, T, E))}).shape == (
          T, n, H)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_products_of_less_precision(random, dtype):
  inputs = random.normal(size=(B, T, E)).astype(np.float32)
  found = []
  for of_products in ('float32', dtype):
    with tf.Graph().as_default():
      tf1.set_random_seed(1)
      cell = gru.GRU(H, 'gru', INITIALIZER, of_products)
      found.append(run(unroll(
          cell, tf.constant(inputs), cell.zero_state(tf.constant(B)))[0]))
  assert found[1].dtype == np.float32
  np.testing.assert_allclose(found[1], found[0], atol=0.02)
  assert (found[1] != found[0]).any()
