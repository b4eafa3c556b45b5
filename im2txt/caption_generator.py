"""im2txt's step-by-step beam search: the reference for `search.beam_search`.

Shapes: B partial captions, V vocabulary, S size of the model's state.
"""

import collections.abc
import functools
import heapq
import math
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import tensorflow as tf

from im2txt.search.rules import MIN_PROBABILITY, check_at_least

tf1 = tf.compat.v1

_Item = TypeVar('_Item')


class Model(Protocol):
  """The interface of a model to the search; see `InferenceWrapper`."""

  def feed_image(self, sess: tf1.Session, encoded_image: bytes) -> np.ndarray:
    """Return the state [1, S] of an image."""

  def inference_step(
      self, sess: tf1.Session, input_feed: np.ndarray, state_feed: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray, Any]:
    """Return probabilities [B, V], states [B, S] and metadata or None."""


@functools.total_ordering
class Caption:
  """A complete or partial caption; ordered by its score.

  Attributes:
    sentence: word ids, the start marker included.
    state: float32 [S], the model's state before it reads the last word.
    logprob: log probability of the words, nats.
    score: what captions are ranked by: `logprob`, if complete divided by the
      length to the power of the normalization factor.
    metadata: the model's metadata of each step, or None.
  """

  def __init__(
      self,
      sentence: list[int],
      state: np.ndarray,
      logprob: float,
      score: float,
      metadata: list[Any] | None = None,
  ):
    self.sentence = sentence
    self.state = state
    self.logprob = logprob
    self.score = score
    self.metadata = metadata

  def __eq__(self, other: object) -> bool:
    return isinstance(other, Caption) and self.score == other.score

  def __lt__(self, other: 'Caption') -> bool:
    return self.score < other.score

  __hash__ = None


class TopN(Generic[_Item]):
  """The n greatest items pushed so far; of equal ones the earlier."""

  def __init__(self, n: int):
    self._n = n
    self.reset()

  def size(self) -> int:
    """Return the number of items kept."""
    return len(self._heap)

  def push(self, item: _Item) -> None:
    """Add an item, and drop the least if there are more than n."""
    entry = (item, -self._pushed)
    self._pushed += 1
    if len(self._heap) < self._n:
      heapq.heappush(self._heap, entry)
    else:
      heapq.heappushpop(self._heap, entry)

  def extract(self, sort: bool = False) -> list[_Item]:
    """Remove and return the items; call `reset` before the next push.

    Args:
      sort: whether to return the greatest first.
    """
    heap, self._heap = self._heap, None
    if sort:
      heap.sort(reverse=True)
    return [item for item, _ in heap]

  def reset(self) -> None:
    """Remove all items."""
    self._heap: list[tuple[_Item, int]] | None = []
    self._pushed = 0


class CaptionGenerator:
  """Beam search over a model's next-word probabilities.

  Each partial caption proposes its `beam_size` most probable next words. A
  proposal that ends joins the complete captions and takes no place among the
  `beam_size` partial ones.
  """

  def __init__(
      self,
      model: Model,
      vocab: Any,
      beam_size: int = 3,
      max_caption_length: int = 20,
      length_normalization_factor: float = 0.0,
  ):
    """Initialize with a model and hyperparameters.

    Args:
      model: computes the probabilities.
      vocab: a `Vocabulary`, or anything with `start_id` and `end_id`; if it
        has a length, words past it are never chosen.
      beam_size: partial captions kept at each step.
      max_caption_length: in words, both markers counted.
      length_normalization_factor: complete captions are ranked by their log
        probability over `len(sentence)` to the power of this, markers
        counted. 0: no normalization; above 0 favours longer captions.

    Raises:
      ValueError: `beam_size` or `max_caption_length` is below 1.
    """
    check_at_least(
        1, beam_size=beam_size, max_caption_length=max_caption_length)
    self.model = model
    self.vocab = vocab
    self.beam_size = beam_size
    self.max_caption_length = max_caption_length
    self.length_normalization_factor = length_normalization_factor

  def beam_search(
      self, sess: tf1.Session, encoded_image: bytes
  ) -> list[Caption]:
    """Caption one image.

    Args:
      sess: with the restored model.
      encoded_image: the image file's bytes.

    Returns:
      At most `beam_size` captions, best first: complete ones or, if nothing
      was completed within `max_caption_length`, partial ones; never both.
    """
    state = self.model.feed_image(sess, encoded_image)[0]
    partial: TopN[Caption] = TopN(self.beam_size)
    complete: TopN[Caption] = TopN(self.beam_size)
    partial.push(Caption([self.vocab.start_id], state, 0.0, 0.0))
    for _ in range(self.max_caption_length - 1):
      beams = partial.extract(sort=True)
      partial.reset()
      for caption in self._extensions(sess, beams):
        ended = caption.sentence[-1] == self.vocab.end_id
        (complete if ended else partial).push(caption)
      if partial.size() == 0:
        break
    return (complete if complete.size() else partial).extract(sort=True)

  def _extensions(
      self, sess: tf1.Session, beams: list[Caption]
  ) -> collections.abc.Iterator[Caption]:
    """Yield each beam with each of its best next words, best beam first."""
    softmax, states, metadata = self.model.inference_step(
        sess,
        np.array([beam.sentence[-1] for beam in beams]),
        np.array([beam.state for beam in beams]))
    if isinstance(self.vocab, collections.abc.Sized):
      softmax = softmax[:, :len(self.vocab)]
    for i, beam in enumerate(beams):
      for word in _most_probable(softmax[i], self.beam_size):
        probability = float(softmax[i, word])
        if probability < MIN_PROBABILITY:
          continue
        sentence = beam.sentence + [int(word)]
        logprob = beam.logprob + math.log(probability)
        score = logprob
        if word == self.vocab.end_id:
          score /= len(sentence) ** self.length_normalization_factor
        yield Caption(
            sentence, states[i], logprob, score,
            None if metadata is None
            else (beam.metadata or []) + [metadata[i]])


def _most_probable(probabilities: np.ndarray, n: int) -> np.ndarray:
  """Return indices of the n greatest, of equal ones the lower first."""
  if n < probabilities.size:
    least = np.partition(probabilities, -n)[-n]
    candidates = np.flatnonzero(probabilities >= least)
  else:
    candidates = np.arange(probabilities.size)
  order = np.argsort(-probabilities[candidates], kind='stable')
  return candidates[order[:n]]
