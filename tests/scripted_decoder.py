"""A decoder of the tests' own whose every probability is written in a table.

Shapes: B images, N captions side by side, S states, V vocabulary.
"""

from typing import NamedTuple

import fresh_session
import numpy as np
import tensorflow as tf

tf1 = tf.compat.v1


class Script(NamedTuple):
  """What follows what; the image is the first state."""

  probabilities: np.ndarray  # float32 [S, V], of the next word
  next_states: np.ndarray    # int32 [S, V], by the word just read


def of_word_graph(graph, vocab_size):
  """A script in which only the last word counts.

  Args:
    graph: word -> next word -> probability; what is missing is 0.
    vocab_size: V; S too, and the last word takes what is left of 1.
  """
  probabilities = np.zeros([vocab_size, vocab_size])
  for word, following in graph.items():
    for next_word, probability in following.items():
      probabilities[word, next_word] = probability
  probabilities[:, -1] += 1.0 - probabilities.sum(axis=1)
  return Script(probabilities.astype(np.float32), np.tile(
      np.arange(vocab_size, dtype=np.int32), (vocab_size, 1)))


def at_random(
    seed, states, vocab_size, end_id, concentration=0.3, ties=True):
  """A script of all kinds of distributions.

  Among them some with words of next to no probability, and some in which only
  the last word, or only the end, is at all probable. With `ties`, also some
  in which words are equally probable: of many rows TensorFlow rounds equal
  ones differently on some processors, and other captions then survive.
  """
  random = np.random.default_rng(seed)
  rows = random.dirichlet(np.full(vocab_size, concentration), states)
  if ties:
    rows[::7] = np.round(rows[::7] * 8) + 1.0
  rows[1::7] = np.where(                               # Next to nothing.
      random.random(rows[1::7].shape) < 0.6, 1e-13, rows[1::7])
  rows[2::21, :] = 1e-15                               # Dead ends.
  rows[2::21, -1] = 1.0
  rows[3::13, end_id] += random.random() * 2.0
  rows /= rows.sum(axis=1, keepdims=True)
  return Script(
      rows.astype(np.float32),
      random.integers(0, states, [states, vocab_size], np.int32))


class ScriptedDecoder:
  """Play a script; the memory is int32 [B], each image's first state."""

  attends = False
  max_length = None

  def __init__(self, script, on_step=None):
    """Take the script, and what to call whenever a step is computed."""
    self._script = script
    self._on_step = on_step

  def initial_state(self, memory):
    return {'state': memory}

  def step(self, memory, words, state):
    dependencies = []
    if self._on_step:
      dependencies = [tf.numpy_function(
          lambda words: self._on_step(len(words)), [words], [])]
    with tf.control_dependencies(dependencies):
      states = tf.gather_nd(
          self._script.next_states,
          tf.stack([state['state'], words], axis=1))
    return tf.one_hot(states, len(self._script.probabilities)), {
        'state': states}

  def logits(self, hidden):
    return tf.gather(
        tf.math.log(self._script.probabilities), tf.argmax(hidden, axis=1))


class ScriptedModel:
  """The same for the step-by-step search; an image is its first state."""

  def __init__(self, script, at_once=1000):
    """Compute the probabilities of so many states at once.

    On some processors the rounding of a row depends on the number of rows.
    """
    with tf.Graph().as_default(), fresh_session.make() as session:
      # As the graph rounds them.
      rows = tf1.placeholder(tf.float32, [None, None])
      softmax = tf.nn.softmax(tf.math.log(rows))
      self._probabilities = np.concatenate([
          session.run(softmax, {rows: part}) for part in np.array_split(
              script.probabilities, -(-len(script.probabilities) // at_once))])
    self._next_states = script.next_states

  def feed_image(self, sess, encoded_image):
    return np.array([[encoded_image]], np.int32)

  def inference_step(self, sess, input_feed, state_feed):
    states = self._next_states[state_feed[:, 0], input_feed]
    return self._probabilities[states], states[:, np.newaxis], None
