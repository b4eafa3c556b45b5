"""im2txt's training graph written plainly, to compare ours with.

The encoder runs on every image of every batch; each word's inputs and the
last output go through one product with the whole kernel; padding is projected
to the vocabulary as words are, and weighted with 0.
"""

import tensorflow as tf

from im2txt import configuration, encoders
from im2txt.decoders.show_and_tell import ShowAndTell
from im2txt.decoders.word_layers import WordLayers
from im2txt.inputs.batch import Batch
from im2txt.layers import core

tf1 = tf.compat.v1


class BasicLSTMCell:
  """The cell that im2txt has of TensorFlow, as `dynamic_rnn` takes it."""

  def __init__(self, num_units: int, initializer: core.Initializer,
               keep_prob: float):
    self._num_units = num_units
    self._initializer = initializer
    self._keep_prob = keep_prob
    self.state_size = (num_units, num_units)
    self.output_size = num_units

  def __call__(self, inputs, state, scope=None):
    """Return the output [B, H] and the next state."""
    del scope
    inputs = tf.nn.dropout(inputs, 1.0 - self._keep_prob)
    c, h = state
    with tf1.variable_scope('basic_lstm_cell', reuse=tf1.AUTO_REUSE):
      kernel = tf1.get_variable(
          'kernel', [inputs.shape[-1] + self._num_units, 4 * self._num_units],
          initializer=self._initializer)
      bias = tf1.get_variable(
          'bias', [4 * self._num_units], initializer=tf1.zeros_initializer())
    gates = tf.matmul(tf.concat([inputs, h], axis=1), kernel) + bias
    i, j, f, o = tf.split(gates, 4, axis=1)
    c = c * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
    h = tf.tanh(c) * tf.sigmoid(o)
    return tf.nn.dropout(h, 1.0 - self._keep_prob), (c, h)

  def zero_state(self, batch_size, dtype):
    """Return a state of zeros, each [B, H]."""
    zeros = tf.zeros([batch_size, self._num_units], dtype)
    return zeros, zeros


def build(config: configuration.ModelConfig, batch: Batch) -> tf.Tensor:
  """Build the training graph with a frozen encoder.

  Args:
    config: the model; Show and Tell.
    batch: of images, a caption each.

  Returns:
    The loss, float32 [], nats per word.
  """
  tf1.train.get_or_create_global_step()
  images = batch.images
  if isinstance(images, tf.Tensor):
    images = encoders.make(config).encode(images, False, False)
  # Embeddings and logits are the same; the LSTM and the loss are not.
  decoder = ShowAndTell(config, training=False)
  image_embeddings = decoder.prepare(images)
  seq_embeddings = WordLayers(config).embed(batch.input_seqs)
  cell = BasicLSTMCell(
      config.num_lstm_units, tf1.random_uniform_initializer(
          -config.initializer_scale, config.initializer_scale),
      config.decoder_dropout_keep_prob)
  with tf1.variable_scope('lstm') as scope:
    zeros = cell.zero_state(tf.shape(image_embeddings)[0], tf.float32)
    _, state = cell(image_embeddings, zeros)
    outputs, _ = tf1.nn.dynamic_rnn(
        cell, seq_embeddings, tf.reduce_sum(batch.input_mask, axis=1), state,
        tf.float32, scope=scope)
  logits = decoder.logits(tf.reshape(outputs, [-1, config.num_lstm_units]))
  weights = tf.cast(tf.reshape(batch.input_mask, [-1]), tf.float32)
  losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
      labels=tf.reshape(batch.target_seqs, [-1]), logits=logits)
  return tf.reduce_sum(losses * weights) / tf.reduce_sum(weights)
