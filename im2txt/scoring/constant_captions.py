"""The captions that do best when one of them is said of every image.

A model has to beat their scores: saying the same of every image gets that far.

What a constant caption c scores is a sum over its n-grams, n from 1 to 4, of
what each of them adds, which is computed once for all captions.

BLEU (Papineni et al. 2002): an n-gram g that c has c_g times adds
  sum over images of: min(c_g, the most that a reference has g)
to the matches, which are divided by the n-grams that all the copies of c have.

CIDEr (Vedantam et al. 2015, https://arxiv.org/abs/1411.5726; CIDEr-D, as
coco-caption computes it): g adds
  1/|c| * sum over references r of: min(c_g, r_g) r_g idf_g^2 / |r|
                                    * exp(-(len c - len r)^2 / 72)
where the sum depends on g, c_g and the length of c, but on nothing else of c.
"""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

_MAX_N = 4
_SIGMA = 6.0  # Of CIDEr's penalty for another length than the reference's.
_TINY, _SMALL = 1e-15, 1e-9  # With which coco-caption's BLEU avoids 0 / 0.
_AT_ONCE = 100_000  # Captions; bounds the memory.

Sentence = Sequence[str]


def best(
    captions: Iterable[Sentence], references: Sequence[Sequence[Sentence]]
) -> dict[str, tuple[Sentence, float]]:
  """Finds the best captions when said of every image.

  Args:
    captions: words of each caption to choose from; at least one.
    references: for each image, for each of its references, the words.

  Returns:
    By 'Bleu_4' and 'CIDEr': the caption that has most of it, and how much.
  """
  captions = list(captions)
  parts = [_scores(captions[i:i + _AT_ONCE], references)
           for i in range(0, len(captions), _AT_ONCE)]
  found = {}
  for name in parts[0]:
    scores = np.concatenate([part[name] for part in parts])
    chosen = int(np.argmax(scores))
    found[name] = captions[chosen], float(scores[chosen])
  return found


class _Ngrams(NamedTuple):
  """The n-grams of some sentences, for one n."""

  rows: np.ndarray    # int [I], which sentence,
  ids: np.ndarray     # int [I], which n-gram,
  counts: np.ndarray  # int [I], and how often it is there


class _References(NamedTuple):
  """What is known of the references, row by row, but for their words."""

  images: np.ndarray  # int [R], which image each is of, in order
  shares: np.ndarray    # float [R], 1 / references of that image
  lengths: np.ndarray   # int [R], words


def _scores(
    captions: Sequence[Sentence], references: Sequence[Sequence[Sentence]]
) -> dict[str, np.ndarray]:
  """Both scores of each caption, float [captions]."""
  sentences = [*captions, *itertools.chain.from_iterable(references)]
  lengths = np.array(list(map(len, sentences)))
  of_captions, of_references = np.split(lengths, [len(captions)])
  sizes = np.array(list(map(len, references)))
  images = np.repeat(np.arange(len(sizes)), sizes)
  known = _References(images, 1 / sizes[images], of_references)
  log_bleu = _log_brevity(of_captions, known)
  cider = np.zeros(len(captions))
  for n, ngrams in enumerate(_ngrams(sentences, lengths), 1):
    is_caption = ngrams.rows < len(captions)
    own = _Ngrams(*(part[is_caption] for part in ngrams))
    other = _Ngrams(*(part[~is_caption] for part in ngrams))
    other.rows[:] -= len(captions)
    matches = _matches(own, other, known, len(captions))
    guesses = len(references) * np.maximum(of_captions - n + 1, 0)
    log_bleu += np.log((matches + _TINY) / (guesses + _SMALL)) / _MAX_N
    cider += _similarities(own, other, known, of_captions)
  return {'Bleu_4': np.exp(log_bleu),
          'CIDEr': cider * 10 / _MAX_N / len(references)}


