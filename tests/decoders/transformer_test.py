"""The Transformer against Keras's layers, and what it may look at.

Shapes: B images, T words, V vocabulary, E width, L regions, C channels, M
most words that can be read.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from fresh_session import run, variables

from im2txt.decoders import TransformerConfig
from im2txt.encoders import Encoding
from im2txt.inputs import graph_errors
from im2txt.models import captioner
from im2txt.search import beam_search, sampling
from im2txt.search.rules import Rules

tf1 = tf.compat.v1

B, T, V, E, L, C, M = 3, 5, 29, 15, 8, 17, 6
HEADS, HIDDEN = 3, 19


class Vocab:
  start_id = 3
  end_id = 5


@pytest.fixture
def random():
  return np.random.default_rng(1)


@pytest.fixture
def regions(random):
  return random.normal(size=(B, L, C)).astype(np.float32)


@pytest.fixture
def words(random):
  return random.integers(0, V, (B, T))


@pytest.fixture
def graph():
  with tf.Graph().as_default():
    tf1.set_random_seed(1)
    yield


def make(regions, **fields):
  """A decoder for inference and its memory of regions."""
  decoder = captioner.make_decoder(TransformerConfig(
      decoder='transformer', vocab_size=V, initializer_scale=0.5,
      **{'embedding_size': E, 'num_layers': 2, 'num_heads': HEADS,
         'feed_forward_size': HIDDEN, 'max_positions': M} | fields),
      training=False)
  return decoder, decoder.prepare(
      Encoding(tf.zeros([len(regions), C]), tf.constant(regions)))


def unroll(decoder, memory, words):
  words = tf.convert_to_tensor(words)
  return decoder.unroll(memory, words, tf.ones_like(words))


def steps(decoder, memory, words):
  """Hidden [B, T, E] and the states, one a word."""
  hidden, states = [], [decoder.initial_state(memory)]
  for t in range(words.shape[1]):
    said, state = decoder.step(memory, tf.constant(words[:, t]), states[-1])
    hidden.append(said)
    states.append(state)
  return tf.stack(hidden, axis=1), states[1:]


def anything(random):
  """A value for every variable."""
  return {name: random.normal(0.0, 0.5, shape).astype(np.float32)
          for name, shape in variables().items()}


def keras_decoder(values, words, regions, num_layers, pre_norm):
  """Vaswani et al. 2017 of Keras's layers: hidden and shares [B, T, L]."""
  def of(scope):
    return (values[f'transformer/{scope}/weights'],
            values[f'transformer/{scope}/biases'])

  def normalize(x, scope):
    layer = keras.layers.LayerNormalization(epsilon=1e-6)
    layer.build(x.shape)
    layer.set_weights([values[f'transformer/{scope}/layer_norm/gamma'],
                       values[f'transformer/{scope}/layer_norm/beta']])
    return layer(x)

  def attend(x, looked, scope, causal):
    layer = keras.layers.MultiHeadAttention(HEADS, E // HEADS)
    layer.build(x.shape, looked.shape)
    weights = []
    for name in ('queries', 'keys', 'values'):
      kernel, bias = of(f'{scope}/{name}')
      weights += [kernel.reshape(-1, HEADS, E // HEADS),
                  bias.reshape(HEADS, E // HEADS)]
    kernel, bias = of(f'{scope}/output')
    layer.set_weights([*weights, kernel.reshape(HEADS, E // HEADS, E), bias])
    return layer(x, looked, use_causal_mask=causal,
                 return_attention_scores=True)

  def dense(x, scope, activation=None):
    kernel, bias = of(scope)
    layer = keras.layers.Dense(bias.size, activation)
    layer.build(x.shape)
    layer.set_weights([kernel, bias])
    return layer(x)

  x = tf.constant(
      values['seq_embedding/map'][words]
      + values['transformer/position_embedding/map'][:words.shape[1]])
  shares = []
  for i in range(num_layers):
    for name in ('self_attention', 'cross_attention', 'feed_forward'):
      scope = f'layer_{i}/{name}'
      read = normalize(x, scope) if pre_norm else x
      if name == 'self_attention':
        added, _ = attend(read, read, scope, causal=True)
      elif name == 'cross_attention':
        added, looked = attend(read, tf.constant(regions), scope, causal=False)
        shares.append(looked)  # [B, heads, T, L]
      else:
        added = dense(dense(read, f'{scope}/hidden', 'relu'),
                      f'{scope}/output')
      x = x + added
      x = x if pre_norm else normalize(x, scope)
  if pre_norm:
    layer_norm = keras.layers.LayerNormalization(epsilon=1e-6)
    layer_norm.build(x.shape)
    layer_norm.set_weights([values['transformer/layer_norm/gamma'],
                            values['transformer/layer_norm/beta']])
    x = layer_norm(x)
  return x.numpy(), np.mean(np.stack(shares), axis=(0, 2))


@pytest.mark.parametrize('pre_norm', [False, True])
@pytest.mark.parametrize('num_layers', [1, 2])
def test_layers_and_alignment_are_those_of_keras(
    pre_norm, num_layers, random, regions, words):
  with tf.Graph().as_default():
    decoder, memory = make(
        regions, pre_norm=pre_norm, num_layers=num_layers)
    unrolled = unroll(decoder, memory, words)
    _, states = steps(decoder, memory, words)
    values = anything(random)
    unrolled, alignments = run(
        [unrolled, tf.stack([state.alignment for state in states], axis=1)],
        values=values)
  hidden, shares = keras_decoder(
      values, words, regions, num_layers, pre_norm)
  np.testing.assert_allclose(unrolled, hidden, atol=1e-4)
  np.testing.assert_allclose(alignments, shares, atol=1e-5)
  np.testing.assert_allclose(alignments.sum(-1), 1.0, rtol=1e-5)
  assert np.ptp(alignments, axis=1).max() > 0.01


@pytest.mark.parametrize('pre_norm', [False, True])
def test_variables(pre_norm, graph, regions, words):
  decoder, memory = make(regions, pre_norm=pre_norm)
  hidden = unroll(decoder, memory, words)
  decoder.logits(tf.reshape(hidden, [-1, E]))
  expected = {
      'seq_embedding/map': [V, E],
      'transformer/position_embedding/map': [M, E],
      'logits/weights': [E, V], 'logits/biases': [V]}

  def dense(scope, width, units):
    expected[f'transformer/{scope}/weights'] = [width, units]
    expected[f'transformer/{scope}/biases'] = [units]

  def norm(scope):
    expected[f'transformer/{scope}layer_norm/gamma'] = [E]
    expected[f'transformer/{scope}layer_norm/beta'] = [E]

  for layer in ('layer_0', 'layer_1'):
    for name, width in (('self_attention', E), ('cross_attention', C)):
      dense(f'{layer}/{name}/queries', E, E)
      dense(f'{layer}/{name}/keys', width, E)
      dense(f'{layer}/{name}/values', width, E)
      dense(f'{layer}/{name}/output', E, E)
    dense(f'{layer}/feed_forward/hidden', E, HIDDEN)
    dense(f'{layer}/feed_forward/output', HIDDEN, E)
    for name in ('self_attention', 'cross_attention', 'feed_forward'):
      norm(f'{layer}/{name}/')
  if pre_norm:  # The sum of all layers is normalised at the end.
    norm('')
  assert variables() == expected


@pytest.mark.parametrize('pre_norm', [False, True])
def test_a_later_word_changes_nothing_before(
    pre_norm, graph, random, regions, words):
  later = words.copy()
  later[:, 3] = (words[:, 3] + 1) % V
  decoder, memory = make(regions, pre_norm=pre_norm)
  hidden, other = run(
      [unroll(decoder, memory, words), unroll(decoder, memory, later)],
      values=anything(random))
  np.testing.assert_array_equal(hidden[:, :3], other[:, :3])
  changes = np.abs(hidden - other).max(axis=(0, 2))
  assert (changes[3:] > 1e-3).all()


def test_the_order_of_words_is_told_by_positions_alone(
    graph, random, regions, words):
  swapped = words[:, [1, 0, *range(2, T)]]
  # Of one layer: a second would see who the first two looked at.
  decoder, memory = make(regions, num_layers=1)
  both = [unroll(decoder, memory, words), unroll(decoder, memory, swapped)]
  values = anything(random)
  hidden, other = run(both, values=values)
  assert np.abs(hidden - other)[:, 2:].max() > 0.01
  values['transformer/position_embedding/map'][:] = 0.0
  hidden, other = run(both, values=values)
  np.testing.assert_allclose(hidden[:, 2:], other[:, 2:], atol=1e-5)


def test_as_many_words_as_positions_and_no_more(graph, regions):
  decoder, memory = make(regions)
  words = tf1.placeholder(tf.int32, [None, None])
  hidden = unroll(decoder, memory, words)
  assert run(hidden, {words: np.zeros([B, M])}).shape == (B, M, E)
  with pytest.raises(tf.errors.InvalidArgumentError) as error:
    run(hidden, {words: np.zeros([B, M + 1])})
  assert ('a caption has more words than max_positions says'
          in graph_errors.reason(error.value))


def test_a_step_past_the_last_position_is_refused(graph, regions):
  decoder, memory = make(regions)
  _, states = steps(decoder, memory, np.zeros([B, M], int))
  _, past = decoder.step(memory, tf.zeros([B], tf.int32), states[-1])
  assert run(states[-1].position).tolist() == [M] * B
  with pytest.raises(tf.errors.InvalidArgumentError,
                     match='position_embedding'):
    run(past)


@pytest.mark.parametrize('search', [
    beam_search.beam_search, sampling.greedy, sampling.sample])
def test_a_search_for_longer_captions_is_refused(search, graph, regions):
  decoder, memory = make(regions)
  # The last word is not read.
  captions = run(search(decoder, memory, Rules(Vocab(), M + 1)))
  assert captions.sentences.shape[2] == M + 1
  with pytest.raises(ValueError, match=(
      f'^max_caption_length is {M + 2}, but captions of this decoder have '
      f'{M + 1} words at the most$')):
    search(decoder, memory, Rules(Vocab(), M + 2))


def test_a_length_that_is_fed_is_cut_to_what_can_be_read(graph, regions):
  decoder, memory = make(regions)
  longest = tf1.placeholder(tf.int32, [])
  captions = beam_search.beam_search(decoder, memory, Rules(Vocab(), longest))
  for fed, length in ((3, 3), (M + 1, M + 1), (M + 9, M + 1)):
    found = run(captions, {longest: fed})
    assert found.sentences.shape[2] == length


def test_heads_that_cannot_share_the_width_are_refused(graph, regions):
  with pytest.raises(ValueError, match=(
      '^embedding_size is 15, which num_heads 4 cannot share evenly$')):
    make(regions, num_heads=4)


def test_a_step_remembers_its_word_and_leaves_later_places_empty(
    graph, random, regions, words):
  decoder, memory = make(regions)
  hidden, states = steps(decoder, memory, words)
  states = run(states, values=anything(random))
  for t, state in enumerate(states):
    assert state.position.tolist() == [t + 1] * B
    assert len(state.words) == 2
    for layer, looked in enumerate(state.words):
      for remembered, final in zip(
          looked, states[-1].words[layer], strict=True):
        assert remembered.shape == (B, M, E)
        assert not remembered[:, t + 1:].any()
        assert remembered[:, :t + 1].any(axis=2).all()
        np.testing.assert_array_equal(
            remembered[:, :t + 1], final[:, :t + 1])


def test_captions_may_have_read_different_numbers_of_words(
    graph, random, regions, words):
  decoder, memory = make(regions)
  hidden, states = steps(decoder, memory, words)
  # The first caption after 2 words, the second after 4, the third after 3.
  counts = [2, 4, 3]
  mixed = tf.nest.map_structure(
      lambda *rows: tf.stack([x[i] for i, x in enumerate(rows)]),
      *(states[n - 1] for n in counts))
  said, _ = decoder.step(memory, tf.constant(
      [words[i, n] for i, n in enumerate(counts)]), mixed)
  hidden, said = run([hidden, said], values=anything(random))
  np.testing.assert_allclose(
      said, [hidden[i, n] for i, n in enumerate(counts)], atol=1e-5)
