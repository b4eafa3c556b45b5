"""CNN-LSTM: Show and Tell in the form of PyTorch's COCO tutorial.

Choi's "Image Captioning" of pytorch-tutorial, also "Hands-on Natural Language
Processing with PyTorch", chapter 2: a stack of LSTMs reads the image, after
batch normalization, as the first word.

Shapes: B images, E embedding.
"""


import tensorflow as tf

from im2txt import configuration
from im2txt.decoders import decoder, word_layers
from im2txt.inputs.batch import Encoding
from im2txt.layers import core, lstm, normalization

tf1 = tf.compat.v1

_BATCH_NORM_DECAY = 0.99  # 1 - PyTorch's momentum, 0.01.
_BATCH_NORM_EPSILON = 1e-5


@configuration.record
class CnnLstmConfig(configuration.ModelConfig):
  """Hyperparameters of `CnnLstm`."""

  # Stacked LSTM layers.
  num_lstm_layers: int = configuration.at_least(1, 1)


class CnnLstm(decoder.Decoder):
  """Stacked LSTMs over [image, word, word, ...]."""

  config_class = CnnLstmConfig
  scope = 'lstm'
  step_reads_memory = False
  reads_regions = False

  def __init__(self, config: CnnLstmConfig, training: bool):
    """Initialize; dropout applies to inputs and outputs of each LSTM."""
    self._training = training
    self._embedding_size = config.embedding_size
    self._keep_prob = config.decoder_dropout_keep_prob if training else 1.0
    self._dtype = config.compute_dtype
    self._initializer = core.uniform(config.initializer_scale)
    self._words = word_layers.WordLayers(config)
    self._lstms = [
        lstm.LSTM(config.num_lstm_units, f'{self.scope}/layer_{i}',
                  self._initializer, self._dtype)
        for i in range(config.num_lstm_layers)]

  def prepare(self, encoding: Encoding) -> tf.Tensor:
    """Embed the image as a word: float32 [B, E].

    The tutorial's linear layer has a bias, which batch normalization would
    cancel.
    """
    scope = 'image_embedding'
    embedded = core.dense(
        encoding.pooled, self._embedding_size, scope, self._initializer,
        use_bias=False, dtype=self._dtype)
    with tf1.variable_scope(scope):
      normalized = normalization.batch_norm(
          embedded[:, tf.newaxis, tf.newaxis], _BATCH_NORM_DECAY,
          _BATCH_NORM_EPSILON, scale=True, trainable=True,
          training=self._training)
    return tf.squeeze(normalized, [1, 2])

  def initial_state(self, memory: tf.Tensor) -> tuple[lstm.State, ...]:
    """Return the state of each LSTM after it has read the image."""
    zeros = self._lstms[0].zero_state(tf.shape(memory)[0])
    _, state = self._read(memory, len(self._lstms) * (zeros,))
    return state

  def step(
      self, memory: tf.Tensor, words: tf.Tensor, state: tuple[lstm.State, ...]
  ) -> tuple[tf.Tensor, tuple[lstm.State, ...]]:
    return self._read(self._words.embed(words), state)

  def unroll(
      self, memory: tf.Tensor, input_seqs: tf.Tensor, mask: tf.Tensor
  ) -> tf.Tensor:
    # The mask is not needed: padding comes after the words.
    outputs = self._dropout(self._words.embed(input_seqs))
    for cell, state in zip(
        self._lstms, self.initial_state(memory), strict=True):
      outputs = self._dropout(cell.unroll(outputs, state))
    return outputs

  def logits(self, hidden: tf.Tensor) -> tf.Tensor:
    return self._words.logits(hidden)

  def _read(
      self, inputs: tf.Tensor, state: tuple[lstm.State, ...]
  ) -> tuple[tf.Tensor, tuple[lstm.State, ...]]:
    """Run one time step of all LSTMs."""
    outputs, states = self._dropout(inputs), []
    for cell, previous in zip(self._lstms, state, strict=True):
      outputs, next_state = cell.step(outputs, previous)
      outputs = self._dropout(outputs)
      states.append(next_state)
    return outputs, tuple(states)

  def _dropout(self, x: tf.Tensor) -> tf.Tensor:
    return core.dropout(x, self._keep_prob)
