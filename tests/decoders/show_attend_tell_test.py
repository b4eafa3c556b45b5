"""Show, Attend and Tell against numpy: attention and its regularisation.

Shapes: B images, T padded caption length, V vocabulary, E embedding, H
hidden, A width of attention, L regions, C channels.
"""

import numpy as np
import pytest
import tensorflow as tf
from fresh_session import run, variables

from im2txt.decoders import ShowAttendTellConfig
from im2txt.encoders import Encoding
from im2txt.models import captioner

tf1 = tf.compat.v1

B, T, V, E, H, A, L, C = 3, 7, 29, 11, 13, 5, 8, 17
LENGTHS = np.array([7, 4, 1])
SCOPE = 'show_attend_tell'


@pytest.fixture(autouse=True)
def graph():
  with tf.Graph().as_default():
    tf1.set_random_seed(1)
    yield


@pytest.fixture
def random():
  return np.random.default_rng(1)


@pytest.fixture
def regions(random):
  return random.normal(size=(B, L, C)).astype(np.float32)


def make(training=False, **fields):
  return captioner.make_decoder(ShowAttendTellConfig(
      decoder='show_attend_tell', vocab_size=V, embedding_size=E,
      num_lstm_units=H, attention_size=A, initializer_scale=0.5,
      **{'decoder_dropout_keep_prob': 1.0} | fields), training)


def prepare(decoder, regions):
  return decoder.prepare(Encoding(tf.zeros([B, C]), tf.constant(regions)))


def anything(random):
  """A value for every variable."""
  return {name: random.normal(size=shape).astype(np.float32)
          for name, shape in variables().items()}


def numpy_attention(regions, hidden, values):
  """Bahdanau et al. 2015, appendix A.1.2: projected regions and shares."""
  projected = np.maximum(
      regions @ values['image_embedding/weights']
      + values['image_embedding/biases'], 0.0)  # [B, L, E]
  query = (hidden @ values['attention/query/weights']
           + values['attention/query/biases'])
  compared = np.tanh(
      projected @ values['attention/keys/weights'] + query[:, np.newaxis])
  scores = (compared @ values['attention/score/weights'])[..., 0]
  shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
  return projected, shares


@pytest.mark.parametrize('cell', ['gru', 'lstm'])
def test_variables(cell, regions):
  decoder = make(cell=cell)
  memory = prepare(decoder, regions)
  hidden, _ = decoder.step(
      memory, tf.zeros([B], tf.int32), decoder.initial_state(memory))
  decoder.logits(hidden)
  width = 2 * E  # The context, projected, and the word.
  cells = {
      'gru': {f'{SCOPE}/gru_cell/kernel': [width, 3 * H],
              f'{SCOPE}/gru_cell/recurrent_kernel': [H, 3 * H],
              f'{SCOPE}/gru_cell/bias': [2, 3 * H]},
      'lstm': {f'{SCOPE}/basic_lstm_cell/kernel': [width + H, 4 * H],
               f'{SCOPE}/basic_lstm_cell/bias': [4 * H]}}
  assert variables() == {
      'image_embedding/weights': [C, E], 'image_embedding/biases': [E],
      'attention/keys/weights': [E, A],
      'attention/query/weights': [H, A], 'attention/query/biases': [A],
      'attention/score/weights': [A, 1],
      'seq_embedding/map': [V, E],
      **cells[cell],
      'output/weights': [H, H], 'output/biases': [H],
      'logits/weights': [H, V], 'logits/biases': [V]}


@pytest.mark.parametrize('cell', ['gru', 'lstm'])
def test_attention(cell, random, regions):
  decoder = make(cell=cell)
  memory = prepare(decoder, regions)
  state = decoder.initial_state(memory)
  before, alignments = [], []
  for words in random.integers(0, V, (T, B)):
    before.append(state.cell.h if cell == 'lstm' else state.cell)
    _, state = decoder.step(memory, tf.constant(words), state)
    alignments.append(state.alignment)
  values = anything(random)
  before, alignments = run(
      [tf.stack(before), tf.stack(alignments)], values=values)
  for hidden, alignment in zip(before, alignments, strict=True):
    _, shares = numpy_attention(regions, hidden, values)
    np.testing.assert_allclose(alignment, shares, atol=1e-5)
    np.testing.assert_allclose(alignment.sum(1), 1.0, rtol=1e-5)
  assert np.ptp(alignments, axis=0).max() > 0.1


