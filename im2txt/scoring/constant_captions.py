"""The best constant captions: a baseline that every model has to beat.

A constant caption is the same for every image. Its score is a sum over its
n-grams, n from 1 to 4, of terms that are computed once for all captions.

BLEU (Papineni et al. 2002): an n-gram g that occurs c_g times in caption c adds
  sum over images of: min(c_g, greatest count of g in a reference)
to the matches, which are divided by the n-grams of all copies of c.

CIDEr (Vedantam et al. 2015, https://arxiv.org/abs/1411.5726; CIDEr-D, as
coco-caption computes it): g adds
  1/|c| * sum over references r of: min(c_g, r_g) r_g idf_g^2 / |r|
                                    * exp(-(len c - len r)^2 / 72)
where the sum depends on g, c_g and the length of c only.

Shapes: S sentences, R references, I pairs of a sentence and one of its distinct
n-grams.
"""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from im2txt.scoring import cider

# Of numerators and denominators, as in coco-caption's BLEU.
_TINY, _SMALL = 1e-15, 1e-9
_CHUNK_SIZE = 100_000  # Captions scored at once; bounds the memory.

Sentence = Sequence[str]


def best(
    captions: Iterable[Sentence], references: Sequence[Sequence[Sentence]]
) -> dict[str, tuple[Sentence, float]]:
  """Find the captions with the best scores as constant captions.

  Args:
    captions: words of each candidate; at least one.
    references: for each image, for each of its references, the words.

  Returns:
    By metric, 'Bleu_4' and 'CIDEr': the best caption and its score.
  """
  captions = list(captions)
  parts = [_scores(captions[i:i + _CHUNK_SIZE], references)
           for i in range(0, len(captions), _CHUNK_SIZE)]
  found = {}
  for name in parts[0]:
    scores = np.concatenate([part[name] for part in parts])
    chosen = int(np.argmax(scores))
    found[name] = captions[chosen], float(scores[chosen])
  return found


class _Ngrams(NamedTuple):
  """The n-grams of some sentences, for one n, as a sparse matrix."""

  rows: np.ndarray    # int [I], the sentence
  ids: np.ndarray     # int [I], the n-gram
  counts: np.ndarray  # int [I], occurrences of the n-gram in the sentence


class _References(NamedTuple):
  """The references of all images, without their words."""

  images: np.ndarray   # int [R], index of the image, ascending
  weights: np.ndarray  # float [R], 1 / number of references of that image
  lengths: np.ndarray  # int [R], in words


def _scores(
    captions: Sequence[Sentence], references: Sequence[Sequence[Sentence]]
) -> dict[str, np.ndarray]:
  """Return each metric of each caption as a constant one, float [captions]."""
  sentences = [*captions, *itertools.chain.from_iterable(references)]
  lengths = np.array(list(map(len, sentences)))
  caption_lengths, reference_lengths = np.split(lengths, [len(captions)])
  sizes = np.array(list(map(len, references)))
  images = np.repeat(np.arange(len(sizes)), sizes)
  all_references = _References(images, 1 / sizes[images], reference_lengths)
  log_bleu = _log_brevity_penalty(caption_lengths, all_references)
  similarity = np.zeros(len(captions))
  for n, ngrams in enumerate(_ngrams(sentences, lengths), 1):
    is_caption = ngrams.rows < len(captions)
    own = _Ngrams(*(part[is_caption] for part in ngrams))
    other = _Ngrams(*(part[~is_caption] for part in ngrams))
    other.rows[:] -= len(captions)
    matches = _matches(own, other, all_references, len(captions))
    guesses = len(references) * np.maximum(caption_lengths - n + 1, 0)
    log_bleu += np.log((matches + _TINY) / (guesses + _SMALL)) / cider.MAX_N
    similarity += _similarities(own, other, all_references, caption_lengths)
  return {'Bleu_4': np.exp(log_bleu),
          'CIDEr': similarity * cider.SCALE / cider.MAX_N / len(references)}


