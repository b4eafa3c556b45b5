"""Beam search inside the graph, for a batch of images at once.

It finds what `caption_generator.CaptionGenerator`, the plain reference, finds.

Shapes: see `word_step`; besides G groups of beams, k = K / G captions of a
group, P words proposed for each caption.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from im2txt.decoders import Decoder
from im2txt.search import word_step
from im2txt.search.rules import Rules, check_at_least
from im2txt.search.word_step import IMPOSSIBLE, Captions, NextWords

_BLOCK = 32  # Words of a block in `_top_k_by_blocks`.


@dataclasses.dataclass(frozen=True)
class Options:
  """How to search.

  Attributes:
    beam_size: partial captions kept at each step; a number or an integer [].
    num_captions: R, at most `beam_size`; None: as many.
    length_normalization_factor: complete captions are ranked by their log
      probability over their length to the power of this, markers counted.
    beam_groups: groups that share the beam and are extended one after the
      other: a word costs `diversity_strength` for each partial caption of an
      earlier group that has it at the same position (Vijayakumar et al. 2016,
      section 4, Hamming diversity, https://arxiv.org/abs/1610.02424).
    diversity_strength: in nats.

  Raises:
    ValueError: a number is out of its range.
  """

  beam_size: int | tf.Tensor = 3
  num_captions: int | None = None
  length_normalization_factor: float = 0.0
  beam_groups: int = 1
  diversity_strength: float = 0.5

  def __post_init__(self):
    check_at_least(1, beam_groups=self.beam_groups)
    check_at_least(
        0, length_normalization_factor=self.length_normalization_factor,
        diversity_strength=self.diversity_strength)
    if self.num_captions is not None:
      check_at_least(1, num_captions=self.num_captions)
    if isinstance(self.beam_size, int):
      check_at_least(self.num_captions or 1, beam_size=self.beam_size)
      if self.beam_size % self.beam_groups:
        raise ValueError(f'beam_size is {self.beam_size}, which '
                         f'{self.beam_groups} groups cannot share evenly')


def beam_search(
    decoder: Decoder,
    memory: Any,
    rules: Rules,
    options: Options = Options(),
) -> Captions:
  """Search for the most probable captions.

  Each partial caption proposes its `beam_size` most probable next words. A
  proposal that ends joins the complete captions and takes no place among the
  `beam_size` partial ones. The search ends as soon as no partial caption of
  any image can still become one of those returned.

  Args:
    decoder: made for inference.
    memory: of its `prepare`, B rows.
    rules: what a caption may be.
    options: how to search.

  Returns:
    The captions of each image, best first: complete ones or, if nothing was
    completed within T words, partial ones; never both.
  """
  rules = word_step.limit_length(decoder, rules)
  return word_step.search(BeamSearch(rules, options), decoder, memory, rules)


class Hypotheses(NamedTuple):
  """Captions of one group; float64 ranks them as the reference does."""

  sentences: tf.Tensor          # int32 [B, k, T]
  log_probabilities: tf.Tensor  # float64 [B, k]
  scores: tf.Tensor             # float64 [B, k], -inf: no caption
  alignments: tf.Tensor         # float32 [B, k, T, L]


class BeamState(NamedTuple):
  """The captions of each group, best first."""

  partial: tuple[Hypotheses, ...]   # without the end marker; at first k is 1
  complete: tuple[Hypotheses, ...]  # with it; k is the same at every step


class _Proposals(NamedTuple):
  """The next words of each caption, best first."""

  words: tf.Tensor              # int32 [B, k, P]
  log_probabilities: tf.Tensor  # float64 [B, k, P], of the extended captions
  scores: tf.Tensor             # float64 [B, k, P]


class BeamSearch(word_step.Strategy):
  """Beam search, in groups if diverse captions are asked for."""

  def __init__(self, rules: Rules, options: Options):
    """Initialize with rules of `limit_length` and with options."""
    self.initial_width = options.beam_groups
    self._end_id = rules.vocab.end_id
    self._max_length = rules.max_caption_length
    self._options = options
    self._group_size = options.beam_size // options.beam_groups
    self._num_captions = options.num_captions or options.beam_size

  def begin(self, sentences: tf.Tensor, alignments: tf.Tensor) -> BeamState:
    num_groups = self._options.beam_groups
    zeros = tf.zeros(tf.shape(sentences)[:1], tf.float64)
    partial = _split(Hypotheses(*(
        word_step.add_caption_axis(x, num_groups)
        for x in (sentences, zeros, zeros, alignments))), num_groups)
    # A group cannot complete more captions than it has partial ones.
    empty = _empty(partial[0], tf.minimum(self._num_captions,
                                          self._group_size))
    return BeamState(partial, num_groups * (empty,))

  def unfinished(self, length: tf.Tensor, state: BeamState) -> tf.Tensor:
    # Log probabilities only fall, and the longest caption divides them most.
    return tf.reduce_any([
        tf.reduce_max(partial.scores, axis=1)
        / self._normalizer(self._max_length)
        > tf.reduce_min(complete.scores, axis=1)
        for partial, complete in zip(*state, strict=True)])

  def sentences(self, state: BeamState) -> tf.Tensor:
    sentences = tf.concat([x.sentences for x in state.partial], axis=1)
    return tf.reshape(sentences, [-1, self._max_length])

  def step(
      self, length: tf.Tensor, state: BeamState, next_words: NextWords
  ) -> tuple[BeamState, tf.Tensor]:
    batch_size, group_width = tf.unstack(
        tf.shape(state.partial[0].scores))
    width = self._options.beam_groups * group_width
    probabilities, alignment = (
        tf.split(tf.reshape(x, [batch_size, width, x.shape[1]]),
                 self._options.beam_groups, axis=1) for x in next_words)
    partial, complete, parents = [], [], []
    for group, beam in enumerate(state.partial):
      beam = beam._replace(alignments=word_step.write_at(
          beam.alignments, length, alignment[group], axis=2))
      proposals = _propose(
          beam, probabilities[group], self._group_size, _diversity_penalty(
              partial, length, self._options.diversity_strength,
              probabilities[group]))
      complete.append(self._add_completed(
          state.complete[group], beam, proposals, length))
      extended, rows = _extend(
          beam, proposals, self._end_id, length, self._group_size)
      partial.append(extended)
      parents.append(group * group_width + rows)
    parents = (tf.concat(parents, axis=1)
               + width * tf.range(batch_size)[:, tf.newaxis])  # [B, K]
    return (BeamState(tuple(partial), tuple(complete)),
            tf.reshape(parents, [-1]))

  def finish(self, state: BeamState) -> Captions:
    partial, complete = (_concat(groups) for groups in state)
    if self._options.beam_groups > 1:
      partial, complete = self._merge_groups(partial, complete)
    partial, complete = (
        _top(_concat([beam, _empty(beam, self._num_captions)]),
             self._num_captions) for beam in (partial, complete))
    has_complete = complete.scores[:, 0] > IMPOSSIBLE  # [B]
    found = tf.nest.map_structure(
        lambda x, y: tf.where(
            tf.reshape(has_complete, [-1, *(len(x.shape) - 1) * [1]]), x, y),
        complete, partial)
    return Captions(
        found.sentences, tf.cast(found.log_probabilities, tf.float32),
        tf.cast(found.scores, tf.float32), found.alignments)

  def _normalizer(self, length: int | tf.Tensor) -> tf.Tensor:
    """Return what the score of a complete caption is divided by, float64."""
    return (tf.cast(length, tf.float64)
            ** self._options.length_normalization_factor)

  def _add_completed(
      self, complete: Hypotheses, partial: Hypotheses, proposals: _Proposals,
      length: tf.Tensor,
  ) -> Hypotheses:
    """Add the partial captions that may end now to the complete ones.

    Args:
      complete: captions that have ended before.
      partial: captions that go on.
      proposals: next words of these.
      length: int32 [], words of these.

    Returns:
      The best of all, as many as `complete` has.
    """
    def of_end(x: tf.Tensor) -> tf.Tensor:
      return tf.reduce_max(tf.where(
          tf.equal(proposals.words, self._end_id), x, IMPOSSIBLE), axis=2)

    # The sentences are filled up with the end marker already.
    ended = Hypotheses(
        partial.sentences, of_end(proposals.log_probabilities),
        of_end(proposals.scores) / self._normalizer(length + 1),
        partial.alignments)
    return _top(_concat([complete, ended]), tf.shape(complete.scores)[1])

  def _merge_groups(
      self, partial: Hypotheses, complete: Hypotheses
  ) -> tuple[Hypotheses, Hypotheses]:
    """Rank the captions of all groups by one score and drop duplicates.

    The diversity penalty ranks a caption within its own group only.
    """
    lengths = 1 + tf.math.count_nonzero(
        tf.not_equal(complete.sentences, self._end_id), axis=2)
    return (
        _mask_duplicates(partial._replace(scores=partial.log_probabilities)),
        _mask_duplicates(complete._replace(
            scores=complete.log_probabilities / self._normalizer(lengths))))


def _propose(
    beam: Hypotheses, probabilities: tf.Tensor, n: int | tf.Tensor,
    penalty: tf.Tensor | None,
) -> _Proposals:
  """Propose the n best next words of each caption.

  Args:
    beam: partial captions of a group.
    probabilities: float32 [B, k, V], of their next words.
    n: P, if the vocabulary has as many words.
    penalty: float32 [B, V], nats to subtract from the score of a word; None:
      nothing.
  """
  n = tf.minimum(n, probabilities.shape[2])
  if penalty is None:
    values, words = _top_k_by_blocks(probabilities, n)
    gains = scores = word_step.log_probability(values)
  else:
    _, words = _top_k_by_blocks(
        probabilities * tf.exp(-penalty)[:, tf.newaxis], n)
    gains = word_step.log_probability(
        tf.gather(probabilities, words, batch_dims=2))
    scores = gains - tf.cast(
        tf.gather(penalty, words, batch_dims=1), tf.float64)
  return _Proposals(words, beam.log_probabilities[..., tf.newaxis] + gains,
                    beam.scores[..., tf.newaxis] + scores)


def _top_k_by_blocks(
    probabilities: tf.Tensor, n: int | tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
  """Compute `tf.math.top_k` of float32 [B, k, V], no value below 0.

  The n greatest values lie in the n blocks with the greatest maxima. To search
  only these takes a third of the time.

  Returns:
    Values float32 [B, k, n] and indices int32 [B, k, n], as `top_k` does.
  """
  num_blocks = -(-probabilities.shape[2] // _BLOCK)
  padding = num_blocks * _BLOCK - probabilities.shape[2]
  if padding:
    probabilities = tf.pad(
        probabilities, [[0, 0], [0, 0], [0, padding]], constant_values=-1.0)
  batch_size, width = tf.unstack(tf.shape(probabilities)[:2])
  blocks = tf.reshape(probabilities, [batch_size, width, num_blocks, _BLOCK])
  _, chosen = tf.math.top_k(
      tf.reduce_max(blocks, axis=3), tf.minimum(n, num_blocks))
  # `top_k` puts the lower index of equal values first: keep the order.
  chosen = tf.sort(chosen, axis=2)
  values, places = tf.math.top_k(
      tf.reshape(tf.gather(blocks, chosen, batch_dims=2),
                 [batch_size, width, -1]), n)
  return values, places % _BLOCK + _BLOCK * tf.gather(
      chosen, places // _BLOCK, batch_dims=2)


def _extend(
    beam: Hypotheses, proposals: _Proposals, end_id: int, length: tf.Tensor,
    n: int | tf.Tensor,
) -> tuple[Hypotheses, tf.Tensor]:
  """Extend partial captions by the n best words that do not end them.

  Args:
    beam: partial captions of a group.
    proposals: their next words.
    end_id: the end marker.
    length: int32 [], words of each.
    n: partial captions to keep.

  Returns:
    The extended captions, and which of `beam` each extends, int32 [B, n].
  """
  batch_size, width, choices = tf.unstack(tf.shape(proposals.words))
  goes_on = tf.not_equal(proposals.words, end_id)
  words, log_probabilities, scores = (
      tf.reshape(x, [batch_size, width * choices]) for x in (
          proposals.words,
          tf.where(goes_on, proposals.log_probabilities, IMPOSSIBLE),
          tf.where(goes_on, proposals.scores, IMPOSSIBLE)))
  scores, chosen = tf.math.top_k(scores, tf.minimum(n, width * choices))
  parents = chosen // choices
  sentences = tf.gather(beam.sentences, parents, batch_dims=1)
  words = tf.gather(words, chosen, batch_dims=1)
  return Hypotheses(
      word_step.write_at(sentences, length, words, axis=2),
      tf.gather(log_probabilities, chosen, batch_dims=1), scores,
      tf.gather(beam.alignments, parents, batch_dims=1)), parents


def _diversity_penalty(
    earlier: Sequence[Hypotheses], length: tf.Tensor, strength: float,
    probabilities: tf.Tensor,
) -> tf.Tensor | None:
  """Compute what a word costs that earlier groups have at this position.

  Args:
    earlier: groups that have been extended at this step.
    length: int32 [], the position.
    strength: nats for each caption that has the word.
    probabilities: float32 [B, k, V], of the next words.

  Returns:
    float32 [B, V], nats; None if there is no earlier group.
  """
  if not earlier:
    return None
  beam = _concat(earlier)
  words = beam.sentences[:, :, length]
  rows = tf.range(tf.shape(words)[0])[:, tf.newaxis]
  exists = beam.scores > IMPOSSIBLE
  return strength * tf.scatter_nd(
      tf.stack([tf.broadcast_to(rows, tf.shape(words)), words], axis=-1),
      tf.cast(exists, tf.float32),
      [tf.shape(words)[0], probabilities.shape[2]])


def _mask_duplicates(beam: Hypotheses) -> Hypotheses:
  """Make all but the first of equal captions impossible."""
  exists = beam.scores > IMPOSSIBLE
  same = exists[:, tf.newaxis] & tf.reduce_all(tf.equal(  # [B, K, K]
      beam.sentences[:, :, tf.newaxis], beam.sentences[:, tf.newaxis]), axis=3)
  indices = tf.range(tf.shape(exists)[1])
  repeated = tf.reduce_any(
      same & (indices[:, tf.newaxis] > indices), axis=2)
  log_probabilities, scores = (
      tf.where(repeated, IMPOSSIBLE, x)
      for x in (beam.log_probabilities, beam.scores))
  return beam._replace(log_probabilities=log_probabilities, scores=scores)


def _empty(like: Hypotheses, n: int | tf.Tensor) -> Hypotheses:
  """Return n slots [B, n] without a caption."""
  batch_size, _, length, regions = tf.unstack(tf.shape(like.alignments))
  impossible = tf.fill([batch_size, n], IMPOSSIBLE)
  return Hypotheses(
      tf.zeros([batch_size, n, length], tf.int32), impossible, impossible,
      tf.zeros([batch_size, n, length, regions]))


def _top(beam: Hypotheses, n: int | tf.Tensor) -> Hypotheses:
  """Return the n captions of the highest scores, of equal ones the earlier."""
  _, indices = tf.math.top_k(beam.scores, n)
  return tf.nest.map_structure(
      lambda x: tf.gather(x, indices, batch_dims=1), beam)


def _concat(beams: Sequence[Hypotheses]) -> Hypotheses:
  return tf.nest.map_structure(lambda *x: tf.concat(x, axis=1), *beams)


def _split(beam: Hypotheses, n: int) -> tuple[Hypotheses, ...]:
  return tuple(Hypotheses(*x) for x in zip(
      *(tf.split(x, n, axis=1) for x in beam), strict=True))
