"""Trained models that choose each word together.

Their probabilities are averaged at each word (Vinyals et al. 2016,
https://arxiv.org/abs/1609.06647, section 4.4). A model alone is what it is.

Shapes: B images, N captions side by side, M any number of positions, V
vocabulary, L regions.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from im2txt import encoders
from im2txt.checkpoints import folder as checkpoints
from im2txt.checkpoints.trained_model import TrainedModel
from im2txt.checkpoints.variable_loader import RestoreFn
from im2txt.decoders import DECODERS, Decoder
from im2txt.inputs import image_processing
from im2txt.inputs.batch import Encoding
from im2txt.models import captioner

tf1 = tf.compat.v1


class Member(NamedTuple):
  """A decoder and the variable scope that its model is in."""

  scope: str
  decoder: Decoder


class State(NamedTuple):
  """What the members remember from word to word."""

  members: tuple[Any, ...]
  alignment: tf.Tensor  # float32 [N, L], mean of the members'


class Ensemble(Decoder):
  """Decoders as one; its memory is a tuple of theirs, V its hidden width."""

  scope = 'ensemble'

  def __init__(self, members: Sequence[Member], attends: bool):
    """Notes the members.

    Args:
      members: made for inference, of one vocabulary.
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
    """Of the members' encodings, a tuple."""
    return self._each(
        lambda decoder, of_member: decoder.prepare(of_member), encoding)

  def initial_state(self, memory: tuple[Any, ...]) -> State:
    """See the base class."""
    return self._state(self._each(
        lambda decoder, of_member: decoder.initial_state(of_member), memory))

  def step(
      self, memory: tuple[Any, ...], words: tf.Tensor, state: State
  ) -> tuple[tf.Tensor, State]:
    """See the base class; hidden is float32 [N, V]."""
    def step(decoder, of_member, before):
      hidden, after = decoder.step(of_member, words, before)
      return decoder.logits(hidden), after

    logits, states = zip(
        *self._each(step, memory, state.members), strict=True)
    return _average(logits), self._state(states)

  def unroll(
      self, memory: tuple[Any, ...], input_seqs: tf.Tensor, mask: tf.Tensor
  ) -> tf.Tensor:
    """See the base class; float32 [B, T, V]."""
    def unroll(decoder, of_member):
      hidden = decoder.unroll(of_member, input_seqs, mask)
      logits = decoder.logits(tf.reshape(hidden, [-1, hidden.shape[-1]]))
      return tf.reshape(logits, tf.concat(
          [tf.shape(hidden)[:2], logits.shape[1:]], axis=0))

    return _average(self._each(unroll, memory))

  def logits(self, hidden: tf.Tensor) -> tf.Tensor:
    """What it is given."""
    return hidden

  def _each(self, function, *of_members) -> tuple[Any, ...]:
    """Calls a function for each member, in its scope."""
    found = []
    for member, *arguments in zip(self._members, *of_members, strict=True):
      with tf1.variable_scope(member.scope, reuse=tf1.AUTO_REUSE):
        found.append(function(member.decoder, *arguments))
    return tuple(found)

  def _state(self, states: Sequence[Any]) -> State:
    rows = tf.shape(tf.nest.flatten(states)[0])[0]
    return State(tuple(states), (
        tf.add_n([state.alignment for state in states]) / len(states)
        if self.attends else tf.zeros([rows, 0])))


def _average(logits: Sequence[tf.Tensor]) -> tf.Tensor:
  """Logarithms of the mean of probabilities, float32 [..., V]."""
  return tf.reduce_logsumexp(
      tf.stack(list(map(tf.nn.log_softmax, logits))), axis=0) - (
          tf.math.log(float(len(logits))))


def encode(
    models: Sequence[TrainedModel], images: tf.Tensor
) -> list[Encoding]:
  """Connects the models' encoders.

  Args:
    models: one or more, see `check`.
    images: float32 [B, height, width, 3], pixels in [-1, 1].
  """
  if len(models) == 1:
    return [captioner.encode(models[0].config, images)]
  encodings = []
  for i, model in enumerate(models):
    with tf1.variable_scope(_scope(i)):
      encodings.append(captioner.encode(model.config, images))
  return encodings


def build_memory(
    models: Sequence[TrainedModel], encodings: Sequence[Encoding]
) -> tuple[Decoder, Any]:
  """Connects the models' decoders as a search needs them.

  Args:
    models: one or more, see `check`.
    encodings: of `encode`.

  Returns:
    A decoder and its memory of the images, a nest of [B, ...].
  """
  if len(models) == 1:
    return captioner.build_memory(models[0].config, encodings[0])
  members, memory = [], []
  for i, (model, encoding) in enumerate(zip(models, encodings, strict=True)):
    with tf1.variable_scope(_scope(i)):
      decoder, of_member = captioner.build_memory(model.config, encoding)
    members.append(Member(_scope(i), decoder))
    memory.append(of_member)
  return Ensemble(members, attends(models)), tuple(memory)


def restorer(models: Sequence[TrainedModel]) -> RestoreFn:
  """Makes a function that restores what `build_memory` and a search made."""
  if len(models) == 1:
    return checkpoints.inference_restorer(models[0].prefix)
  restores = [
      checkpoints.inference_restorer(model.prefix, f'{_scope(i)}/')
      for i, model in enumerate(models)]

  def restore(session: tf1.Session) -> None:
    for restore_one in restores:
      restore_one(session)

  return restore


def check(models: Sequence[TrainedModel]) -> None:
  """Refuses models that cannot choose words together.

  Raises:
    ValueError: two differ in their words or in how they see an image.
  """
  first, *others = models
  for other in others:
    if _words(first) != _words(other):
      raise ValueError(f'{first.prefix} and {other.prefix} have different '
                       'vocabularies; an ensemble needs one')
    if _images(first) != _images(other):
      raise ValueError(
          f'{first.prefix} and {other.prefix} see images differently (sides, '
          'central_crop or resize_ratio); an ensemble must see the same')


def attends(models: Sequence[TrainedModel]) -> bool:
  """Whether it can be said where they look: all do, at the same regions."""
  return (all(DECODERS[model.config.decoder].attends for model in models)
          and len({encoders.make(model.config).grid(
              model.config.image_height, model.config.image_width)
                   for model in models}) == 1)


def check_attention(models: Sequence[TrainedModel]) -> None:
  """Refuse attention sheets of models that cannot say where they look.

  Raises:
    ValueError: one does not attend to regions, or they look at different ones.
  """
  for model in models:
    if not DECODERS[model.config.decoder].attends:
      attending = ', '.join(
          name for name, decoder in DECODERS.items() if decoder.attends)
      raise ValueError(
          f'--attention_dir: the decoder {model.config.decoder!r} of '
          f'{model.prefix} does not attend to regions; {attending} do')
  if not attends(models):
    raise ValueError('--attention_dir: these models divide images into '
                     'different regions; draw the sheets of one of them')


def _words(model: TrainedModel) -> tuple:
  return model.config.vocab_size, *map(
      model.vocab.id_to_word, range(len(model.vocab)))


def _images(model: TrainedModel) -> tuple:
  config = model.config
  return (config.image_height, config.image_width,
          image_processing.seen(config))


def _scope(number: int) -> str:
  return f'member_{number}'
