"""What all searches share: the loop over words and the state of captions.

A search is a `Strategy`, which keeps the captions of each image and chooses
their next words; `search` asks the decoder for probabilities and loops.

Shapes in this package: B images, K captions kept of each, N = B * K, R
captions returned, T maximum caption length in words (both markers counted), V
vocabulary, L regions of an image, 0 if the decoder does not attend to them.
What follows the end marker of a caption is end markers too.
"""

import abc
import dataclasses
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from im2txt.decoders import Decoder
from im2txt.search.rules import MIN_PROBABILITY, Rules

# Log probability of a word that breaks a rule, and of a slot without caption.
IMPOSSIBLE = np.float64(-np.inf)


class Captions(NamedTuple):
  """Captions of each image; where one has fewer, -inf in both floats."""

  sentences: tf.Tensor          # int32 [B, R, T], the start marker first
  log_probabilities: tf.Tensor  # float32 [B, R], nats
  scores: tf.Tensor             # float32 [B, R], what they are ranked by
  # float32 [B, R, T, L], attention weights of each word; 0 for the start
  # marker and for what follows the end.
  alignments: tf.Tensor


class NextWords(NamedTuple):
  """What the decoder says of the next word of each caption."""

  probabilities: tf.Tensor  # float32 [N, V], 0 for words that break a rule
  alignment: tf.Tensor      # float32 [N, L], attention weights


class Strategy(abc.ABC):
  """How a search keeps captions and chooses words.

  Its state is a nest of tensors whose first axis may grow and shrink.

  Attributes:
    initial_width: captions of each image that begin with the start marker.
  """

  initial_width: int

  @abc.abstractmethod
  def begin(self, sentences: tf.Tensor, alignments: tf.Tensor) -> Any:
    """Return the state before the first word.

    Args:
      sentences: int32 [B * initial_width, T], the start marker alone.
      alignments: float32 [B * initial_width, T, L], zeros.
    """

  @abc.abstractmethod
  def unfinished(self, length: tf.Tensor, state: Any) -> tf.Tensor:
    """Return whether another word can change the result, bool [].

    Args:
      length: int32 [], words of each caption so far.
      state: of this strategy.
    """

  @abc.abstractmethod
  def sentences(self, state: Any) -> tf.Tensor:
    """Return the captions that go on, int32 [N, T]."""

  @abc.abstractmethod
  def step(
      self, length: tf.Tensor, state: Any, next_words: NextWords
  ) -> tuple[Any, tf.Tensor | None]:
    """Extend the captions by one word.

    Args:
      length: int32 [], words of each caption so far.
      state: of this strategy.
      next_words: for the N captions of `sentences`.

    Returns:
      The next state, and which of the N captions each of its captions extends,
      int32 [N']; None: they are the same captions in the same order.
    """

  @abc.abstractmethod
  def finish(self, state: Any) -> Captions:
    """Return the captions found."""


def limit_length(decoder: Decoder, rules: Rules) -> Rules:
  """Return rules whose captions the decoder can read.

  A maximum length that is a tensor is cut to what the decoder can read.

  Raises:
    ValueError: `max_caption_length` is a number that is too great.
  """
  if decoder.max_length is None:
    return rules
  length, longest = rules.max_caption_length, decoder.max_length + 1
  if not isinstance(length, int):
    return dataclasses.replace(
        rules, max_caption_length=tf.minimum(length, longest))
  if length > longest:  # The last word is not read.
    raise ValueError(f'max_caption_length is {length}, but captions of this '
                     f'decoder have {longest} words at the most')
  return rules


