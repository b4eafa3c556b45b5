"""CIDEr-D of captions as words or word ids, for thousands of captions.

Vedantam et al. 2015, https://arxiv.org/abs/1411.5726, sections 4 and 7, as
COCO's evaluation computes it. pycocoevalcap's `Cider` cannot be given document
frequencies, and would count them anew for each batch.
"""

import collections
import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

Words = Sequence[Hashable]

_Ngram = tuple[Hashable, ...]

MAX_N = 4  # N-grams of 1 to 4 words.
SIGMA = 6.0  # Of the Gaussian penalty for a difference in length, in words.
SCALE = 10.0  # The greatest score.


class _Vectors(NamedTuple):
  """TF-IDF vectors of a caption's n-grams, for each n."""

  weights: list[dict[_Ngram, float]]
  norms: list[float]
  length: int


class CiderD:
  """Scores captions, with document frequencies that are counted once."""

  def __init__(self, captions_of_images: Iterable[Iterable[Words]]):
    """Count the document frequency of each n-gram: images that have it.

    Args:
      captions_of_images: reference captions of each image.

    Raises:
      ValueError: there is no image.
    """
    self._frequencies: collections.Counter[_Ngram] = collections.Counter()
    num_images = 0
    for num_images, captions in enumerate(captions_of_images, 1):  # noqa: B007
      self._frequencies.update(
          {ngram for words in captions for ngram in _ngrams(words)})
    if not num_images:
      raise ValueError('CIDEr needs the captions of at least one image')
    self._log_images = math.log(num_images)

  def scores(
      self, candidates: Iterable[Words], references: Sequence[Words],
      weights: Sequence[float] | None = None,
  ) -> list[float]:
    """Return the CIDEr-D of each candidate, from 0 to 10.

    Args:
      candidates: captions of one image.
      references: its reference captions; at least one.
      weights: of the references, with sum 1; None: uniform.
    """
    if weights is None:
      weights = [1.0 / len(references)] * len(references)
    others = list(zip(weights, map(self._vectors, references), strict=True))
    return [
        SCALE / MAX_N * sum(
            weight * _similarity(vectors, other) for weight, other in others)
        for vectors in map(self._vectors, candidates)]

  def _vectors(self, words: Words) -> _Vectors:
    weights: list[dict[_Ngram, float]] = [{} for _ in range(MAX_N)]
    for ngram, count in collections.Counter(_ngrams(words)).items():
      frequency = max(1, self._frequencies[ngram])
      weights[len(ngram) - 1][ngram] = count * (
          self._log_images - math.log(frequency))
    norms = [math.sqrt(sum(weight ** 2 for weight in of_n.values()))
             for of_n in weights]
    # COCO's evaluation measures length in bigrams.
    return _Vectors(weights, norms, max(0, len(words) - 1))


def _ngrams(words: Words) -> Iterator[_Ngram]:
  for n in range(1, MAX_N + 1):
    for i in range(len(words) - n + 1):
      yield tuple(words[i:i + n])


def _similarity(candidate: _Vectors, reference: _Vectors) -> float:
  total = 0.0
  for ours, theirs, norm, other_norm in zip(
      candidate.weights, reference.weights, candidate.norms, reference.norms,
      strict=True):
    if norm and other_norm:
      total += sum(
          min(weight, theirs[ngram]) * theirs[ngram]
          for ngram, weight in ours.items() if ngram in theirs
      ) / (norm * other_norm)
  difference = candidate.length - reference.length
  return total * math.exp(-difference ** 2 / (2.0 * SIGMA ** 2))
