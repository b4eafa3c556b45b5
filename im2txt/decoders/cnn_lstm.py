"""CNN-LSTM: Show and Tell as PyTorch's COCO tutorial has made it known.

Choi's "Image Captioning" of pytorch-tutorial, also "Hands-on Natural Language
Processing with PyTorch", chapter 2: the image is normalised over the batch
before a stack of LSTMs reads it as the first word.

Shapes: B images, E embedding.
"""


import tensorflow as tf

from im2txt import configuration
from im2txt.decoders import decoder, word_layers
from im2txt.inputs.batch import Encoding
from im2txt.layers import core as layers
from im2txt.layers import lstm

tf1 = tf.compat.v1

_BATCH_NORM_DECAY = 0.99  # PyTorch's momentum of .01.
_BATCH_NORM_EPSILON = 1e-5


@configuration.record
class CnnLstmConfig(configuration.ModelConfig):
  """Numbers of `CnnLstm`."""

  # LSTMs on top of each other.
  num_lstm_layers: int = configuration.at_least(1, 1)


class CnnLstm(decoder.Decoder):
  """LSTMs over [image, word, word, ...]; see the module."""

  config_class = CnnLstmConfig
  scope = 'lstm'
  step_reads_memory = False
  reads_regions = False

  def __init__(self, config: CnnLstmConfig, training: bool):
    """See the base class; dropout is of what each LSTM reads and says."""
    self._training = training
    self._embedding_size = config.embedding_size
    self._keep_prob = config.decoder_dropout_keep_prob if training else 1.0
    self._dtype = config.compute_dtype
    self._initializer = layers.uniform(config.initializer_scale)
    self._words = word_layers.WordLayers(config)
    self._lstms = [
        lstm.LSTM(config.num_lstm_units, f'{self.scope}/layer_{i}',
                  self._initializer, self._dtype)
        for i in range(config.num_lstm_layers)]

  def prepare(self, encoding: Encoding) -> tf.Tensor:
    """The image as a word: float32 [B, E].

    The linear layer's bias of the tutorial would be lost in normalising.
    """
    scope = 'image_embedding'
    embedded = layers.dense(
        encoding.pooled, self._embedding_size, scope, self._initializer,
        use_bias=False, dtype=self._dtype)
    with tf1.variable_scope(scope):
      normalized = layers.batch_norm(
          embedded[:, tf.newaxis, tf.newaxis], _BATCH_NORM_DECAY,
          _BATCH_NORM_EPSILON, scale=True, trainable=True,
          training=self._training)
    return tf.squeeze(normalized, [1, 2])

  def initial_state(self, memory: tf.Tensor) -> tuple[lstm.State, ...]:
    """The state after the image was read, of each LSTM."""
    zeros = self._lstms[0].zero_state(tf.shape(memory)[0])
    _, state = self._read(memory, len(self._lstms) * (zeros,))
    return state

  def step(
      self, memory: tf.Tensor, words: tf.Tensor, state: tuple[lstm.State, ...]
  ) -> tuple[tf.Tensor, tuple[lstm.State, ...]]:
    """See the base class; the memory is not looked at."""
    return self._read(self._words.embed(words), state)

  def unroll(
      self, memory: tf.Tensor, input_seqs: tf.Tensor, mask: tf.Tensor
  ) -> tf.Tensor:
    """See the base class; padding follows the words and cannot reach them."""
    outputs = self._dropout(self._words.embed(input_seqs))
    for cell, state in zip(
        self._lstms, self.initial_state(memory), strict=True):
      outputs = self._dropout(cell.unroll(outputs, state))
    return outputs

  def logits(self, hidden: tf.Tensor) -> tf.Tensor:
    """See the base class."""
    return self._words.logits(hidden)

  def _read(
      self, inputs: tf.Tensor, state: tuple[lstm.State, ...]
  ) -> tuple[tf.Tensor, tuple[lstm.State, ...]]:
    """One time step of all LSTMs."""
    outputs, states = self._dropout(inputs), []
    for cell, before in zip(self._lstms, state, strict=True):
      outputs, after = cell.step(outputs, before)
      outputs = self._dropout(outputs)
      states.append(after)
    return outputs, tuple(states)

  def _dropout(self, x: tf.Tensor) -> tf.Tensor:
    return layers.dropout(x, self._keep_prob)