def test_the_cell_reads_the_mean_weighted_by_attention(random, regions):
  decoder = make()
  memory = prepare(decoder, regions)
  state = decoder.initial_state(memory)
  hidden, after = decoder.step(memory, tf.constant([3, 1, 4]), state)
  values = anything(random)
  hidden, alignment = run([hidden, after.alignment], values=values)
  projected, shares = numpy_attention(regions, np.zeros([B, H]), values)
  np.testing.assert_allclose(alignment, shares, atol=1e-5)
  context = (shares[..., np.newaxis] * projected).sum(1)
  inputs = np.concatenate(
      [context, values['seq_embedding/map'][[3, 1, 4]]], axis=1)
  given, recurrent = (
      values[f'{SCOPE}/gru_cell/bias'][0]
      + inputs @ values[f'{SCOPE}/gru_cell/kernel'],
      values[f'{SCOPE}/gru_cell/bias'][1])  # The state is zeros.
  z, r = np.split(
      1 / (1 + np.exp(-given[:, :2 * H] - recurrent[:2 * H])), 2, axis=1)
  expected = (1 - z) * np.tanh(given[:, 2 * H:] + r * recurrent[2 * H:])
  np.testing.assert_allclose(hidden, expected, atol=1e-4)


def test_words_pass_a_layer_of_their_own_to_the_vocabulary(random, regions):
  decoder = make()
  hidden = random.normal(size=(B, H)).astype(np.float32)
  logits = decoder.logits(tf.constant(hidden))
  values = anything(random)
  expected = hidden @ values['output/weights'] + values['output/biases']
  expected = expected @ values['logits/weights'] + values['logits/biases']
  np.testing.assert_allclose(
      run(logits, values=values), expected, atol=1e-4)


def regularization(words, regions, mask, **fields):
  """What unrolling adds to the losses, and where the words looked."""
  decoder = make(**fields)
  memory = prepare(decoder, regions)
  decoder.unroll(memory, tf.constant(words), tf.constant(mask))
  losses = tf1.get_collection(tf1.GraphKeys.REGULARIZATION_LOSSES)
  state = decoder.initial_state(memory)
  alignments = []
  for t in range(words.shape[1]):
    _, state = decoder.step(memory, tf.constant(words[:, t]), state)
    alignments.append(state.alignment)
  return losses, tf.stack(alignments, axis=1)  # [B, T, L]


@pytest.mark.parametrize('cell', ['gru', 'lstm'])
def test_doubly_stochastic_regularisation(cell, random, regions):
  words = random.integers(0, V, (B, T))
  mask = (np.arange(T) < LENGTHS[:, np.newaxis]).astype(np.int32)
  [loss], alignments = regularization(
      words, regions, mask, training=True, cell=cell,
      attention_regularization=0.7)
  loss, alignments = run([loss, alignments], values=anything(random))
  # Xu et al. 2015, equation 14, of each caption's own words.
  looked = (mask[..., np.newaxis] * alignments).sum(1)  # [B, L]
  expected = 0.7 * ((1 - looked) ** 2).sum() / LENGTHS.sum()
  np.testing.assert_allclose(loss, expected, rtol=1e-4)
  everywhere = 0.7 * ((1 - alignments.sum(1)) ** 2).sum() / LENGTHS.sum()
  assert abs(everywhere - expected) > 0.01


def test_more_padding_changes_no_regularisation(random, regions):
  words = random.integers(0, V, (B, T))
  mask = (np.arange(T) < LENGTHS[:, np.newaxis]).astype(np.int32)
  for padding in (0, 4):
    pad = [(0, 0), (0, padding)]
    regularization(np.pad(words, pad), regions, np.pad(mask, pad),
                   training=True, attention_regularization=0.7)
  loss, padded = run(
      tf1.get_collection(tf1.GraphKeys.REGULARIZATION_LOSSES))
  assert loss > 0.0
  np.testing.assert_allclose(padded, loss, rtol=1e-5)


def test_regularisation_of_nothing_but_padding_is_0(regions):
  [loss], _ = regularization(
      np.zeros([B, T], int), regions, np.zeros([B, T], int), training=True,
      attention_regularization=0.7)
  assert run(loss) == 0.0


@pytest.mark.parametrize('training, weight', [(False, 0.7), (True, 0.0)])
def test_regularisation_is_there_in_training_only_and_if_wanted(
    training, weight, regions):
  losses, _ = regularization(
      np.zeros([B, T], int), regions, np.ones([B, T], int),
      training=training, attention_regularization=weight)
  assert losses == []


def test_a_negative_regularisation_is_refused():
  with pytest.raises(ValueError, match='^attention_regularization is -1.0; '):
    make(attention_regularization=-1.0)


def test_an_unknown_cell_is_refused():
  with pytest.raises(
      ValueError, match="^cell is 'rnn'; it must be one of 'gru', 'lstm'$"):
    make(cell='rnn')
