"""CNN-LSTM: the image's batch norm, and layers of LSTMs by hand.

Shapes: B images, T padded caption length, V vocabulary, E embedding, H
hidden, C features.
"""

import fresh_session
import numpy as np
import pytest
import tensorflow as tf
from fresh_session import run, variables

from im2txt.decoders import CnnLstmConfig
from im2txt.encoders import Encoding
from im2txt.layers import lstm
from im2txt.models import captioner

tf1 = tf.compat.v1

B, T, V, E, H, C = 5, 7, 29, 11, 13, 17
NORM = 'image_embedding/BatchNorm'


@pytest.fixture(autouse=True)
def graph():
  with tf.Graph().as_default():
    tf1.set_random_seed(1)
    yield


@pytest.fixture
def random():
  return np.random.default_rng(1)


@pytest.fixture
def features(random):
  return random.normal(2.0, 3.0, (B, C)).astype(np.float32)


def make(num_lstm_layers=1, training=False, keep_prob=1.0):
  return captioner.make_decoder(CnnLstmConfig(
      decoder='cnn_lstm', vocab_size=V, embedding_size=E, num_lstm_units=H,
      num_lstm_layers=num_lstm_layers, initializer_scale=0.5,
      decoder_dropout_keep_prob=keep_prob), training)


def prepare(decoder, features):
  return decoder.prepare(Encoding(tf.constant(features), None))


def updates():
  return tf1.get_collection(tf1.GraphKeys.UPDATE_OPS)


def anything(random):
  """A value for every variable; variances are above 0."""
  return {name: (np.abs(values) + 0.5 if 'variance' in name else values)
          for name, shape in variables().items()
          for values in [random.normal(size=shape).astype(np.float32)]}


def test_variables():
  decoder = make(num_lstm_layers=3)
  memory = prepare(decoder, np.zeros([B, C], np.float32))
  hidden, _ = decoder.step(
      memory, tf.zeros([B], tf.int32), decoder.initial_state(memory))
  decoder.logits(hidden)
  # No bias of the image's: batch norm has one.
  assert variables() == {
      'image_embedding/weights': [C, E],
      **{f'{NORM}/{name}': [E] for name in (
          'gamma', 'beta', 'moving_mean', 'moving_variance')},
      'seq_embedding/map': [V, E],
      'lstm/layer_0/basic_lstm_cell/kernel': [E + H, 4 * H],
      'lstm/layer_0/basic_lstm_cell/bias': [4 * H],
      'lstm/layer_1/basic_lstm_cell/kernel': [2 * H, 4 * H],
      'lstm/layer_1/basic_lstm_cell/bias': [4 * H],
      'lstm/layer_2/basic_lstm_cell/kernel': [2 * H, 4 * H],
      'lstm/layer_2/basic_lstm_cell/bias': [4 * H],
      'logits/weights': [H, V], 'logits/biases': [V]}
  assert {v.op.name for v in tf1.global_variables()} - {
      v.op.name for v in tf1.trainable_variables()} == {
          f'{NORM}/moving_mean', f'{NORM}/moving_variance'}


def test_training_normalises_by_the_batch_and_remembers_it(
    random, features):
  memory = prepare(make(training=True), features)
  values = anything(random)
  assert len(updates()) == 2
  moving = tf1.global_variables(f'{NORM}/moving')
  with fresh_session.make() as session:
    session.run([tf1.assign(v, values[v.op.name])
                 for v in tf1.global_variables()])
    normalized = session.run(memory)
    session.run(updates())
    after = {v.op.name: session.run(v) for v in moving}
  embedded = features @ values['image_embedding/weights']
  np.testing.assert_allclose(
      normalized,
      (embedded - embedded.mean(0)) / np.sqrt(embedded.var(0) + 1e-5)
      * values[f'{NORM}/gamma'] + values[f'{NORM}/beta'], atol=1e-3)
  for name, of_batch in (('moving_mean', embedded.mean(0)),
                         ('moving_variance', embedded.var(0, ddof=1))):
    name = f'{NORM}/{name}'
    # PyTorch's momentum of .01.
    np.testing.assert_allclose(
        after[name], 0.99 * values[name] + 0.01 * of_batch, rtol=1e-4,
        atol=1e-4)


def test_captions_are_normalised_by_what_training_remembered(
    random, features):
  memory = prepare(make(training=False), features)
  assert updates() == []
  values = anything(random)
  normalized, alone = run(
      [memory, prepare(make(), features[:1])], values=values)
  embedded = features @ values['image_embedding/weights']
  np.testing.assert_allclose(
      normalized,
      (embedded - values[f'{NORM}/moving_mean'])
      / np.sqrt(values[f'{NORM}/moving_variance'] + 1e-5)
      * values[f'{NORM}/gamma'] + values[f'{NORM}/beta'],
      rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(alone, normalized[:1], rtol=1e-5)


@pytest.mark.parametrize('num_layers', [1, 2, 3])
def test_layers_are_lstms_on_top_of_each_other(num_layers, random, features):
  words = random.integers(0, V, (B, T))
  decoder = make(num_layers)
  memory = prepare(decoder, features)
  unrolled = decoder.unroll(
      memory, tf.constant(words), tf.ones([B, T], tf.int32))
  # By hand: all that the lowest reads, then layer by layer.
  table, = [v for v in tf1.global_variables()
            if v.op.name == 'seq_embedding/map']
  read = [memory, *(tf.gather(table, words[:, t]) for t in range(T))]
  for i in range(num_layers):
    cell = lstm.LSTM(H, f'lstm/layer_{i}', tf1.zeros_initializer())
    state, said = cell.zero_state(B), []
    for x in read:
      output, state = cell.step(x, state)
      said.append(output)
    read = said
  assert len(tf1.global_variables()) == 6 + 2 * num_layers  # None is new.
  unrolled, by_hand = run(
      [unrolled, tf.stack(read[1:], axis=1)], values=anything(random))
  np.testing.assert_allclose(unrolled, by_hand, atol=1e-4)
  assert np.ptp(unrolled, axis=1).max() > 0.1
