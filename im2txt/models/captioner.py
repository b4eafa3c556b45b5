"""An encoder and a decoder, connected for training and for captioning.

Shapes: P images, B captions, T padded caption length, V vocabulary, L regions,
S all of a decoder's state in one row.
"""

import enum
from typing import Any, NamedTuple

import tensorflow as tf

from im2txt import configuration, encoders
from im2txt.decoders import DECODERS, Decoder
from im2txt.inputs import image_processing
from im2txt.inputs.batch import Batch, Encoding
from im2txt.models import losses, scheduled_sampling

tf1 = tf.compat.v1


class Mode(enum.Enum):
  """What a graph is built for."""

  TRAIN = 'train'
  EVAL = 'eval'
  INFERENCE = 'inference'


class Outputs(NamedTuple):
  """The losses of a batch, and the decoder's memory."""

  total_loss: tf.Tensor           # float32 [], nats; with regularisation
  regularization_loss: tf.Tensor  # float32 [], nats
  caption_loss: losses.SequenceLoss
  memory: Any                     # nest of [B, ...], a row a caption


class Connected(NamedTuple):
  """Images connected to an encoder and a decoder, ready for a search."""

  decoder: Decoder
  memory: Any          # the decoder's, nest of [P, ...]
  features: tf.Tensor  # float32 [P, C], the encoder's pooled features


class StepTensors(NamedTuple):
  """The tensors of a step-by-step search; their names never change."""

  image_feed: tf.Tensor     # string [], fed: an image file's bytes
  input_feed: tf.Tensor     # int64 [B], fed: the words just chosen
  state_feed: tf.Tensor     # float32 [B, S], fed
  images: tf.Tensor         # float32 [1, height, width, 3], in [-1, 1]
  memory: Any               # the decoder's, nest of [1, ...]
  initial_state: tf.Tensor  # float32 [1, S], of the image
  softmax: tf.Tensor        # float32 [B, V], probabilities of the next word
  state: tf.Tensor          # float32 [B, S]
  # float32 [B, L], attention over regions; None: the decoder does not attend.
  alignment: tf.Tensor | None


def make_decoder(config: configuration.ModelConfig, training: bool) -> Decoder:
  """Construct the decoder that the configuration names.

  Raises:
    ValueError: there is none, or it needs a `config_class` of its own.
  """
  decoder_class = configuration.lookup(DECODERS, 'decoder', config.decoder)
  if not isinstance(config, decoder_class.config_class):
    raise ValueError(
        f'the decoder {config.decoder!r} needs a '
        f'{decoder_class.config_class.__name__}; use a --config of its own')
  return decoder_class(config, training)


