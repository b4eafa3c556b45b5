"""What the decoder reads, on one that only counts."""

import fresh_session
import numpy as np
import pytest
import tensorflow as tf

from im2txt import configuration
from im2txt.decoders.show_and_tell import ShowAndTell
from im2txt.encoders import Encoding
from im2txt.models import scheduled_sampling

tf1 = tf.compat.v1

B, T, V, C = 5, 7, 13, 3


@pytest.fixture(autouse=True)
def graph():
  with tf.Graph().as_default():
    tf1.set_random_seed(1)
    yield


class Counting:
  """Its hidden layer is the word it read; after word w it says w + 1."""

  def initial_state(self, memory):
    return memory

  def step(self, memory, words, state):
    del memory
    return tf.cast(words, tf.float32)[:, tf.newaxis], state

  def logits(self, hidden):
    return 1e3 * tf.one_hot((tf.cast(hidden[:, 0], tf.int32) + 1) % V, V)


def words_read(input_seqs, rate):
  hidden = scheduled_sampling.unroll(
      Counting(), tf.zeros([len(input_seqs), 1]), tf.constant(input_seqs),
      tf.constant(rate))
  with fresh_session.make() as session:
    return session.run(hidden)[:, :, 0].astype(int)


def captions(batch_size, length):
  return np.random.default_rng(1).integers(
      0, V, (batch_size, length)).astype(np.int32)


def test_at_rate_1_all_words_but_the_first_are_the_decoders_own():
  given = captions(B, T)
  np.testing.assert_array_equal(
      words_read(given, 1.0), (given[:, :1] + np.arange(T)) % V)


def test_each_word_is_by_a_coin_of_its_own():
  read = words_read(np.zeros([400, T], np.int32), 0.25)
  own = read[:, 1:] > 0  # Where the decoder says 1 after 0, 2 after 1, ...
  assert not read[:, 0].any()
  assert 0.22 < own.mean() < 0.28
  assert len({tuple(row) for row in own}) > 30


def test_at_rate_0_it_is_the_plain_unrolling():
  decoder = ShowAndTell(configuration.ModelConfig(
      vocab_size=V, embedding_size=5, num_lstm_units=11,
      initializer_scale=0.5), training=False)
  memory = decoder.prepare(Encoding(tf.random.normal([B, C], seed=1), None))
  given = tf.constant(captions(B, T))
  weights = tf.random.normal([B, T, 11], seed=2)
  hidden = (scheduled_sampling.unroll(
      decoder, memory, given, tf.constant(0.0)),
            decoder.unroll(memory, given, tf.ones_like(given)))
  decoder.logits(hidden[1][:, 0])
  variables = [v for v in tf1.trainable_variables()
               if not v.op.name.startswith('logits')]
  gradients = [[tf.convert_to_tensor(g) for g in tf.gradients(
      weights * x, variables)] for x in hidden]
  with fresh_session.make() as session:
    session.run(tf1.global_variables_initializer())
    hidden, (ours, plain) = session.run([hidden, gradients])
  np.testing.assert_allclose(*hidden, atol=1e-5)
  assert len(plain) == 4
  for one, other in zip(ours, plain, strict=True):
    assert np.abs(other).max() > 0
    np.testing.assert_allclose(one, other, atol=1e-4)
