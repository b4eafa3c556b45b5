"""A decoder and an encoder of the tests' own, as small as they can be.

The decoder's step looks at the image's regions: it shows that what carries
a decoder through training and search carries its memory too.

Shapes: B batch, T padded caption length, L regions, C channels of a region, H
hidden, A width of attention.
"""

from typing import NamedTuple

import tensorflow as tf

from im2txt import configuration
from im2txt.decoders import Decoder
from im2txt.encoders import Encoder, Encoding
from im2txt.encoders.encoder import pool_regions
from im2txt.layers import core

tf1 = tf.compat.v1

HEIGHT, WIDTH = 15, 25  # Pixels; a cell is 5 x 5.
L, C, A = 3 * 5, 9, 6


class Cells(Encoder):
  """The quickest encoder: colours of 3 x 5 cells, mixed linearly."""

  scope = 'Cells'

  def encode(self, images, trainable, training):
    cells = tf.nn.avg_pool2d(images, 5, 5, 'VALID')
    weights = core.dense(
        tf.reshape(cells, [-1, 3]), C, self.scope,
        tf1.random_normal_initializer(stddev=1.0))
    pooled, regions = pool_regions(tf.reshape(weights, [-1, 3, 5, C]))
    return Encoding(pooled, tf.ensure_shape(regions, [None, L, C]))

  def grid(self, height, width):
    return height // 5, width // 5


@configuration.record
class AttendingConfig(configuration.ModelConfig):
  """Numbers of `Attending`."""

  attention_width: int = A


class Memory(NamedTuple):
  """What `Attending` keeps of an image."""

  keys: tf.Tensor     # [B, L, A]
  regions: tf.Tensor  # [B, L, C]


class State(NamedTuple):
  """What `Attending` remembers: of several shapes and types."""

  hidden: tf.Tensor    # float32 [B, H]
  words_read: tf.Tensor  # int32 [B]
  alignment: tf.Tensor  # float32 [B, L], where it looked last


class Attending(Decoder):
  """One recurrent layer with dot-product attention over the regions."""

  config_class = AttendingConfig
  scope = 'attending'
  step_reads_memory = True
  reads_regions = True
  attends = True

  def __init__(self, config, training):
    self._config = config
    self._keep_prob = config.decoder_dropout_keep_prob if training else 1.0
    self._initializer = core.uniform(config.initializer_scale)

  def _dense(self, x, units, name):
    return core.dense(x, units, f'{self.scope}/{name}', self._initializer)

  def prepare(self, encoding):
    width = self._config.attention_width
    keys = self._dense(tf.reshape(encoding.regions, [-1, C]), width, 'keys')
    return Memory(tf.reshape(keys, [-1, L, width]), encoding.regions)

  def initial_state(self, memory):
    pooled = tf.reduce_mean(memory.regions, axis=1)
    hidden = tf.tanh(self._dense(pooled, self._config.num_lstm_units, 'first'))
    batch_size = tf.shape(pooled)[0]
    return State(hidden, tf.ensure_shape(
        tf.zeros([batch_size], tf.int32), [None]), tf.zeros([batch_size, L]))

  def step(self, memory, words, state):
    query = self._dense(state.hidden, self._config.attention_width, 'query')
    # [B, n, ...]: all captions of an image look at its one memory.
    query = tf.reshape(query, [tf.shape(memory.keys)[0], -1, query.shape[1]])
    shares = tf.nn.softmax(tf.einsum('bla,bna->bnl', memory.keys, query))
    context = tf.einsum('bnl,blc->bnc', shares, memory.regions)
    shares, context = (tf.reshape(x, [-1, x.shape[2]])
                       for x in (shares, context))
    embedded = core.embedding(
        words, self._config.vocab_size, self._config.embedding_size,
        'seq_embedding', self._initializer)
    # Later words count less: a position that were lost would show.
    fading = 1.0 / (1.0 + tf.cast(state.words_read, tf.float32))
    hidden = tf.tanh(self._dense(
        tf.concat([embedded * fading[:, tf.newaxis], context, state.hidden],
                  axis=1), self._config.num_lstm_units, 'recurrence'))
    state = State(hidden, state.words_read + 1, shares)
    return tf.nn.dropout(hidden, rate=1.0 - self._keep_prob), state

  def unroll(self, memory, input_seqs, mask):
    state = self.initial_state(memory)
    hidden, _ = tf.scan(
        lambda carried, words: self.step(memory, words, carried[1]),
        tf.transpose(input_seqs),
        initializer=(tf.zeros_like(state.hidden), state))
    return tf.transpose(hidden, [1, 0, 2])

  def logits(self, hidden):
    return self._dense(hidden, self._config.vocab_size, 'logits')
