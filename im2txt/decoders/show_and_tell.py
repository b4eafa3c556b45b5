"""Show and Tell: the picture is the LSTM's first word.

Vinyals et al. 2015, https://arxiv.org/abs/1411.4555, section 3.1; variables
and initialisation as in im2txt.
"""

import tensorflow as tf

from im2txt import configuration, layers, lstm
from im2txt.decoders import decoder
from im2txt.encoders import Encoding

tf1 = tf.compat.v1


class ShowAndTell(decoder.Decoder):
  """One LSTM over [picture, word, word, ...]; see the module."""

  scope = 'lstm'
  step_reads_memory = False
  reads_regions = False

  def __init__(
      self,
      vocab_size: int,
      embedding_size: int,
      num_units: int,
      initializer_scale: float,
      keep_prob: float,
      dtype: str = 'float32',
  ):
    """Notes the numbers.

    Args:
      vocab_size: V, number of outputs.
      embedding_size: width of word and picture embeddings.
      num_units: H, units of the LSTM.
      initializer_scale: variables begin uniform in +- this.
      keep_prob: share of the LSTM's inputs and outputs kept; 1: no dropout.
      dtype: of the matrix products.
    """
    self._vocab_size = vocab_size
    self._embedding_size = embedding_size
    self._keep_prob = keep_prob
    self._dtype = dtype
    self._initializer = tf1.random_uniform_initializer(
        -initializer_scale, initializer_scale)
    self._lstm = lstm.LSTM(
        num_units, self.scope, self._initializer, dtype)

  @classmethod
  def from_config(
      cls, config: configuration.ModelConfig, training: bool
  ) -> 'ShowAndTell':
    """See the base class."""
    return cls(
        config.vocab_size, config.embedding_size, config.num_lstm_units,
        config.initializer_scale,
        config.lstm_dropout_keep_prob if training else 1.0,
        config.compute_dtype)

  def prepare(self, encoding: Encoding) -> tf.Tensor:
    """The picture as a word: float32 [B, embedding_size]."""
    return layers.dense(
        encoding.pooled, self._embedding_size, 'image_embedding',
        self._initializer, use_bias=False, dtype=self._dtype)

  def initial_state(self, memory: tf.Tensor) -> lstm.State:
    """The state after the LSTM has read the picture."""
    zeros = self._lstm.zero_state(tf.shape(memory)[0])
    _, state = self._lstm.step(self._dropout(memory), zeros)
    return state

  def embed(self, words: tf.Tensor) -> tf.Tensor:
    """Word embeddings float32 [..., embedding_size] of integers [...]."""
    return layers.embedding(
        words, self._vocab_size, self._embedding_size, 'seq_embedding',
        self._initializer)

  def step(
      self, memory: tf.Tensor, words: tf.Tensor, state: lstm.State
  ) -> tuple[tf.Tensor, lstm.State]:
    """See the base class; the memory is not looked at."""
    inputs = self._dropout(self.embed(words))
    hidden, state = self._lstm.step(inputs, state)
    return self._dropout(hidden), state

  def unroll(
      self, memory: tf.Tensor, input_seqs: tf.Tensor, mask: tf.Tensor
  ) -> tf.Tensor:
    """See the base class; padding follows the words and cannot reach them."""
    inputs = self._dropout(self.embed(input_seqs))
    hidden = self._lstm.unroll(inputs, self.initial_state(memory))
    return self._dropout(hidden)

  def logits(self, hidden: tf.Tensor) -> tf.Tensor:
    """See the base class."""
    return layers.dense(hidden, self._vocab_size, 'logits',
                        self._initializer, dtype=self._dtype)

  def _dropout(self, x: tf.Tensor) -> tf.Tensor:
    if self._keep_prob == 1.0:
      return x
    return tf.nn.dropout(x, rate=1.0 - self._keep_prob)
