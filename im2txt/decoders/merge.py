"""Merge: the image is added to the LSTM's outputs, not fed into the LSTM.

Tanti et al. 2017, https://arxiv.org/abs/1708.02043, section 3.2 and figure
1(b), with the layers of Lamba's Keras tutorial: the LSTM reads words only; its
output and the image are summed and go through a hidden layer. The tutorial
trains on every prefix of a caption in a pass of its own over the LSTM; one
unrolled pass computes the same.

Shapes: B images, n captions of each, E embedding, H units.
"""

import tensorflow as tf

from im2txt import configuration
from im2txt.decoders import decoder, word_layers
from im2txt.inputs.batch import Encoding
from im2txt.layers import core, lstm


class Merge(decoder.Decoder):
  """An LSTM over words, whose outputs the image is added to."""

  scope = 'lstm'
  step_reads_memory = True
  reads_regions = False

  def __init__(self, config: configuration.ModelConfig, training: bool):
    """Initialize; dropout applies to the image and to embedded words."""
    self._num_units = config.num_lstm_units
    self._keep_prob = config.decoder_dropout_keep_prob if training else 1.0
    self._dtype = config.compute_dtype
    self._initializer = core.uniform(config.initializer_scale)
    self._words = word_layers.WordLayers(config)
    self._lstm = lstm.LSTM(
        self._num_units, self.scope, self._initializer, self._dtype)

  def prepare(self, encoding: Encoding) -> tf.Tensor:
    """Project the image to the width of the LSTM: float32 [B, H]."""
    return tf.nn.relu(self._dense(
        core.dropout(encoding.pooled, self._keep_prob), 'image_embedding'))

  def initial_state(self, memory: tf.Tensor) -> lstm.State:
    return self._lstm.zero_state(tf.shape(memory)[0])

  def step(
      self, memory: tf.Tensor, words: tf.Tensor, state: lstm.State
  ) -> tuple[tf.Tensor, lstm.State]:
    output, state = self._lstm.step(self._embed(words), state)
    grouped = tf.reshape(output, [tf.shape(memory)[0], -1, self._num_units])
    hidden = self._merge(memory, grouped)
    return tf.reshape(hidden, [-1, self._num_units]), state

  def unroll(
      self, memory: tf.Tensor, input_seqs: tf.Tensor, mask: tf.Tensor
  ) -> tf.Tensor:
    return self._merge(memory, self._lstm.unroll(
        self._embed(input_seqs), self.initial_state(memory)))

  def logits(self, hidden: tf.Tensor) -> tf.Tensor:
    return self._words.logits(hidden)

  def _embed(self, words: tf.Tensor) -> tf.Tensor:
    return core.dropout(self._words.embed(words), self._keep_prob)

  def _merge(self, memory: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Return hidden [B, n, H] of images [B, H] and outputs [B, n, H]."""
    return tf.nn.relu(self._dense(
        outputs + memory[:, tf.newaxis], 'merge'))

  def _dense(self, x: tf.Tensor, scope: str) -> tf.Tensor:
    return core.dense(x, self._num_units, scope, self._initializer,
                        dtype=self._dtype)
