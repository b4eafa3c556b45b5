"""im2txt's `ShowAndTellModel`: the captioner's graph with its attributes.

Shapes: B batch, T padded caption length, E embedding.
"""

from collections.abc import Callable

import tensorflow as tf

from im2txt import configuration
from im2txt.checkpoints import encoder_weights
from im2txt.inputs import pipeline
from im2txt.inputs.shards import Shards
from im2txt.models import captioner

tf1 = tf.compat.v1


class ShowAndTellModel:
  """Show and Tell, https://arxiv.org/abs/1411.4555.

  The attributes are there after `build()`. The first four can be fed in
  training, and in evaluation if the configuration names no shards; the shards
  are then not read. In inference `image_feed:0`, `input_feed:0` and
  `lstm/state_feed:0` are fed.

  Attributes:
    images: float32 [P, height, width, 3], pixels in [-1, 1], or encoder
      outputs of a feature cache.
    input_seqs: int32 [B, T] (int64 [B, 1] in inference).
    target_seqs: int32 [B, T]; None in inference, as all that follows from it.
    input_mask: int32 [B, T], 1 for words and 0 for padding.
    image_rows: int32 [B], which of the P images a caption is of; follows from
      `input_seqs` where each image has one caption.
    image_embeddings: float32 [B, E].
    seq_embeddings: float32 [B, T, E] ([B, 1, E] in inference).
    total_loss: float32 [], nats; cross-entropy a word and regularisation.
    target_cross_entropy_losses: float32 [B * T], nats; 0 for padding.
    target_cross_entropy_loss_weights: float32 [B * T], the mask.
    inception_variables: the encoder's variables.
    init_fn: called with a session, gives the encoder its pretrained weights;
      None in inference, or if the configuration names no weights.
    global_step: int64 [].
  """

  def __init__(
      self,
      config: configuration.ModelConfig,
      mode: str,
      train_inception: bool = False,
  ):
    """Set what to build.

    Args:
      config: the model; its decoder must be 'show_and_tell'. Its
        `input_file_pattern`, if any, names the shards.
      mode: 'train', 'eval' or 'inference'.
      train_inception: whether the encoder's weights are trained too.

    Raises:
      ValueError: another mode or decoder.
    """
    if config.decoder != 'show_and_tell':
      raise ValueError(f'ShowAndTellModel cannot build {config.decoder!r}; '
                       'captioner.Captioner can')
    self.config = config
    self._captioner = captioner.Captioner(config)
    self.mode = captioner.Mode(mode)
    self.train_inception = train_inception
    self.images: tf.Tensor | None = None
    self.input_seqs: tf.Tensor | None = None
    self.target_seqs: tf.Tensor | None = None
    self.input_mask: tf.Tensor | None = None
    self.image_rows: tf.Tensor | None = None
    self.image_embeddings: tf.Tensor | None = None
    self.seq_embeddings: tf.Tensor | None = None
    self.total_loss: tf.Tensor | None = None
    self.target_cross_entropy_losses: tf.Tensor | None = None
    self.target_cross_entropy_loss_weights: tf.Tensor | None = None
    self.inception_variables: list[tf.Variable] = []
    self.init_fn: Callable[[tf1.Session], None] | None = None
    self.global_step: tf.Variable | None = None

  def build(self) -> None:
    """Build the model in the current graph.

    Raises:
      ValueError: a configuration that cannot be built.
    """
    if self.mode is captioner.Mode.INFERENCE:
      self._build_inference()
    else:
      self._build_training()
    self.seq_embeddings = tf1.get_default_graph().get_tensor_by_name(
        'seq_embedding/embedding_lookup:0')
    if self.mode is captioner.Mode.INFERENCE:
      self.seq_embeddings = self.seq_embeddings[:, tf.newaxis]
    self.inception_variables = encoder_weights.variables(
        self._captioner.encoder)
    self.global_step = tf1.train.get_global_step()

  def _build_inference(self) -> None:
    step = self._captioner.build_step()
    self.images = step.images
    self.input_seqs = step.input_feed[:, tf.newaxis]
    self.image_embeddings = step.memory

  def _build_training(self) -> None:
    training = self.mode is captioner.Mode.TRAIN
    pattern = self.config.input_file_pattern
    shards = (None if pattern is None
              else Shards.find(pattern, self.config.bad_records))
    batch = pipeline.make_batch(shards, self.config, training)
    outputs = self._captioner.build(self.mode, batch, self.train_inception)
    (self.images, self.input_seqs, self.target_seqs, self.input_mask,
     self.image_rows) = batch
    self.image_embeddings = outputs.memory
    self.total_loss = outputs.total_loss
    self.target_cross_entropy_losses = outputs.caption_loss.losses
    self.target_cross_entropy_loss_weights = outputs.caption_loss.weights
    encoder = self._captioner.encoder
    weights = encoder_weights.find(self.config, encoder)
    if weights:
      self.init_fn = encoder_weights.restorer(encoder, weights)
