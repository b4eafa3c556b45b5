"""Searches for captions inside the graph, for a batch of images at once.

`beam_search` finds what `caption_generator.CaptionGenerator` finds, the plain
reference. `greedy` takes the most probable word each time, `sample` draws it.

Shapes: B images, K captions of each side by side, N = B * K, R captions
returned, T longest caption (words, both markers counted), V vocabulary, L
regions of an image, 0 if the decoder does not attend to them, P proposals of
a caption. What follows the end of a caption is end markers too.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from im2txt import decoders
from im2txt.search.rules import MIN_PROBABILITY, Rules, check_at_least

_IMPOSSIBLE = np.float64(-np.inf)
_BLOCK = 32  # Words that are looked at together.


class Captions(NamedTuple):
  """Captions of each image; where one has fewer, -inf in both floats."""

  sentences: tf.Tensor          # int32 [B, R, T], the start marker first
  log_probabilities: tf.Tensor  # float32 [B, R], nats
  scores: tf.Tensor             # float32 [B, R], what they are ranked by
  # float32 [B, R, T, L], where the decoder looked for each word; 0 for the
  # start marker and for what follows the end.
  alignments: tf.Tensor


class _Beam(NamedTuple):
  """Captions while searching; float64 keeps the reference's order."""

  sentences: tf.Tensor          # int32 [B, K, T]
  log_probabilities: tf.Tensor  # float64 [B, K]
  scores: tf.Tensor             # float64 [B, K]
  alignments: tf.Tensor         # float32 [B, K, T, L]


class _Proposals(NamedTuple):
  """The next words of each caption, best first."""

  words: tf.Tensor              # int32 [B, K, P]
  log_probabilities: tf.Tensor  # float64 [B, K, P], of the captions with them
  scores: tf.Tensor             # float64 [B, K, P]


@dataclasses.dataclass(frozen=True)
class Options:
  """How to search.

  Attributes:
    beam_size: partial captions kept at each step; a number or an integer [].
    num_captions: R, at most `beam_size`; None: just as many.
    length_normalization_factor: complete captions are ranked by their log
      probability over their length to the power of this, markers counted.
    beam_groups: groups that share the beam and go one after the other: a word
      costs `diversity_strength` for each partial caption of an earlier group
      that has it at the same place (Vijayakumar et al. 2016, section 4,
      Hamming diversity, https://arxiv.org/abs/1610.02424).
    diversity_strength: in nats.

  Raises:
    ValueError: numbers that find nothing.
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


def readable(decoder: decoders.Decoder, rules: Rules) -> Rules:
  """Rules of captions that a decoder can read.

  Every search asks; a length that is fed is cut to what can be read.

  Raises:
    ValueError: `max_caption_length` is a number, and too great.
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


