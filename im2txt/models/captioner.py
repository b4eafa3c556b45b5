"""Connects an encoder and a decoder, once for training and once for captions.

Shapes: B batch, T padded caption length, V vocabulary, L regions, S all of a
decoder's state in one row.
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
  """What training and evaluation look at."""

  total_loss: tf.Tensor           # float32 [], nats; with regularisation
  regularization_loss: tf.Tensor  # float32 [], nats
  caption_loss: losses.SequenceLoss
  memory: Any                     # the decoder's, nest of [B, ...], a row
                                  # a caption


class StepTensors(NamedTuple):
  """What a step-by-step search feeds and fetches; all named for good."""

  image_feed: tf.Tensor     # string [], fed: an image file's bytes
  input_feed: tf.Tensor     # int64 [B], fed: the words just chosen
  state_feed: tf.Tensor     # float32 [B, S], fed
  images: tf.Tensor         # float32 [1, height, width, 3], in [-1, 1]
  memory: Any               # the decoder's, nest of [1, ...]
  initial_state: tf.Tensor  # float32 [1, S], of the image
  softmax: tf.Tensor        # float32 [B, V], probabilities of the next word
  state: tf.Tensor          # float32 [B, S]
  # float32 [B, L], the regions' shares; None: the decoder does not attend.
  alignment: tf.Tensor | None


def load_config(folder: str) -> configuration.Config:
  """Reads the configuration of a run folder.

  Raises:
    OSError: the folder has none.
    ValueError: it has a mistake; the message names file and field.
  """
  source = f'{folder}/{configuration.CONFIG_FILE}'
  sections = configuration.read(folder)
  decoder = sections['model'].get(
      'decoder', configuration.ModelConfig().decoder)
  return configuration.Config(
      model=configuration.fill(
          configuration.choose(
              DECODERS, f'{source}: decoder', decoder).config_class,
          sections['model'], source),
      training=configuration.fill(
          configuration.TrainingConfig, sections['training'], source),
      name=sections['name'])


def make_decoder(config: configuration.ModelConfig, training: bool) -> Decoder:
  """Constructs the decoder that the configuration names.

  Raises:
    ValueError: there is none, or it needs a `config_class` of its own.
  """
  decoder_class = configuration.choose(DECODERS, 'decoder', config.decoder)
  if not isinstance(config, decoder_class.config_class):
    raise ValueError(
        f'the decoder {config.decoder!r} needs a '
        f'{decoder_class.config_class.__name__}; use a --config of its own')
  return decoder_class(config, training)


def build(
    config: configuration.ModelConfig,
    mode: Mode,
    batch: Batch,
    train_encoder: bool = False,
    label_smoothing: float = 0.0,
    sampling_rate: tf.Tensor | None = None,
    caption_weights: tf.Tensor | None = None,
) -> Outputs:
  """Builds the graph of training or evaluation on a batch.

  Args:
    config: the model.
    mode: TRAIN or EVAL.
    batch: what to look at.
    train_encoder: whether the encoder's weights are trained too.
    label_smoothing: see `losses.sequence_loss`.
    sampling_rate: float32 [], see `scheduled_sampling`; None: the captions
      are read as they are.
    caption_weights: float32 [B], see `losses.sequence_loss`.

  Raises:
    ValueError: a feature cache cannot be used with this model.
  """
  training = mode is Mode.TRAIN
  tf1.train.get_or_create_global_step()
  decoder = make_decoder(config, training)
  # Once an image, then for each of its captions.
  memory = tf.nest.map_structure(
      lambda x: tf.gather(x, batch.image_rows),
      _prepare(config, decoder,
               encode(config, batch.images, train_encoder, training)))
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
    config: configuration.ModelConfig,
    images: tf.Tensor | Encoding,
    train_encoder: bool = False,
    training: bool = False,
) -> Encoding:
  """Connects the encoder.

  Args:
    config: the model.
    images: float32 [B, height, width, 3], pixels in [-1, 1], or what a
      feature cache has of them, which is passed on.
    train_encoder: whether its weights are trained.
    training: whether this is the training graph.

  Raises:
    ValueError: an encoder cannot be trained on a feature cache.
  """
  encoder = encoders.make(config)
  if not isinstance(images, Encoding):
    return encoder.encode(images, train_encoder, training)
  if train_encoder:
    raise ValueError('the encoder cannot be trained on a feature cache; give '
                     'the shards of images as --input_file_pattern')
  # The checkpoint holds the whole model, the encoder's variables too.
  encoder.encode(
      tf.zeros([1, config.image_height, config.image_width, 3]), False, False)
  return images


def build_memory(
    config: configuration.ModelConfig, encoding: Encoding
) -> tuple[Decoder, Any]:
  """Connects the decoder as a search needs it.

  Args:
    config: the model.
    encoding: of `encode`, B rows.

  Returns:
    The decoder and its memory of the images, a nest of [B, ...].

  Raises:
    ValueError: a feature cache cannot be used with this model.
  """
  tf1.train.get_or_create_global_step()
  decoder = make_decoder(config, training=False)
  return decoder, _prepare(config, decoder, encoding)


def _prepare(
    config: configuration.ModelConfig, decoder: Decoder, encoding: Encoding
) -> Any:
  if encoding.regions is None and decoder.reads_regions:
    raise ValueError(
        f'the decoder {config.decoder!r} looks at regions, which these '
        'features lack: make them with data_prep.cache_features '
        '--features=regions')
  return decoder.prepare(encoding)


def build_step(config: configuration.ModelConfig) -> StepTensors:
  """Builds the graph of the step-by-step search, as im2txt names it.

  Tensors `image_feed:0`, `input_feed:0`, `softmax:0` and, in the decoder's
  scope (`lstm` for Show and Tell), `initial_state:0`, `state_feed:0` and
  `state:0`.
  """
  image_feed = tf1.placeholder(tf.string, [], 'image_feed')
  input_feed = tf1.placeholder(tf.int64, [None], 'input_feed')
  images = image_processing.process_image(
      image_feed, False, config)[tf.newaxis]
  decoder, memory = build_memory(config, encode(config, images))
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


def _pack(nest: Any) -> tf.Tensor:
  """A nest of [B, ...] as one row float32 [B, S] each."""
  return tf.concat([
      tf.cast(tf.reshape(leaf, [-1, leaf.shape[1:].num_elements()]),
              tf.float32)
      for leaf in tf.nest.flatten(nest)], axis=1)


def _unpack(packed: tf.Tensor, like: Any) -> Any:
  """Undoes `_pack`; `like` is any nest of the same structure and shapes."""
  leaves = tf.nest.flatten(like)
  widths = [leaf.shape[1:].num_elements() for leaf in leaves]
  return tf.nest.pack_sequence_as(like, [
      tf.cast(tf.reshape(part, [-1, *leaf.shape[1:]]), leaf.dtype)
      for part, leaf in zip(
          tf.split(packed, widths, axis=1), leaves, strict=True)])
