"""Constraints on captions that every search keeps.

Shapes: N captions, T maximum caption length in words, both markers counted, V
vocabulary.
"""

import collections.abc
import dataclasses
from typing import Any

import tensorflow as tf

# Words less probable than this are never chosen, as in im2txt, which so avoids
# the logarithm of 0.
MIN_PROBABILITY = 1e-12


def check_at_least(least: int, **numbers: float) -> None:
  """Raise ValueError with the name of a number that is less."""
  for name, value in numbers.items():
    if value < least:
      raise ValueError(f'{name} is {value}; it must be at least {least}')


@dataclasses.dataclass(frozen=True)
class Rules:
  """Constraints on captions; a word that breaks one is never chosen.

  The probabilities of the other words are not renormalized.

  Attributes:
    vocab: a `Vocabulary`, or anything with `start_id` and `end_id`; if it has
      a length, words past it are never chosen.
    max_caption_length: T; a number or an integer [].
    min_caption_length: of complete captions, both markers counted.
    banned_words: ids never chosen, for example of the unknown word. If the end
      marker is one of them, no caption ends.
    no_repeated_trigrams: whether each trigram may occur once in a caption
      (Paulus et al. 2017, https://arxiv.org/abs/1705.04304, section 2.5).

  Raises:
    ValueError: a length is out of its range.
  """

  vocab: Any
  max_caption_length: int | tf.Tensor = 20
  min_caption_length: int = 2
  banned_words: tuple[int, ...] = ()
  no_repeated_trigrams: bool = False

  def __post_init__(self):
    longest = self.max_caption_length
    if isinstance(longest, int):
      check_at_least(1, max_caption_length=longest)
      if self.min_caption_length > max(longest, 2):
        raise ValueError(
            f'min_caption_length is {self.min_caption_length}, more than '
            f'max_caption_length, {longest}')

  def allow(
      self, probabilities: tf.Tensor, sentences: tf.Tensor, length: tf.Tensor
  ) -> tf.Tensor:
    """Set the probabilities of words that break a rule to 0.

    Args:
      probabilities: float32 [N, V], of the next word.
      sentences: int32 [N, T].
      length: integer [], words of each so far.

    Returns:
      float32 [N, V]; if the vocabulary is smaller than V, only its words.
    """
    if isinstance(self.vocab, collections.abc.Sized):
      probabilities = probabilities[:, :len(self.vocab)]
    vocab_size = probabilities.shape[1]
    if self.banned_words:
      probabilities *= 1.0 - tf.reduce_max(
          tf.one_hot(self.banned_words, vocab_size), axis=0)
    if self.min_caption_length > 2:
      too_short = tf.cast(length + 1 < self.min_caption_length, tf.float32)
      probabilities *= 1.0 - too_short * tf.one_hot(
          self.vocab.end_id, vocab_size)
    if self.no_repeated_trigrams:
      probabilities = _forbid_trigrams(probabilities, sentences, length)
    return probabilities


def _forbid_trigrams(
    probabilities: tf.Tensor, sentences: tf.Tensor, length: tf.Tensor
) -> tf.Tensor:
  """Set to 0 the words that would repeat a trigram; arguments as of `allow`."""
  sentences = sentences[:, :length]
  first, second, third = (
      sentences[:, i:tf.maximum(length - 2, 0) + i] for i in range(3))
  repeated = (tf.equal(first, sentences[:, -2:-1])
              & tf.equal(second, sentences[:, -1:]))
  rows = tf.broadcast_to(
      tf.range(tf.shape(third)[0])[:, tf.newaxis], tf.shape(third))
  return tf.tensor_scatter_nd_min(
      probabilities, tf.stack([rows, third], axis=-1),
      1.0 - tf.cast(repeated, tf.float32))