def _ngrams(
    sentences: Sequence[Sentence], lengths: np.ndarray
) -> Iterator[_Ngrams]:
  """Yields those of n = 1, 2, ... _MAX_N."""
  word_ids: dict[str, int] = collections.defaultdict(
      itertools.count().__next__)
  words = np.array([word_ids[word] for sentence in sentences
                    for word in sentence], np.int64)
  rows = np.repeat(np.arange(len(sentences)), lengths)
  # Of each word, where its sentence ends.
  ends = np.repeat(np.cumsum(lengths), lengths)
  starts = np.arange(len(words))
  ids = np.zeros_like(starts)
  for n in range(1, _MAX_N + 1):
    # An n-gram is a shorter one and a word.
    whole = starts + n <= ends[starts]
    starts, ids = starts[whole], ids[whole]
    _, ids = np.unique(
        ids * len(word_ids) + words[starts + n - 1], return_inverse=True)
    size = ids.max(initial=0) + 1
    found, counts = np.unique(rows[starts] * size + ids, return_counts=True)
    yield _Ngrams(found // size, found % size, counts)


def _log_brevity(lengths: np.ndarray, references: _References) -> np.ndarray:
  """Log of BLEU's brevity penalty of captions of these lengths, in words."""
  starts = np.flatnonzero(np.diff(references.images, prepend=-1))
  found, where = np.unique(lengths, return_inverse=True)
  logs = np.zeros(len(found))
  for i, length in enumerate(found):
    # Of the references as near, the shorter one, as coco-caption has it.
    longest = references.lengths.max() + 1
    ranks = np.abs(references.lengths - length) * longest + references.lengths
    nearest = np.minimum.reduceat(ranks, starts) % longest
    logs[i] = min(0, 1 - (nearest.mean() + _SMALL) / (length + _TINY))
  return logs[where]


def _matches(
    own: _Ngrams, other: _Ngrams, references: _References, num_captions: int
) -> np.ndarray:
  """BLEU's matches of each caption in all images, int [captions].

  Args:
    own: n-grams of the captions.
    other: n-grams of the references.
    references: of which images these are.
    num_captions: captions there are.
  """
  size = _size(own, other)
  of_images = references.images[other.rows] * size + other.ids
  order = np.argsort(of_images)
  found, starts = np.unique(of_images[order], return_index=True)
  most = (np.maximum.reduceat(other.counts[order], starts)
          if len(starts) else starts)
  return _add_up(own, own.counts, num_captions, lambda count: np.bincount(
      found % size, np.minimum(count, most), size))


def _similarities(
    own: _Ngrams, other: _Ngrams, references: _References, lengths: np.ndarray
) -> np.ndarray:
  """CIDEr's similarities of each caption to all references, float [captions].

  Args:
    own: n-grams of the captions.
    other: n-grams of the references.
    references: what else there is to know of them.
    lengths: of the captions, in words.
  """
  size = _size(own, other)
  of_images = np.unique(references.images[other.rows] * size + other.ids)
  seen = np.maximum(np.bincount(of_images % size, minlength=size), 1)
  idf = np.log(references.images[-1] + 1) - np.log(seen)

  def norms(ngrams: _Ngrams, rows: int) -> np.ndarray:
    return np.sqrt(np.bincount(
        ngrams.rows, (ngrams.counts * idf[ngrams.ids]) ** 2, rows))

  other_lengths = references.lengths[other.rows]
  adds = _divide(
      references.shares[other.rows] * other.counts * idf[other.ids] ** 2,
      norms(other, len(references.lengths))[other.rows])
  base = own.counts.max(initial=0) + 1

  def table(kind: int) -> np.ndarray:
    length, count = divmod(kind, base)
    penalty = np.exp(-(length - other_lengths) ** 2 / (2 * _SIGMA ** 2))
    return np.bincount(
        other.ids, np.minimum(count, other.counts) * adds * penalty, size)

  return _divide(
      _add_up(own, lengths[own.rows] * base + own.counts, len(lengths), table),
      norms(own, len(lengths)))


def _size(*parts: _Ngrams) -> int:
  return max(int(ngrams.ids.max(initial=0)) for ngrams in parts) + 1


def _add_up(
    ngrams: _Ngrams, kinds: np.ndarray, num_rows: int,
    table: Callable[[int], np.ndarray],
) -> np.ndarray:
  """Adds up what a table has of each row's n-grams, float [rows].

  Args:
    ngrams: the rows' n-grams.
    kinds: int [I], what the table depends on.
    num_rows: how many.
    table: makes that of a kind, float [n-grams].
  """
  found = np.unique(kinds)
  # Numbers of few bits are sorted many times faster.
  order = np.argsort(np.searchsorted(found, kinds).astype(
      np.min_scalar_type(len(found))), kind='stable')
  bounds = np.searchsorted(kinds[order], [*found, np.inf])
  sums = np.zeros(num_rows)
  for kind, first, end in zip(found, bounds[:-1], bounds[1:], strict=True):
    chosen = order[first:end]
    sums += np.bincount(
        ngrams.rows[chosen], table(kind)[ngrams.ids[chosen]], num_rows)
  return sums


def _divide(values: np.ndarray, by: np.ndarray) -> np.ndarray:
  """0 where nothing is divided by nothing."""
  return np.divide(values, by, out=np.zeros(len(values)), where=by > 0)
