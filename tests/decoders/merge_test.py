"""Merge: the parameters of the published model, and training on all prefixes.

Shapes: B images, T padded caption length, V vocabulary, E embedding, H
hidden, C features.
"""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from fresh_session import run, variables

from im2txt import configuration
from im2txt.encoders import Encoding
from im2txt.models import captioner, losses

tf1 = tf.compat.v1

B, T, V, E, H, C = 3, 7, 29, 11, 13, 17
LENGTHS = np.array([7, 4, 1])
CONFIG = configuration.ModelConfig(
    decoder='merge', vocab_size=V, embedding_size=E, num_lstm_units=H,
    initializer_scale=0.5)


@pytest.fixture(autouse=True)
def graph():
  with tf.Graph().as_default():
    tf1.set_random_seed(1)
    yield


@pytest.fixture
def random():
  return np.random.default_rng(1)


def make(config, features, training=True):
  """The decoder and its memory of features [B, C]."""
  decoder = captioner.make_decoder(config, training)
  return decoder, decoder.prepare(Encoding(features, None))


def test_parameters_of_the_published_model():
  decoder, memory = make(
      configuration.ModelConfig(
          decoder='merge', vocab_size=1652, embedding_size=200,
          num_lstm_units=256),
      tf1.placeholder(tf.float32, [None, 2048]))
  words = tf1.placeholder(tf.int32, [None, None])
  hidden = decoder.unroll(memory, words, tf.ones_like(words))
  decoder.logits(tf.reshape(hidden, [-1, 256]))
  assert variables() == {
      # 2048 * 256 + 256 = 524,544.
      'image_embedding/weights': [2048, 256], 'image_embedding/biases': [256],
      # 1652 * 200 = 330,400.
      'seq_embedding/map': [1652, 200],
      # (200 + 256) * 4 * 256 + 4 * 256 = 467,968.
      'lstm/basic_lstm_cell/kernel': [456, 1024],
      'lstm/basic_lstm_cell/bias': [1024],
      # 256 * 256 + 256 = 65,792.
      'merge/weights': [256, 256], 'merge/biases': [256],
      # 256 * 1652 + 1652 = 424,564.
      'logits/weights': [256, 1652], 'logits/biases': [1652]}
  sizes = {v.op.name: v.shape.num_elements()
           for v in tf1.trainable_variables()}
  assert sizes['seq_embedding/map'] == 330_400
  # 524,544 + 330,400 + 467,968 + 65,792 + 424,564.
  assert sum(sizes.values()) == 1_813_268


def test_training_on_all_prefixes_equals_one_unrolled_pass(random):
  features = tf.constant(random.normal(size=(B, C)), tf.float32)
  words = random.integers(0, V, (B, T + 1))
  mask = (np.arange(T) < LENGTHS[:, np.newaxis]).astype(np.int32)
  inputs, targets = words[:, :-1] * mask, words[:, 1:] * mask
  decoder, memory = make(
      dataclasses.replace(CONFIG, decoder_dropout_keep_prob=1.0), features)
  loss = losses.sequence_loss(
      decoder.unroll(memory, tf.constant(inputs), tf.constant(mask)),
      tf.constant(targets), tf.constant(mask), decoder.logits)
  # As the tutorial trains: a row for each prefix, with its own image.
  of_prefixes = []
  for length in range(1, T + 1):
    rows = np.flatnonzero(length <= LENGTHS)
    of_rows = tf.gather(memory, rows)
    state = decoder.initial_state(of_rows)
    for t in range(length):
      hidden, state = decoder.step(
          of_rows, tf.constant(inputs[rows, t]), state)
    of_prefixes.append(tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=targets[rows, length - 1], logits=decoder.logits(hidden)))
  of_prefixes = tf.concat(of_prefixes, axis=0)
  assert of_prefixes.shape == [LENGTHS.sum()]
  sums = loss.mean * LENGTHS.sum(), tf.reduce_sum(of_prefixes)
  trained = tf1.trainable_variables()
  assert len(trained) == 9
  (unrolled, prefixes), gradients = run([sums, [
      [tf.convert_to_tensor(g) for g in tf.gradients(x, trained)]
      for x in sums]])
  np.testing.assert_allclose(unrolled, prefixes, rtol=1e-5)
  for variable, of_unrolled, of_prefix in zip(
      trained, *gradients, strict=True):
    assert np.abs(of_prefix).max() > 1e-3, variable.op.name
    np.testing.assert_allclose(
        of_unrolled, of_prefix, atol=1e-4, err_msg=variable.op.name)


def test_the_image_reaches_what_is_said_but_not_the_lstm(random):
  decoder, memory = make(
      CONFIG, tf.constant(random.normal(size=(B, C)), tf.float32),
      training=False)
  state = decoder.initial_state(memory)
  for word in (1, 2, 3):
    hidden, state = decoder.step(memory, tf.fill([B], word), state)
  hidden, state = run([hidden, state])
  for remembered in state:
    assert remembered.any()
    np.testing.assert_allclose(
        remembered, remembered[:1].repeat(B, 0), atol=1e-6)
  assert np.ptp(hidden, axis=0).max() > 0.01


def test_layers_against_numpy(random):
  features = random.normal(size=(B, C)).astype(np.float32)
  decoder, memory = make(CONFIG, tf.constant(features), training=False)
  hidden, state = decoder.step(
      memory, tf.constant([3, 1, 4]), decoder.initial_state(memory))
  logits = decoder.logits(hidden)
  values = {name: random.normal(size=shape).astype(np.float32)
            for name, shape in variables().items()}
  said, output = run([logits, state.h], values=values)

  def dense(x, scope):
    return x @ values[f'{scope}/weights'] + values[f'{scope}/biases']

  seen = np.maximum(dense(features, 'image_embedding'), 0.0)
  merged = np.maximum(dense(seen + output, 'merge'), 0.0)
  np.testing.assert_allclose(said, dense(merged, 'logits'), atol=1e-3)