class Captioner:
  """A captioning model: constructed once, connected any number of times.

  Attributes:
    config: the model.
    encoder: the encoder that the configuration names.
  """

  def __init__(
      self, config: configuration.ModelConfig,
      encoder: encoders.Encoder | None = None,
  ):
    """Store what the graphs are built of.

    Args:
      config: the model.
      encoder: the encoder that it names; None: construct it.

    Raises:
      ValueError: there is no such encoder.
    """
    self.config = config
    self.encoder = encoder or encoders.make(config)

  @property
  def attends(self) -> bool:
    """Return whether the decoder attends to regions."""
    return configuration.lookup(
        DECODERS, 'decoder', self.config.decoder).attends

  @property
  def grid(self) -> tuple[int, int]:
    """Return the rows and columns of an image's regions."""
    return self.encoder.grid(self.config.image_height, self.config.image_width)

  def build(
      self,
      mode: Mode,
      batch: Batch,
      train_encoder: bool = False,
      label_smoothing: float = 0.0,
      sampling_rate: tf.Tensor | None = None,
      caption_weights: tf.Tensor | None = None,
  ) -> Outputs:
    """Build the graph of training or evaluation on a batch.

    Args:
      mode: TRAIN or EVAL.
      batch: images and captions.
      train_encoder: whether the encoder's weights are trained too.
      label_smoothing: see `losses.sequence_loss`.
      sampling_rate: float32 [], see `scheduled_sampling`; None: teacher
        forcing.
      caption_weights: float32 [B], see `losses.sequence_loss`.

    Raises:
      ValueError: a feature cache cannot be used with this model.
    """
    training = mode is Mode.TRAIN
    tf1.train.get_or_create_global_step()
    decoder = make_decoder(self.config, training)
    # Once an image, then for each of its captions.
    memory = tf.nest.map_structure(
        lambda x: tf.gather(x, batch.image_rows),
        self._prepare(
            decoder, self.encode(batch.images, train_encoder, training)))
    if sampling_rate is None:
      hidden = decoder.unroll(memory, batch.input_seqs, batch.input_mask)
    else:
      hidden = scheduled_sampling.unroll(
          decoder, memory, batch.input_seqs, sampling_rate)
    caption_loss = losses.sequence_loss(
        hidden, batch.target_seqs, batch.input_mask, decoder.logits,
        label_smoothing, caption_weights)
    regularization_loss = tf1.losses.get_regularization_loss()
    total_loss = tf.add(
        caption_loss.smoothed, regularization_loss, name='total_loss')
    tf1.summary.scalar('losses/batch_loss', caption_loss.mean)
    tf1.summary.scalar('losses/regularization_loss', regularization_loss)
    tf1.summary.scalar('losses/total_loss', total_loss)
    tf1.summary.scalar('accuracy', caption_loss.accuracy)
    return Outputs(total_loss, regularization_loss, caption_loss, memory)

  def encode(
      self,
      images: tf.Tensor | Encoding,
      train_encoder: bool = False,
      training: bool = False,
  ) -> Encoding:
    """Connect the encoder.

    Args:
      images: float32 [P, height, width, 3], pixels in [-1, 1], or the
        encoding of a feature cache, which is passed on.
      train_encoder: whether the encoder's weights are trained.
      training: whether this is the training graph.

    Raises:
      ValueError: an encoder cannot be trained on a feature cache.
    """
    if not isinstance(images, Encoding):
      return self.encoder.encode(images, train_encoder, training)
    if train_encoder:
      raise ValueError('the encoder cannot be trained on a feature cache; give '
                       'the shards of images as --input_file_pattern')
    # The checkpoint holds the whole model, the encoder's variables too.
    self.encoder.encode(
        tf.zeros([1, self.config.image_height, self.config.image_width, 3]),
        False, False)
    return images

  def build_memory(self, encoding: Encoding) -> tuple[Decoder, Any]:
    """Connect the decoder to an encoding, for a search.

    Args:
      encoding: of `encode`, P rows.

    Returns:
      The decoder and its memory of the images, a nest of [P, ...].

    Raises:
      ValueError: a feature cache cannot be used with this model.
    """
    tf1.train.get_or_create_global_step()
    decoder = make_decoder(self.config, training=False)
    return decoder, self._prepare(decoder, encoding)

  def connect(self, images: tf.Tensor | Encoding) -> Connected:
    """Connect encoder and decoder to images, for a search.

    Args:
      images: see `encode`.

    Raises:
      ValueError: a feature cache cannot be used with this model.
    """
    encoding = self.encode(images)
    return Connected(*self.build_memory(encoding), encoding.pooled)

  def build_step(self) -> StepTensors:
    """Build the graph of the step-by-step search, with im2txt's names.

    Tensors `image_feed:0`, `input_feed:0`, `softmax:0` and, in the decoder's
    scope (`lstm` for Show and Tell), `initial_state:0`, `state_feed:0` and
    `state:0`.
    """
    image_feed = tf1.placeholder(tf.string, [], 'image_feed')
    input_feed = tf1.placeholder(tf.int64, [None], 'input_feed')
    images = image_processing.process_image(
        image_feed, False, self.config)[tf.newaxis]
    decoder, memory, _ = self.connect(images)
    state = decoder.initial_state(memory)
    carried = (state, memory) if decoder.step_reads_memory else (state, ())
    packed = _pack(carried)
    state_feed = tf1.placeholder(
        tf.float32, [None, packed.shape[1]], f'{decoder.scope}/state_feed')
    state, fed_memory = _unpack(state_feed, carried)
    hidden, state = decoder.step(
        fed_memory if decoder.step_reads_memory else memory, input_feed, state)
    # The last slash asks for just this name: a decoder's own softmax would
    # otherwise have taken it, for names of operations differ not by case.
    softmax = tf.nn.softmax(decoder.logits(hidden), name='softmax/')
    return StepTensors(
        image_feed, input_feed, state_feed, images, memory,
        tf.identity(packed, f'{decoder.scope}/initial_state'),
        softmax,
        tf.identity(_pack((state, fed_memory)), f'{decoder.scope}/state'),
        state.alignment if decoder.attends else None)

  def _prepare(self, decoder: Decoder, encoding: Encoding) -> Any:
    """Prepare the decoder's memory, if the encoding has what it needs."""
    if encoding.regions is None and decoder.reads_regions:
      raise ValueError(
          f'the decoder {self.config.decoder!r} looks at regions, which these '
          'features lack: make them with data_prep.cache_features '
          '--features=regions')
    return decoder.prepare(encoding)


def _pack(nest: Any) -> tf.Tensor:
  """Flatten and concatenate a nest of [B, ...] to float32 [B, S]."""
  return tf.concat([
      tf.cast(tf.reshape(leaf, [-1, leaf.shape[1:].num_elements()]),
              tf.float32)
      for leaf in tf.nest.flatten(nest)], axis=1)


def _unpack(packed: tf.Tensor, like: Any) -> Any:
  """Undo `_pack`; `like` is any nest of the same structure and shapes."""
  leaves = tf.nest.flatten(like)
  widths = [leaf.shape[1:].num_elements() for leaf in leaves]
  return tf.nest.pack_sequence_as(like, [
      tf.cast(tf.reshape(part, [-1, *leaf.shape[1:]]), leaf.dtype)
      for part, leaf in zip(
          tf.split(packed, widths, axis=1), leaves, strict=True)])
