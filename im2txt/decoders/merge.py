"""Merge: the image meets the sentence behind the LSTM, not within it.

Tanti et al. 2017, https://arxiv.org/abs/1708.02043, section 3.2 and figure
1(b), with the layers that Lamba's Keras tutorial made known: the LSTM sees
words only; its output and the image are summed, and a hidden layer chooses
the next word. There a caption trains as all its prefixes, each a pass of its
own over the LSTM; one unrolled pass computes the same.

Shapes: B images, n captions of each, E embedding, H units.
"""

import tensorflow as tf

from im2txt import configuration
from im2txt.decoders import decoder, word_layers
from im2txt.inputs.batch import Encoding
from im2txt.layers import core as layers
from im2txt.layers import lstm


class Merge(decoder.Decoder):
  """An LSTM of words, the image added to what it says; see the module."""

  scope = 'lstm'
  step_reads_memory = True
  reads_regions = False

  def __init__(self, config: configuration.ModelConfig, training: bool):
    """See the base class; dropout is of the image and of embedded words."""
    self._num_units = config.num_lstm_units
    self._keep_prob = config.decoder_dropout_keep_prob if training else 1.0
    self._dtype = config.compute_dtype
    self._initializer = layers.uniform(config.initializer_scale)
    self._words = word_layers.WordLayers(config)
    self._lstm = lstm.LSTM(
        self._num_units, self.scope, self._initializer, self._dtype)

  def prepare(self, encoding: Encoding) -> tf.Tensor:
    """The image as wide as the LSTM: float32 [B, H]."""
    return tf.nn.relu(self._dense(
        layers.dropout(encoding.pooled, self._keep_prob), 'image_embedding'))

  def initial_state(self, memory: tf.Tensor) -> lstm.State:
    """See the base class."""
    return self._lstm.zero_state(tf.shape(memory)[0])

  def step(
      self, memory: tf.Tensor, words: tf.Tensor, state: lstm.State
  ) -> tuple[tf.Tensor, lstm.State]:
    """See the base class."""
    output, state = self._lstm.step(self._embed(words), state)
    grouped = tf.reshape(output, [tf.shape(memory)[0], -1, self._num_units])
    hidden = self._merge(memory, grouped)
    return tf.reshape(hidden, [-1, self._num_units]), state

  def unroll(
      self, memory: tf.Tensor, input_seqs: tf.Tensor, mask: tf.Tensor
  ) -> tf.Tensor:
    """See the base class."""
    return self._merge(memory, self._lstm.unroll(
        self._embed(input_seqs), self.initial_state(memory)))

  def logits(self, hidden: tf.Tensor) -> tf.Tensor:
    """See the base class."""
    return self._words.logits(hidden)

  def _embed(self, words: tf.Tensor) -> tf.Tensor:
    return layers.dropout(self._words.embed(words), self._keep_prob)

  def _merge(self, memory: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Hidden [B, n, H] of images [B, H] and the LSTM's outputs [B, n, H]."""
    return tf.nn.relu(self._dense(
        outputs + memory[:, tf.newaxis], 'merge'))

  def _dense(self, x: tf.Tensor, scope: str) -> tf.Tensor:
    return layers.dense(x, self._num_units, scope, self._initializer,
                        dtype=self._dtype)