def _ngrams(
    sentences: Sequence[Sentence], lengths: np.ndarray
) -> Iterator[_Ngrams]:
  """Yield the n-grams of the sentences for n = 1, 2, ... cider.MAX_N."""
  word_ids: dict[str, int] = collections.defaultdict(
      itertools.count().__next__)
  words = np.array([word_ids[word] for sentence in sentences
                    for word in sentence], np.int64)
  rows = np.repeat(np.arange(len(sentences)), lengths)
  # For each word, the position after its sentence.
  ends = np.repeat(np.cumsum(lengths), lengths)
  starts = np.arange(len(words))
  ids = np.zeros_like(starts)
  for n in range(1, cider.MAX_N + 1):
    # An n-gram is an (n-1)-gram and one more word.
    fits = starts + n <= ends[starts]
    starts, ids = starts[fits], ids[fits]
    _, ids = np.unique(
        ids * len(word_ids) + words[starts + n - 1], return_inverse=True)
    size = ids.max(initial=0) + 1
    found, counts = np.unique(rows[starts] * size + ids, return_counts=True)
    yield _Ngrams(found // size, found % size, counts)


def _log_brevity_penalty(
    lengths: np.ndarray, references: _References
) -> np.ndarray:
  """Compute the log of BLEU's brevity penalty for caption lengths in words."""
  starts = np.flatnonzero(np.diff(references.images, prepend=-1))
  found, inverse = np.unique(lengths, return_inverse=True)
  logs = np.zeros(len(found))
  for i, length in enumerate(found):
    # coco-caption takes the reference of the closest length, and of two equally
    # close ones the shorter.
    longest = references.lengths.max() + 1
    ranks = np.abs(references.lengths - length) * longest + references.lengths
    nearest = np.minimum.reduceat(ranks, starts) % longest
    logs[i] = min(0, 1 - (nearest.mean() + _SMALL) / (length + _TINY))
  return logs[inverse]


def _matches(
    own: _Ngrams, other: _Ngrams, references: _References, num_captions: int
) -> np.ndarray:
  """Count BLEU's matches of each caption in all images.

  Args:
    own: n-grams of the captions.
    other: n-grams of the references.
    references: all of them.
    num_captions: number of captions.

  Returns:
    float [captions].
  """
  size = _size(own, other)
  of_images = references.images[other.rows] * size + other.ids
  order = np.argsort(of_images)
  found, starts = np.unique(of_images[order], return_index=True)
  max_counts = (np.maximum.reduceat(other.counts[order], starts)
                if len(starts) else starts)
  return _sum_by_row(own, own.counts, num_captions, lambda count: np.bincount(
      found % size, np.minimum(count, max_counts), size))


def _similarities(
    own: _Ngrams, other: _Ngrams, references: _References, lengths: np.ndarray
) -> np.ndarray:
  """Compute CIDEr's similarity of each caption to all references.

  Args:
    own: n-grams of the captions.
    other: n-grams of the references.
    references: all of them.
    lengths: of the captions, in words.

  Returns:
    float [captions], the sum over images.
  """
  size = _size(own, other)
  of_images = np.unique(references.images[other.rows] * size + other.ids)
  frequencies = np.maximum(np.bincount(of_images % size, minlength=size), 1)
  idf = np.log(references.images[-1] + 1) - np.log(frequencies)

  def norms(ngrams: _Ngrams, rows: int) -> np.ndarray:
    return np.sqrt(np.bincount(
        ngrams.rows, (ngrams.counts * idf[ngrams.ids]) ** 2, rows))

  other_lengths = references.lengths[other.rows]
  terms = _divide_no_nan(
      references.weights[other.rows] * other.counts * idf[other.ids] ** 2,
      norms(other, len(references.lengths))[other.rows])
  base = own.counts.max(initial=0) + 1

  def table(kind: int) -> np.ndarray:
    length, count = divmod(kind, base)
    penalty = np.exp(-(length - other_lengths) ** 2 / (2 * cider.SIGMA ** 2))
    return np.bincount(
        other.ids, np.minimum(count, other.counts) * terms * penalty, size)

  return _divide_no_nan(
      _sum_by_row(
          own, lengths[own.rows] * base + own.counts, len(lengths), table),
      norms(own, len(lengths)))


def _size(*parts: _Ngrams) -> int:
  """Return a number above the id of every n-gram."""
  return max(int(ngrams.ids.max(initial=0)) for ngrams in parts) + 1


def _sum_by_row(
    ngrams: _Ngrams, kinds: np.ndarray, num_rows: int,
    table: Callable[[int], np.ndarray],
) -> np.ndarray:
  """Sum, for each row, the terms of its n-grams.

  Args:
    ngrams: of the rows.
    kinds: int [I], what a term depends on besides the n-gram.
    num_rows: number of rows.
    table: computes the terms of all n-grams for a kind, float [n-grams].

  Returns:
    float [num_rows].
  """
  found = np.unique(kinds)
  # Integers of few bits are sorted many times faster.
  order = np.argsort(np.searchsorted(found, kinds).astype(
      np.min_scalar_type(len(found))), kind='stable')
  bounds = np.searchsorted(kinds[order], [*found, np.inf])
  sums = np.zeros(num_rows)
  for kind, first, end in zip(found, bounds[:-1], bounds[1:], strict=True):
    chosen = order[first:end]
    sums += np.bincount(
        ngrams.rows[chosen], table(kind)[ngrams.ids[chosen]], num_rows)
  return sums


def _divide_no_nan(values: np.ndarray, by: np.ndarray) -> np.ndarray:
  """Divide; 0 where the divisor is 0."""
  quotients = np.zeros(len(values))
  np.divide(values, by, out=quotients, where=by > 0)
  return quotients
