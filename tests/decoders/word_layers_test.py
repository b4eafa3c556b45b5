"""Words in and out: apart, and tied."""

import numpy as np
import pytest
import tensorflow as tf
from fresh_session import run, variables

from im2txt import configuration
from im2txt.decoders import word_layers

tf1 = tf.compat.v1

N, T, V, E = 3, 4, 13, 7


@pytest.fixture(autouse=True)
def graph():
  with tf.Graph().as_default() as graph:
    yield graph


def make(**fields):
  return word_layers.WordLayers(configuration.ModelConfig(
      vocab_size=V, embedding_size=E, **fields))


def test_apart_there_are_two_matrices():
  words = make()
  assert words.embed(tf.zeros([N, T], tf.int32)).shape == [N, T, E]
  assert words.logits(tf.zeros([N, 5])).shape == [N, V]
  assert variables() == {
      'seq_embedding/map': [V, E], 'logits/weights': [5, V],
      'logits/biases': [V]}


@pytest.mark.parametrize('logits_first', [False, True])
def test_tied_there_is_one(logits_first):
  random = np.random.default_rng(1)
  hidden = random.normal(size=(N, E)).astype(np.float32)
  table = random.normal(size=(V, E)).astype(np.float32)
  biases = random.normal(size=V).astype(np.float32)
  ids = np.array([[5, 12, 0, 1]])
  words = make(tie_embeddings=True)
  parts = [lambda: words.embed(tf.constant(ids)),
           lambda: words.logits(tf.constant(hidden))]
  if logits_first:
    logits, embedded = parts[1](), parts[0]()
  else:
    embedded, logits = parts[0](), parts[1]()
  assert variables() == {'seq_embedding/map': [V, E], 'logits/biases': [V]}
  embedded, logits = run([embedded, logits], values={
      'seq_embedding/map': table, 'logits/biases': biases})
  np.testing.assert_array_equal(embedded, table[ids])
  np.testing.assert_allclose(logits, hidden @ table.T + biases, atol=1e-5)


def test_both_ends_of_a_tied_embedding_are_trained():
  words = make(tie_embeddings=True)
  loss = tf.reduce_sum(words.logits(words.embed(tf.constant([2, 2, 9]))))
  table, _ = tf1.trainable_variables()
  gradient = run(tf.convert_to_tensor(tf.gradients(loss, table)[0]))
  # Every row is compared with; those that were read have more.
  assert (np.abs(gradient).sum(axis=1) > 0).all()
  others = np.delete(gradient, [2, 9], axis=0)
  np.testing.assert_allclose(others, np.tile(others[0], (11, 1)), rtol=1e-5)
  assert not np.allclose(gradient[2], others[0])
  assert not np.allclose(gradient[2], gradient[9])


def test_tied_widths_must_be_equal():
  with pytest.raises(ValueError, match=(
      'embedding_size is 7; with tie_embeddings it must be 5')):
    make(tie_embeddings=True).logits(tf.zeros([N, 5]))
