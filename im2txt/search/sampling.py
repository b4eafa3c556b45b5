"""Greedy decoding and random sampling: captions independent of each other.

Shapes: see `word_step`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from im2txt.decoders import Decoder
from im2txt.search import word_step
from im2txt.search.rules import Rules, check_at_least
from im2txt.search.word_step import IMPOSSIBLE, Captions, NextWords

# Choose words int32 [N], given float32 [N, V], the probabilities of the next
# word, and int32 [], the words of each caption so far.
ChooseWords = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class SamplingOptions:
  """How to draw captions.

  Attributes:
    num_samples: R, captions drawn of each image.
    temperature: what log probabilities are divided by first; below 1 favours
      probable words.
    top_k: number of words, the most probable, to draw from; None: all.
    top_p: probability to draw from: the fewest words, most probable first,
      whose sum reaches it (Holtzman et al. 2020, section 3.1,
      https://arxiv.org/abs/1904.09751). Computed after `top_k`.

  Raises:
    ValueError: a number is out of its range.
  """

  num_samples: int = 1
  temperature: float = 1.0
  top_k: int | None = None
  top_p: float = 1.0

  def __post_init__(self):
    check_at_least(1, num_samples=self.num_samples, top_k=self.top_k or 1)
    if self.temperature <= 0.0:
      raise ValueError(f'temperature is {self.temperature}; it must be above '
                       '0; for the most probable word use greedy')
    if not 0.0 < self.top_p <= 1.0:
      raise ValueError(
          f'top_p is {self.top_p}; it must be above 0 and at most 1')


def greedy(decoder: Decoder, memory: Any, rules: Rules) -> Captions:
  """Take the most probable word at each step, as a beam of one does.

  Args:
    decoder: made for inference.
    memory: of its `prepare`, B rows.
    rules: what a caption may be.

  Returns:
    One caption of each image.
  """
  return _search(decoder, memory, rules, 1, lambda probabilities, _: (
      tf.math.top_k(probabilities, 1).indices[:, 0]))


def sample(
    decoder: Decoder,
    memory: Any,
    rules: Rules,
    options: SamplingOptions = SamplingOptions(),
    seed: int | tf.Tensor | None = None,
) -> Captions:
  """Draw each word from the model's probabilities.

  Args:
    decoder: made for inference.
    memory: of its `prepare`, B rows.
    rules: what a caption may be.
    options: how to draw.
    seed: number or integer []; the same gives the same captions. None:
      different ones in every run.

  Returns:
    Captions in the order drawn; the log probabilities are the model's own,
    whatever the temperature.
  """
  if seed is None:
    seed = tf.random.uniform([], maxval=2**31 - 1, dtype=tf.int32)
  return _search(
      decoder, memory, rules, options.num_samples,
      lambda probabilities, length: _draw(
          probabilities, options, tf.stack([seed, length])))


class _State(NamedTuple):
  """Captions while they are written; N = B * R."""

  sentences: tf.Tensor          # int32 [N, T]
  log_probabilities: tf.Tensor  # float64 [N]
  alignments: tf.Tensor         # float32 [N, T, L]


class _Independent(word_step.Strategy):
  """Captions that do not compete: each is extended by one chosen word."""

  def __init__(self, end_id: int, num_captions: int, choose: ChooseWords):
    self.initial_width = num_captions
    self._end_id = end_id
    self._choose = choose

  def begin(self, sentences: tf.Tensor, alignments: tf.Tensor) -> _State:
    return _State(sentences, tf.zeros(tf.shape(sentences)[:1], tf.float64),
                  alignments)

  def unfinished(self, length: tf.Tensor, state: _State) -> tf.Tensor:
    return tf.reduce_any(self._goes_on(length, state))

  def sentences(self, state: _State) -> tf.Tensor:
    return state.sentences

  def step(
      self, length: tf.Tensor, state: _State, next_words: NextWords
  ) -> tuple[_State, None]:
    goes_on = self._goes_on(length, state)
    words = self._choose(next_words.probabilities, length)
    gains = word_step.log_probability(
        tf.gather(next_words.probabilities, words, batch_dims=1))
    return _State(
        word_step.write_at(
            state.sentences, length, tf.where(goes_on, words, self._end_id),
            axis=1),
        state.log_probabilities + tf.where(goes_on, gains, 0.0),
        word_step.write_at(
            state.alignments, length,
            tf.where(goes_on[:, tf.newaxis], next_words.alignment, 0.0),
            axis=1)), None

  def finish(self, state: _State) -> Captions:
    sentences, log_probabilities, alignments = (
        word_step.add_caption_axis(x, self.initial_width) for x in state)
    log_probabilities = tf.cast(log_probabilities, tf.float32)
    return Captions(
        sentences, log_probabilities, log_probabilities, alignments)

  def _goes_on(self, length: tf.Tensor, state: _State) -> tf.Tensor:
    """Return which captions have not ended, bool [N]."""
    return (tf.not_equal(state.sentences[:, length - 1], self._end_id)
            & (state.log_probabilities > IMPOSSIBLE))


def _search(
    decoder: Decoder, memory: Any, rules: Rules, num_captions: int,
    choose: ChooseWords,
) -> Captions:
  """Write R = `num_captions` captions of each image."""
  return word_step.search(
      _Independent(rules.vocab.end_id, num_captions, choose), decoder, memory,
      word_step.limit_length(decoder, rules))


def _draw(
    probabilities: tf.Tensor, options: SamplingOptions, seed: tf.Tensor
) -> tf.Tensor:
  """Draw words int32 [N] from probabilities [N, V]; the seed is int32 [2]."""
  words, vocab_size = None, probabilities.shape[1]
  if options.top_k or options.top_p < 1.0:
    probabilities, words = tf.math.top_k(
        probabilities, min(options.top_k or vocab_size, vocab_size))
  logits = tf.math.log(probabilities) / options.temperature
  if options.top_p < 1.0:
    sums = tf.cumsum(tf.nn.softmax(logits), axis=1, exclusive=True)
    logits = tf.where(sums < options.top_p, logits, -np.inf)
  drawn = tf.random.stateless_categorical(logits, 1, seed, tf.int32)
  # If all words are impossible, the op returns an index out of range.
  drawn = tf.minimum(drawn, tf.shape(logits)[1] - 1)
  return (drawn if words is None
          else tf.gather(words, drawn, batch_dims=1))[:, 0]
