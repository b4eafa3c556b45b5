"""The caption that does best when it is said of every picture.

A model has to beat its score: saying the same of every photo gets that far.

CIDEr (Vedantam et al. 2015, https://arxiv.org/abs/1411.5726; CIDEr-D, as
coco-caption computes it) compares the n-grams of a caption and of a reference,
n from 1 to 4, weighted by their rarity. What it adds up for a constant caption
c over all references r is, for each n,

  1/|c| * sum over n-grams g of c: sum over r: min(c_g, r_g) r_g idf_g^2 / |r|
                                               * exp(-(len c - len r)^2 / 72)

The inner sum depends on g, c_g and the length of c, but on nothing else of the
caption. So it is made once for all captions of a length, and each of them costs
a look-up for each of its n-grams.
"""

import collections
import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

_MAX_N = 4
_SIGMA = 6.0  # Of the penalty for another length than the reference's.


def best(
    captions: Iterable[Sequence[str]],
    references: Sequence[Sequence[Sequence[str]]],
) -> tuple[Sequence[str], float]:
  """Finds the caption with the best CIDEr when it is said of every picture.

  Args:
    captions: words of each caption to choose from; at least one.
    references: for each picture, for each of its references, the words.

  Returns:
    One of the captions and its CIDEr.
  """
  index = _ReferenceIndex(references)
  by_length = itertools.groupby(sorted(captions, key=len), len)
  return max((scored for length, group in by_length
              for scored in index.score(group, length)),
             key=lambda scored: scored[1])


class _ReferenceIndex:
  """Each n-gram of each reference, as an entry of some arrays."""

  def __init__(self, references: Sequence[Sequence[Sequence[str]]]):
    ids = collections.defaultdict(itertools.count().__next__)
    document_counts = collections.Counter()
    rows, ngrams, counts, lengths, shares = [], [], [], [], []
    for of_picture in references:
      found = [_ngrams(words) for words in of_picture]
      document_counts.update(set().union(*found))
      for words, of_reference in zip(of_picture, found, strict=True):
        rows += [len(lengths)] * len(of_reference)
        ngrams += [ids[ngram] for ngram in of_reference]
        counts += of_reference.values()
        lengths.append(_length(words))
        shares.append(1 / len(of_picture))
    self._unseen_idf = np.log(len(references))
    self._idf = {ngram: self._unseen_idf - np.log(count)
                 for ngram, count in document_counts.items()}
    self._ids = dict(ids)
    self._ngrams = np.array(ngrams, int)
    self._counts = np.array(counts, float)
    self._lengths = np.array(lengths, float)[rows]
    idf = np.array([self._idf[ngram] for ngram in ids])[ngrams]
    norms = np.zeros([len(lengths), _MAX_N])
    orders = np.array([len(ngram) - 1 for ngram in ids], int)[ngrams]
    np.add.at(norms, (rows, orders), (self._counts * idf) ** 2)
    norms = np.sqrt(norms)[rows, orders]
    self._adds = np.divide(
        self._counts * idf ** 2 * np.array(shares)[rows], norms,
        out=np.zeros_like(norms), where=norms > 0)
    self._scale = 10 / _MAX_N / len(references)

  def score(
      self, captions: Iterable[Sequence[str]], length: int
  ) -> Iterator[tuple[Sequence[str], float]]:
    """Yields captions of one length and what CIDEr each has."""
    sums_of_count = {}
    for caption in captions:
      products, squares = [0.0] * _MAX_N, [0.0] * _MAX_N
      for ngram, count in _ngrams(caption).items():
        order = len(ngram) - 1
        idf = self._idf.get(ngram, self._unseen_idf)
        squares[order] += (count * idf) ** 2
        if ngram in self._ids:
          if count not in sums_of_count:
            sums_of_count[count] = self._sums(count, _length(caption))
          products[order] += sums_of_count[count][self._ids[ngram]]
      yield caption, self._scale * sum(
          product / square ** 0.5
          for product, square in zip(products, squares, strict=True) if square)

  def _sums(self, count: int, length: int) -> np.ndarray:
    """What each n-gram adds over all references, but for the caption's norm."""
    penalty = np.exp(-(length - self._lengths) ** 2 / (2 * _SIGMA ** 2))
    return np.bincount(
        self._ngrams, np.minimum(count, self._counts) * self._adds * penalty,
        len(self._ids))


def _ngrams(words: Sequence[str]) -> dict[tuple[str, ...], int]:
  return collections.Counter(
      tuple(words[i:i + n])
      for n in range(1, _MAX_N + 1) for i in range(len(words) - n + 1))


def _length(words: Sequence[str]) -> int:
  """As coco-caption counts it: in pairs of words."""
  return max(0, len(words) - 1)