def search(
    strategy: Strategy, decoder: Decoder, memory: Any, rules: Rules
) -> Captions:
  """Write captions with a strategy, one word of all of them at a time.

  Args:
    strategy: made with the same rules.
    decoder: made for inference.
    memory: of its `prepare`, B rows.
    rules: of `limit_length`.

  Returns:
    What the strategy finds.
  """
  decoder_state = tf.nest.map_structure(
      lambda x: tf.repeat(x, strategy.initial_width, 0),
      decoder.initial_state(memory))

  def condition(length, state, _):
    return ((length < rules.max_caption_length)
            & strategy.unfinished(length, state))

  def body(length, state, decoder_state):
    next_words, decoder_state = read_word(
        decoder, memory, rules, strategy.sentences(state), length,
        decoder_state)
    state, parents = strategy.step(length, state, next_words)
    if parents is not None:
      decoder_state = tf.nest.map_structure(
          lambda x: tf.gather(x, parents), decoder_state)
    return length + 1, state, decoder_state

  loop_vars = (tf.constant(1),
               strategy.begin(*_empty_captions(decoder, rules, decoder_state)),
               decoder_state)
  # The number of captions changes; layers of the decoder need static widths.
  shapes = (
      tf.TensorShape([]),
      tf.nest.map_structure(
          lambda x: tf.TensorShape(len(x.shape) * [None]), loop_vars[1]),
      tf.nest.map_structure(
          lambda x: tf.TensorShape([None, *x.shape[1:]]), decoder_state))
  _, state, _ = tf.while_loop(condition, body, loop_vars, shapes)
  return strategy.finish(state)


def read_word(
    decoder: Decoder, memory: Any, rules: Rules, sentences: tf.Tensor,
    length: tf.Tensor, state: Any,
) -> tuple[NextWords, Any]:
  """Read the last word of each caption.

  Args:
    decoder: made for inference.
    memory: of its `prepare`.
    rules: what a caption may be.
    sentences: int32 [N, T].
    length: int32 [], words of each that are there.
    state: of the decoder, each [N, ...].

  Returns:
    What may follow, and the decoder's next state.
  """
  hidden, state = decoder.step(memory, sentences[:, length - 1], state)
  probabilities = rules.allow(
      tf.nn.softmax(decoder.logits(hidden)), sentences, length)
  return NextWords(probabilities, _alignment(decoder, state)), state


def write_at(
    values: tf.Tensor, position: tf.Tensor, new: tf.Tensor, axis: int
) -> tf.Tensor:
  """Return values with new ones at a position of an axis.

  Args:
    values: [..., T, ...].
    position: integer [], on the axis T.
    new: as `values`, without that axis.
    axis: of T.
  """
  here = tf.equal(tf.range(tf.shape(values)[axis]), position)
  here = tf.reshape(here, [-1, *(len(values.shape) - axis - 1) * [1]])
  return tf.where(here, tf.expand_dims(new, axis), values)


def log_probability(probabilities: tf.Tensor) -> tf.Tensor:
  """Return logarithms, float64; -inf below `MIN_PROBABILITY`."""
  probabilities = tf.cast(probabilities, tf.float64)
  return tf.where(probabilities < MIN_PROBABILITY, IMPOSSIBLE,
                  tf.math.log(probabilities))


def add_caption_axis(x: tf.Tensor, width: int) -> tf.Tensor:
  """Return [B, width, ...] of [B * width, ...]."""
  shape = tf.shape(x)
  return tf.reshape(
      x, tf.concat([[shape[0] // width, width], shape[1:]], axis=0))


def _empty_captions(
    decoder: Decoder, rules: Rules, state: Any
) -> tuple[tf.Tensor, tf.Tensor]:
  """Return sentences [N, T] of the start marker alone, alignments [N, T, L]."""
  rows, regions = tf.unstack(tf.shape(_alignment(decoder, state)))
  length = rules.max_caption_length
  sentences = tf.concat([
      tf.fill([rows, 1], rules.vocab.start_id),
      tf.fill([rows, length - 1], rules.vocab.end_id)], axis=1)
  return sentences, tf.zeros([rows, length, regions])


def _alignment(decoder: Decoder, state: Any) -> tf.Tensor:
  """Return the attention weights of the last step, float32 [N, L]."""
  if decoder.attends:
    return state.alignment
  return tf.zeros([tf.shape(tf.nest.flatten(state)[0])[0], 0])
