"""Show and Tell: the image is the LSTM's first word.

Vinyals et al. 2015, https://arxiv.org/abs/1411.4555, section 3.1; variables
and initialization are im2txt's.
"""

import tensorflow as tf

from im2txt import configuration
from im2txt.decoders import decoder, word_layers
from im2txt.inputs.batch import Encoding
from im2txt.layers import core, lstm


class ShowAndTell(decoder.Decoder):
  """One LSTM over [image, word, word, ...]."""

  scope = 'lstm'
  step_reads_memory = False
  reads_regions = False

  def __init__(self, config: configuration.ModelConfig, training: bool):
    """Initialize; dropout applies to inputs and outputs of the LSTM."""
    self._embedding_size = config.embedding_size
    self._keep_prob = config.decoder_dropout_keep_prob if training else 1.0
    self._dtype = config.compute_dtype
    self._initializer = core.uniform(config.initializer_scale)
    self._words = word_layers.WordLayers(config)
    self._lstm = lstm.LSTM(
        config.num_lstm_units, self.scope, self._initializer, self._dtype)

  def prepare(self, encoding: Encoding) -> tf.Tensor:
    """Embed the image as a word: float32 [B, embedding_size]."""
    return core.dense(
        encoding.pooled, self._embedding_size, 'image_embedding',
        self._initializer, use_bias=False, dtype=self._dtype)

  def initial_state(self, memory: tf.Tensor) -> lstm.State:
    """Return the state after the LSTM has read the image."""
    zeros = self._lstm.zero_state(tf.shape(memory)[0])
    _, state = self._lstm.step(self._dropout(memory), zeros)
    return state

  def step(
      self, memory: tf.Tensor, words: tf.Tensor, state: lstm.State
  ) -> tuple[tf.Tensor, lstm.State]:
    inputs = self._dropout(self._words.embed(words))
    hidden, state = self._lstm.step(inputs, state)
    return self._dropout(hidden), state

  def unroll(
      self, memory: tf.Tensor, input_seqs: tf.Tensor, mask: tf.Tensor
  ) -> tf.Tensor:
    # The mask is not needed: padding comes after the words.
    inputs = self._dropout(self._words.embed(input_seqs))
    hidden = self._lstm.unroll(inputs, self.initial_state(memory))
    return self._dropout(hidden)

  def logits(self, hidden: tf.Tensor) -> tf.Tensor:
    return self._words.logits(hidden)

  def _dropout(self, x: tf.Tensor) -> tf.Tensor:
    return core.dropout(x, self._keep_prob)
