"""Every layer against numpy, and its variables' names and shapes."""

import fresh_session
import numpy as np
import pytest
import tensorflow as tf
from fresh_session import run, variables

from im2txt.layers import core, normalization

tf1 = tf.compat.v1

B, E, H = 3, 5, 11
INITIALIZER = tf1.random_uniform_initializer(-0.5, 0.5, seed=1)


@pytest.fixture(autouse=True)
def graph():
  with tf.Graph().as_default() as graph:
    yield graph


@pytest.fixture
def random():
  return np.random.default_rng(1)


def test_dense(random):
  inputs = random.normal(size=(B, E)).astype(np.float32)
  outputs = core.dense(tf.constant(inputs), H, 'projection', INITIALIZER)
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
  outputs = core.dense(tf.constant(inputs), H, 'projection', INITIALIZER,
                         use_bias=False)
  assert variables() == {'projection/weights': [E, H]}
  got, weights = run([outputs, *tf1.global_variables()])
  np.testing.assert_allclose(got, inputs @ weights, atol=1e-5)


def test_embedding_takes_rows():
  ids = np.array([[4, 0, 12], [1, 1, 7]])
  outputs = core.embedding(tf.constant(ids), 13, E, 'words', INITIALIZER)
  assert outputs.op.name == 'words/embedding_lookup'
  assert variables() == {'words/map': [13, E]}
  got, table = run([outputs, *tf1.global_variables()])
  np.testing.assert_array_equal(got, table[ids])


def test_a_second_connection_reuses_the_variables():
  for _ in range(2):
    core.dense(tf.zeros([B, E]), H, 'projection', INITIALIZER)
    core.embedding(tf.zeros([B], tf.int32), 13, E, 'words', INITIALIZER)
    with tf1.variable_scope('conv'):
      normalization.batch_norm(
          tf.zeros([B, 2, 2, 7]), 0.9, 0.1, True, True, False)
  assert len(tf1.global_variables()) == 2 + 1 + 4


@pytest.mark.parametrize('scale', [False, True])
def test_batch_norm_by_the_moving_statistics(random, scale):
  images = random.normal(3.0, 2.0, size=(B, 5, 9, 7)).astype(np.float32)
  with tf1.variable_scope('conv'):
    outputs = normalization.batch_norm(
        tf.constant(images), 0.9, 0.1, scale, trainable=False, training=False)
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
  outputs = normalization.batch_norm(
      tf.constant(images), 0.9, 0.1, scale, trainable=True, training=True)
  moving = tf1.global_variables()[-2:]
  with fresh_session.make() as session:
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
  outputs = normalization.batch_norm(
      tf.constant(images), 0.9, 3.0, True, trainable=True, training=False)
  np.testing.assert_allclose(run(outputs), images / 2.0, atol=1e-5)
