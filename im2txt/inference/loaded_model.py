"""One object that captions: of a checkpoint, a packed model or an ensemble."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from im2txt import configuration
from im2txt.checkpoints import encoder_weights, restore, trained_model
from im2txt.checkpoints.trained_model import TrainedModel
from im2txt.checkpoints.variable_loader import RestoreFn
from im2txt.decoders import DECODERS
from im2txt.inference.ensemble import Ensemble
from im2txt.inputs import image_processing
from im2txt.inputs.shards import Shards
from im2txt.models.captioner import Captioner
from im2txt.text.vocabulary import Vocabulary

tf1 = tf.compat.v1


@dataclasses.dataclass(frozen=True)
class LoadedModel:
  """A trained model, or several that choose each word together.

  Build a graph with `captioner.connect`, then restore it:

    model = loaded_model.load(['runs/coco'])
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
      decoder, memory, _ = model.captioner.connect(images)
      captions = beam_search.beam_search(
          decoder, memory, Rules(model.vocab), Options())
      model.restorer()(session)

  Attributes:
    members: the models, in the order given.
    captioner: connects them to images.
    scopes: of the members' variables; '' or end in a slash.
  """

  members: tuple[TrainedModel, ...]
  captioner: Captioner | Ensemble
  scopes: tuple[str, ...]

  @property
  def vocab(self) -> Vocabulary:
    """The vocabulary; all members have the same."""
    return self._first.vocab

  @property
  def config(self) -> configuration.ModelConfig:
    """The configuration that says how images are processed."""
    return self.captioner.config

  @property
  def prefixes(self) -> list[str]:
    """The members' checkpoints, for messages and journals."""
    return [member.prefix for member in self.members]

  @property
  def _first(self) -> TrainedModel:
    """The member that stands for all, where all are alike."""
    return self.members[0]

  def restorer(self) -> RestoreFn:
    """Make a function that restores what `captioner.connect` has built.

    Returns:
      A function to be called with a session. It raises ValueError if a
      checkpoint is damaged or of another model.
    """
    restorers = [
        restore.inference_restorer(member.prefix, scope)
        for member, scope in zip(self.members, self.scopes, strict=True)]

    def restore_all(session: tf1.Session) -> None:
      for restore_member in restorers:
        restore_member(session)

    return restore_all

  def check_attention(self, flag: str) -> None:
    """Refuse a model whose captions have no attention.

    Args:
      flag: that asks for attention, for the message.

    Raises:
      ValueError: a member does not attend to regions, or the members divide
        images into different regions.
    """
    for member in self.members:
      if not member.captioner.attends:
        attending = ', '.join(
            name for name, other in DECODERS.items() if other.attends)
        decoder = member.config.decoder
        raise ValueError(
            f'--{flag}: the decoder {decoder!r} of {member.prefix} does not '
            f'attend to regions; {attending} do')
    if not self.captioner.attends:
      raise ValueError(f'--{flag}: these models divide images into different '
                       'regions; draw the sheets of one of them')

  def check_features(self, shards: Shards) -> None:
    """Refuse feature shards that another encoder made.

    `captioner.connect` gives the features of the first member's encoder.

    Args:
      shards: of features, or of images, which always pass.

    Raises:
      OSError: the model's weights cannot be read.
      ValueError: other weights made the features.
    """
    encoder = self._first.captioner.encoder
    encoder_weights.check_features(
        self.config, encoder, shards, restore.read_scope(
            self._first.prefix, f'{encoder.scope}/'))


def load(
    checkpoint_paths: Sequence[str] = (trained_model.PRETRAINED,),
    vocab_file: str | None = None,
) -> LoadedModel:
  """Find a model, or several that are to choose each word together.

  Args:
    checkpoint_paths: checkpoints, packed models or folders of them.
    vocab_file: their vocabulary; None: the one beside each.

  Raises:
    OSError: there is no such checkpoint, or the vocabulary can't be read.
    ValueError: the vocabulary is not of the model, or the models cannot be
      used together.
  """
  return combine([
      trained_model.find(path, vocab_file) for path in checkpoint_paths])


def combine(members: Sequence[TrainedModel]) -> LoadedModel:
  """Make one object of one model or several.

  Raises:
    ValueError: two differ in their words or in how they process an image.
  """
  first, *others = members
  if not others:
    return LoadedModel((first,), first.captioner, ('',))
  for other in others:
    if _words(first) != _words(other):
      raise ValueError(f'{first.prefix} and {other.prefix} have different '
                       'vocabularies; an ensemble needs one')
    if _image_processing(first) != _image_processing(other):
      raise ValueError(
          f'{first.prefix} and {other.prefix} see images differently (sides, '
          'central_crop or resize_ratio); an ensemble must see the same')
  ensemble = Ensemble([member.captioner for member in members])
  return LoadedModel(tuple(members), ensemble, tuple(
      f'{scope}/' for scope in ensemble.scopes))


def _words(model: TrainedModel) -> tuple:
  return model.config.vocab_size, *map(
      model.vocab.id_to_word, range(len(model.vocab)))


def _image_processing(model: TrainedModel) -> tuple:
  config = model.config
  return (config.image_height, config.image_width,
          image_processing.visible_fraction(config))