def beam_search(
    decoder: decoders.Decoder,
    memory: Any,
    rules: Rules,
    options: Options = Options(),
) -> Captions:
  """Searches for the most probable captions.

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
  num_captions = options.num_captions or options.beam_size
  beam_groups = options.beam_groups
  group_size = options.beam_size // beam_groups
  rules = readable(decoder, rules)
  max_length = tf.convert_to_tensor(rules.max_caption_length)
  end_id = rules.vocab.end_id

  def normalizer(length: tf.Tensor) -> tf.Tensor:
    return (tf.cast(length, tf.float64)
            ** options.length_normalization_factor)

  def can_improve(length, partials, completes, _):
    # Log probabilities only fall, and the longest caption divides them most.
    promising = [
        tf.reduce_max(partial.scores, axis=1) / normalizer(max_length)
        > tf.reduce_min(complete.scores, axis=1)
        for partial, complete in zip(partials, completes, strict=True)]
    return (length < max_length) & tf.reduce_any(promising)

  def step(length, partials, completes, state):
    sentences = _join(partials).sentences
    batch_size, width = tf.unstack(tf.shape(sentences)[:2])
    sentences = tf.reshape(sentences, [batch_size * width, max_length])
    probabilities, alignment, state = _read_word(
        decoder, memory, rules, sentences, length, state)
    probabilities, alignment = (
        tf.split(tf.reshape(x, [batch_size, width, x.shape[1]]),
                 beam_groups, axis=1) for x in (probabilities, alignment))
    extended, finished, rows = [], [], []
    for partial, complete, of_group, looked in zip(
        partials, completes, probabilities, alignment, strict=True):
      partial = partial._replace(
          alignments=_put(partial.alignments, length, looked, axis=2))
      proposals = _propose(
          partial, of_group, group_size,
          _costs(extended, length, options.diversity_strength, of_group))
      finished.append(_finish(
          partial, proposals, complete, end_id, normalizer(length + 1)))
      first_row = len(extended) * (width // beam_groups)
      beam, parents = _extend(partial, proposals, end_id, length, group_size)
      extended.append(beam)
      rows.append(first_row + parents)
    rows = tf.concat(rows, axis=1) + width * tf.range(batch_size)[:, tf.newaxis]
    state = tf.nest.map_structure(
        lambda x: tf.gather(x, tf.reshape(rows, [-1])), state)
    return length + 1, extended, finished, state

  state = decoder.initial_state(memory)
  batch_size = _rows(state)
  start = _Beam(
      _first_words(rules, batch_size)[:, tf.newaxis],
      *2 * [tf.zeros([batch_size, 1], tf.float64)],
      _nowhere(decoder, rules, state)[:, tf.newaxis])
  state = tf.nest.map_structure(lambda x: tf.repeat(x, beam_groups, 0), state)
  # A group cannot complete more captions than it has partial ones.
  nothing = _empty(start, tf.minimum(num_captions, group_size))
  _, partials, completes, _ = _loop(
      can_improve, step, beam_groups * [start], beam_groups * [nothing], state)
  complete, partial = _join(completes), _join(partials)
  if beam_groups > 1:
    # What a caption costs for being like others ranks it in its group only.
    lengths = 1 + tf.math.count_nonzero(
        tf.not_equal(complete.sentences, end_id), axis=2)
    complete = _drop_repeats(complete._replace(
        scores=complete.log_probabilities / normalizer(lengths)))
    partial = _drop_repeats(partial._replace(scores=partial.log_probabilities))
  complete, partial = (
      _best(_join([beam, _empty(beam, num_captions)]), num_captions)
      for beam in (complete, partial))
  completed = complete.scores[:, 0] > _IMPOSSIBLE  # [B]
  found = tf.nest.map_structure(
      lambda x, y: tf.where(
          tf.reshape(completed, [-1, *(len(x.shape) - 1) * [1]]), x, y),
      complete, partial)
  return Captions(
      found.sentences, tf.cast(found.log_probabilities, tf.float32),
      tf.cast(found.scores, tf.float32), found.alignments)


def greedy(decoder: decoders.Decoder, memory: Any, rules: Rules) -> Captions:
  """Takes the most probable word each time: a beam of one.

  Args:
    decoder: made for inference.
    memory: of its `prepare`, B rows.
    rules: what a caption may be.

  Returns:
    One caption of each image.
  """
  return _write(decoder, memory, rules, 1, lambda probabilities, _: (
      tf.math.top_k(probabilities, 1).indices[:, 0]))


def sample(
    decoder: decoders.Decoder,
    memory: Any,
    rules: Rules,
    num_samples: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    seed: int | tf.Tensor | None = None,
) -> Captions:
  """Draws each word from the model's probabilities.

  Args:
    decoder: made for inference.
    memory: of its `prepare`, B rows.
    rules: what a caption may be.
    num_samples: R, captions drawn of each image.
    temperature: what log probabilities are divided by first; below 1 favours
      probable words.
    top_k: number of words, the most probable, to draw from; None: all.
    top_p: share of probability to draw from: of the words that are left the
      fewest whose sum reaches it (Holtzman et al. 2020, section 3.1,
      https://arxiv.org/abs/1904.09751).
    seed: number or integer []; the same gives the same captions. None:
      others in every run.

  Returns:
    Captions in the order drawn; the log probabilities are the model's own,
    whatever the temperature.

  Raises:
    ValueError: numbers that nothing can be drawn with.
  """
  check_at_least(1, num_samples=num_samples, top_k=top_k or 1)
  if temperature <= 0.0:
    raise ValueError(f'temperature is {temperature}; it must be above 0; for '
                     'the most probable word use greedy')
  if not 0.0 < top_p <= 1.0:
    raise ValueError(f'top_p is {top_p}; it must be above 0 and at most 1')
  if seed is None:
    seed = tf.random.uniform([], maxval=2**31 - 1, dtype=tf.int32)

  def choose(probabilities: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    words, vocab_size = None, probabilities.shape[1]
    if top_k or top_p < 1.0:
      probabilities, words = tf.math.top_k(
          probabilities, min(top_k or vocab_size, vocab_size))
    logits = tf.math.log(probabilities) / temperature
    if top_p < 1.0:
      shares = tf.nn.softmax(logits)
      before = tf.cumsum(shares, axis=1, exclusive=True)
      logits = tf.where(before < top_p, logits, -np.inf)
    drawn = tf.random.stateless_categorical(
        logits, 1, tf.stack([seed, length]), tf.int32)
    # Of nothing but impossible words it draws one that is not there.
    drawn = tf.minimum(drawn, tf.shape(logits)[1] - 1)
    return (drawn if words is None
            else tf.gather(words, drawn, batch_dims=1))[:, 0]

  return _write(decoder, memory, rules, num_samples, choose)


def _write(
    decoder: decoders.Decoder,
    memory: Any,
    rules: Rules,
    num_captions: int,
    choose: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> Captions:
  """Writes captions that know nothing of each other.

  Args:
    decoder: made for inference.
    memory: of its `prepare`, B rows.
    rules: what a caption may be.
    num_captions: R, of each image.
    choose: next words int32 [N] of their probabilities float32 [N, V] and
      the number of words that are there, integer [].
  """
  rules = readable(decoder, rules)
  end_id = rules.vocab.end_id

  def going_on(length, sentences, log_probabilities, *_):
    return (tf.not_equal(sentences[:, length - 1], end_id)
            & (log_probabilities > _IMPOSSIBLE))

  def any_going_on(length, *captions):
    return (length < rules.max_caption_length) & tf.reduce_any(
        going_on(length, *captions))

  def step(length, sentences, log_probabilities, alignments, state):
    unfinished = going_on(length, sentences, log_probabilities)
    probabilities, alignment, state = _read_word(
        decoder, memory, rules, sentences, length, state)
    words = choose(probabilities, length)
    gains = _log(tf.gather(probabilities, words, batch_dims=1))
    return (
        length + 1,
        _put(sentences, length, tf.where(unfinished, words, end_id), axis=1),
        log_probabilities + tf.where(unfinished, gains, 0.0),
        _put(alignments, length, tf.where(
            unfinished[:, tf.newaxis], alignment, 0.0), axis=1),
        state)

  state = tf.nest.map_structure(
      lambda x: tf.repeat(x, num_captions, 0), decoder.initial_state(memory))
  rows = _rows(state)
  _, sentences, log_probabilities, alignments, _ = _loop(
      any_going_on, step, _first_words(rules, rows),
      tf.zeros([rows], tf.float64), _nowhere(decoder, rules, state), state)
  sentences, log_probabilities, alignments = (
      tf.reshape(x, tf.concat(
          [[rows // num_captions, num_captions], tf.shape(x)[1:]], axis=0))
      for x in (sentences, log_probabilities, alignments))
  log_probabilities = tf.cast(log_probabilities, tf.float32)
  return Captions(
      sentences, log_probabilities, log_probabilities, alignments)


def _loop(
    condition: Callable[..., tf.Tensor], body: Callable[..., tuple],
    *loop_vars: Any,
) -> tuple:
  """Loops over lengths from 1 on; captions may become more or fewer.

  Args:
    condition: whether to go on; takes the length and the loop's variables.
    body: takes and returns these.
    *loop_vars: captions, then the decoder's state [N, ...].
  """
  *captions, state = loop_vars
  shapes = tf.nest.map_structure(
      lambda x: tf.TensorShape(len(x.shape) * [None]), captions)
  state_shapes = tf.nest.map_structure(
      lambda x: tf.TensorShape([None, *x.shape[1:]]), state)
  return tf.while_loop(
      condition, body, (tf.constant(1), *loop_vars),
      (tf.TensorShape([]), *shapes, state_shapes))


def _read_word(
    decoder: decoders.Decoder, memory: Any, rules: Rules,
    sentences: tf.Tensor, length: tf.Tensor, state: Any,
) -> tuple[tf.Tensor, tf.Tensor, Any]:
  """Reads the last words of captions [N, T].

  Returns:
    float32 [N, V], probabilities of the next words, float32 [N, L], where the
    decoder looked for them, and the next state.
  """
  hidden, state = decoder.step(memory, sentences[:, length - 1], state)
  probabilities = rules.allow(
      tf.nn.softmax(decoder.logits(hidden)), sentences, length)
  return probabilities, _alignment(decoder, state), state


def _alignment(decoder: decoders.Decoder, state: Any) -> tf.Tensor:
  """Where the decoder looked last, float32 [N, L]."""
  return (state.alignment if decoder.attends
          else tf.zeros([_rows(state), 0]))


def _nowhere(decoder: decoders.Decoder, rules: Rules, state: Any) -> tf.Tensor:
  """Alignments float32 [N, T, L] of captions that have not begun."""
  rows, regions = tf.unstack(tf.shape(_alignment(decoder, state)))
  return tf.zeros([rows, rules.max_caption_length, regions])


def _propose(
    beam: _Beam, probabilities: tf.Tensor, n: int | tf.Tensor,
    costs: tf.Tensor | None,
) -> _Proposals:
  """The n most probable next words of each caption.

  Args:
    beam: K captions an image.
    probabilities: float32 [B, K, V], of their next words.
    n: how many, if there are as many words.
    costs: float32 [B, V], nats off the score of a word, or None.
  """
  n = tf.minimum(n, probabilities.shape[2])
  if costs is None:
    values, words = _top_words(probabilities, n)
    gains = scores = _log(values)
  else:
    _, words = _top_words(probabilities * tf.exp(-costs)[:, tf.newaxis], n)
    gains = _log(tf.gather(probabilities, words, batch_dims=2))
    scores = gains - tf.cast(tf.gather(costs, words, batch_dims=1), tf.float64)
  return _Proposals(words, beam.log_probabilities[..., tf.newaxis] + gains,
                    beam.scores[..., tf.newaxis] + scores)


def _top_words(
    probabilities: tf.Tensor, n: int | tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
  """`tf.math.top_k` of float32 [B, K, V], none below 0; the same, sooner.

  The n greatest are in the n blocks whose greatest are greatest; to look for
  them there alone takes a third of the time.
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
  chosen = tf.sort(chosen, axis=2)  # Of equal words the lower comes first.
  values, places = tf.math.top_k(
      tf.reshape(tf.gather(blocks, chosen, batch_dims=2),
                 [batch_size, width, -1]), n)
  return values, places % _BLOCK + _BLOCK * tf.gather(
      chosen, places // _BLOCK, batch_dims=2)


def _finish(
    beam: _Beam, proposals: _Proposals, complete: _Beam, end_id: int,
    normalizer: tf.Tensor,
) -> _Beam:
  """Complete captions, those that have just ended among them.

  Args:
    beam: K partial captions an image.
    proposals: of their next words.
    complete: captions that were there before.
    end_id: the end marker.
    normalizer: float64 [], what the score of a caption that ends is over.
  """
  def of_end(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_max(
        tf.where(tf.equal(proposals.words, end_id), x, _IMPOSSIBLE), axis=2)

  # The sentences are filled up with the end marker already.
  ended = _Beam(beam.sentences, of_end(proposals.log_probabilities),
                of_end(proposals.scores) / normalizer, beam.alignments)
  return _best(_join([complete, ended]), tf.shape(complete.scores)[1])


def _extend(
    beam: _Beam, proposals: _Proposals, end_id: int, length: tf.Tensor,
    n: int | tf.Tensor,
) -> tuple[_Beam, tf.Tensor]:
  """The n best captions that go on, and int32 [B, n], which beam each was."""
  batch_size, width, choices = tf.unstack(tf.shape(proposals.words))
  going_on = tf.not_equal(proposals.words, end_id)
  words, log_probabilities, scores = (
      tf.reshape(x, [batch_size, width * choices]) for x in (
          proposals.words,
          tf.where(going_on, proposals.log_probabilities, _IMPOSSIBLE),
          tf.where(going_on, proposals.scores, _IMPOSSIBLE)))
  scores, places = tf.math.top_k(scores, tf.minimum(n, width * choices))
  parents = places // choices
  sentences = tf.gather(beam.sentences, parents, batch_dims=1)
  words = tf.gather(words, places, batch_dims=1)
  return _Beam(
      _put(sentences, length, words, axis=2),
      tf.gather(log_probabilities, places, batch_dims=1), scores,
      tf.gather(beam.alignments, parents, batch_dims=1)), parents


def _costs(
    earlier: Sequence[_Beam], length: tf.Tensor, strength: float,
    probabilities: tf.Tensor,
) -> tf.Tensor | None:
  """What words cost for being in earlier groups too; None for the first."""
  if not earlier:
    return None
  beam = _join(earlier)
  words = beam.sentences[:, :, length]
  rows = tf.range(tf.shape(words)[0])[:, tf.newaxis]
  there = beam.scores > _IMPOSSIBLE
  return strength * tf.scatter_nd(
      tf.stack([tf.broadcast_to(rows, tf.shape(words)), words], axis=-1),
      tf.cast(there, tf.float32),
      [tf.shape(words)[0], probabilities.shape[2]])


def _drop_repeats(beam: _Beam) -> _Beam:
  """Of equal captions, found by several groups, leaves the first."""
  there = beam.scores > _IMPOSSIBLE
  same = there[:, tf.newaxis] & tf.reduce_all(tf.equal(  # [B, K, K]
      beam.sentences[:, :, tf.newaxis], beam.sentences[:, tf.newaxis]), axis=3)
  places = tf.range(tf.shape(there)[1])
  repeated = tf.reduce_any(
      same & (places[:, tf.newaxis] > places), axis=2)
  log_probabilities, scores = (
      tf.where(repeated, _IMPOSSIBLE, x)
      for x in (beam.log_probabilities, beam.scores))
  return beam._replace(log_probabilities=log_probabilities, scores=scores)


def _first_words(rules: Rules, n: tf.Tensor) -> tf.Tensor:
  """Captions int32 [n, T] of the start marker alone."""
  return tf.concat([
      tf.fill([n, 1], rules.vocab.start_id),
      tf.fill([n, rules.max_caption_length - 1], rules.vocab.end_id)], axis=1)


def _put(
    values: tf.Tensor, place: tf.Tensor, new: tf.Tensor, axis: int
) -> tf.Tensor:
  """Values with new ones, which lack the axis T, at one place of it."""
  here = tf.equal(tf.range(tf.shape(values)[axis]), place)
  here = tf.reshape(here, [-1, *(len(values.shape) - axis - 1) * [1]])
  return tf.where(here, tf.expand_dims(new, axis), values)


def _log(probabilities: tf.Tensor) -> tf.Tensor:
  """Logarithms in float64; -inf for what is less than is ever chosen."""
  probabilities = tf.cast(probabilities, tf.float64)
  return tf.where(probabilities < MIN_PROBABILITY, _IMPOSSIBLE,
                  tf.math.log(probabilities))


def _empty(like: _Beam, n: int | tf.Tensor) -> _Beam:
  """n places [B, n] without a caption."""
  batch_size, _, length, regions = tf.unstack(tf.shape(like.alignments))
  nothing = tf.fill([batch_size, n], _IMPOSSIBLE)
  return _Beam(
      tf.zeros([batch_size, n, length], tf.int32), nothing, nothing,
      tf.zeros([batch_size, n, length, regions]))


def _join(beams: Sequence[_Beam]) -> _Beam:
  return tf.nest.map_structure(lambda *x: tf.concat(x, axis=1), *beams)


def _best(beam: _Beam, n: int | tf.Tensor) -> _Beam:
  """The n captions of the highest scores; of equal ones the earlier."""
  _, places = tf.math.top_k(beam.scores, n)
  return tf.nest.map_structure(
      lambda x: tf.gather(x, places, batch_dims=1), beam)


def _rows(state: Any) -> tf.Tensor:
  """Number of captions that a decoder's state is of."""
  return tf.shape(tf.nest.flatten(state)[0])[0]
