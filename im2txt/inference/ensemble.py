"""Models that choose each word together.

Their probabilities are averaged at each word (Vinyals et al. 2016,
https://arxiv.org/abs/1609.06647, section 4.4).

Shapes: B images, N captions side by side, M any number of positions, V
vocabulary, L regions.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from im2txt import configuration
from im2txt.decoders import Decoder
from im2txt.models.captioner import Captioner, Connected

tf1 = tf.compat.v1


class Member(NamedTuple):
  """A decoder and the variable scope that its model is in."""

  scope: str
  decoder: Decoder


class State(NamedTuple):
  """The members' states."""

  members: tuple[Any, ...]
  alignment: tf.Tensor  # float32 [N, L], mean of the members'


class EnsembleDecoder(Decoder):
  """Decoders as one; its memory is a tuple of theirs, V its hidden width."""

  scope = 'ensemble'

  def __init__(self, members: Sequence[Member], attends: bool):
    """Take the members.

    Args:
      members: built for inference, of one vocabulary.
      attends: whether all do, to the same regions.
    """
    self._members = members
    decoders = [member.decoder for member in members]
    self.step_reads_memory = any(x.step_reads_memory for x in decoders)
    self.reads_regions = any(x.reads_regions for x in decoders)
    self.attends = attends
    self.max_length = min(
        (x.max_length for x in decoders if x.max_length is not None),
        default=None)

  def prepare(self, encoding: Any) -> tuple[Any, ...]:
    """Compute the members' memories of a tuple of their encodings."""
    return self._each(
        lambda decoder, of_member: decoder.prepare(of_member), encoding)

  def initial_state(self, memory: tuple[Any, ...]) -> State:
    """Return the members' states before the first word."""
    return self._state(self._each(
        lambda decoder, of_member: decoder.initial_state(of_member), memory))

  def step(
      self, memory: tuple[Any, ...], words: tf.Tensor, state: State
  ) -> tuple[tf.Tensor, State]:
    """Read one word of each caption; hidden is float32 [N, V]."""
    def step(decoder, of_member, before):
      hidden, after = decoder.step(of_member, words, before)
      return decoder.logits(hidden), after

    logits, states = zip(
        *self._each(step, memory, state.members), strict=True)
    return _average(logits), self._state(states)

  def unroll(
      self, memory: tuple[Any, ...], input_seqs: tf.Tensor, mask: tf.Tensor
  ) -> tf.Tensor:
    """Read whole captions; hidden is float32 [B, T, V]."""
    def unroll(decoder, of_member):
      hidden = decoder.unroll(of_member, input_seqs, mask)
      logits = decoder.logits(tf.reshape(hidden, [-1, hidden.shape[-1]]))
      return tf.reshape(logits, tf.concat(
          [tf.shape(hidden)[:2], logits.shape[1:]], axis=0))

    return _average(self._each(unroll, memory))

  def logits(self, hidden: tf.Tensor) -> tf.Tensor:
    """Return `hidden`, which is the logits already."""
    return hidden

  def _each(self, function, *of_members) -> tuple[Any, ...]:
    """Call a function for each member, in its scope."""
    results = []
    for member, *arguments in zip(self._members, *of_members, strict=True):
      with tf1.variable_scope(member.scope, reuse=tf1.AUTO_REUSE):
        results.append(function(member.decoder, *arguments))
    return tuple(results)

  def _state(self, states: Sequence[Any]) -> State:
    rows = tf.shape(tf.nest.flatten(states)[0])[0]
    return State(tuple(states), (
        tf.add_n([state.alignment for state in states]) / len(states)
        if self.attends else tf.zeros([rows, 0])))


def _average(logits: Sequence[tf.Tensor]) -> tf.Tensor:
  """Compute the logarithms of mean probabilities, float32 [..., V]."""
  return tf.reduce_logsumexp(
      tf.stack(list(map(tf.nn.log_softmax, logits))), axis=0) - (
          tf.math.log(float(len(logits))))


class Ensemble:
  """Captioners as one, with the interface of `Captioner` for a search.

  Attributes:
    config: of the first member; all process images alike.
    scopes: the variable scope of each member.
    attends: whether all members attend, to the same regions.
    grid: rows and columns of the first member's regions.
  """

  def __init__(self, captioners: Sequence[Captioner]):
    """Take the members.

    Args:
      captioners: of one vocabulary and one way to process images.
    """
    self._captioners = captioners
    self.config: configuration.ModelConfig = captioners[0].config
    self.scopes = tuple(f'member_{i}' for i in range(len(captioners)))
    self.grid: tuple[int, int] = captioners[0].grid
    self.attends = all(
        captioner.attends and captioner.grid == self.grid
        for captioner in captioners)

  def connect(self, images: tf.Tensor) -> Connected:
    """Connect all members to images, for a search.

    Args:
      images: float32 [B, height, width, 3], pixels in [-1, 1].

    Returns:
      The members as one decoder, its memory, and the features of the first
      member's encoder.
    """
    connected = []
    for scope, captioner in zip(self.scopes, self._captioners, strict=True):
      with tf1.variable_scope(scope):
        connected.append(captioner.connect(images))
    members = [Member(scope, member.decoder)
               for scope, member in zip(self.scopes, connected, strict=True)]
    return Connected(
        EnsembleDecoder(members, self.attends),
        tuple(member.memory for member in connected), connected[0].features)
