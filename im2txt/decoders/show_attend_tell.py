"""Show, Attend and Tell: attention to image regions before each word.

Xu et al. 2015, https://arxiv.org/abs/1502.03044, section 3.1, soft attention,
in the form of TensorFlow's tutorial: additive attention
(Bahdanau et al. 2015, https://arxiv.org/abs/1409.0473, appendix A.1.2) and a
GRU.

Shapes: B images, n captions of each, N = B * n, L regions, C channels of the
encoder, E width of a word and of a projected region, A width of attention, H
units.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from im2txt import configuration
from im2txt.decoders import decoder, word_layers
from im2txt.inputs.batch import Encoding
from im2txt.layers import core, gru, lstm

tf1 = tf.compat.v1

_CELLS = {'gru': gru.GRU, 'lstm': lstm.LSTM}


@configuration.record
class ShowAttendTellConfig(configuration.ModelConfig):
  """Hyperparameters of `ShowAttendTell`."""

  # 'gru', or 'lstm' as in the paper; num_lstm_units is the number of units.
  cell: str = 'gru'
  # Width of attention keys and queries.
  attention_size: int = configuration.at_least(1, 512)
  # Weight of the doubly stochastic regularization (Xu et al. 2015, section
  # 4.2.1): over a caption the attention weights of each region should sum to 1.
  # It has no effect with scheduled sampling.
  attention_regularization: float = configuration.at_least(0, 0.0)


class Memory(NamedTuple):
  """What attention needs of images."""

  regions: tf.Tensor  # float32 [B, L, E]
  keys: tf.Tensor     # float32 [B, L, A]


class State(NamedTuple):
  """The decoder's state."""

  cell: Any             # of the recurrent cell, nest of [N, H]
  alignment: tf.Tensor  # float32 [N, L], attention weights of the last step


class ShowAttendTell(decoder.Decoder):
  """A recurrent cell over [context, word]."""

  config_class = ShowAttendTellConfig
  scope = 'show_attend_tell'
  step_reads_memory = True
  reads_regions = True
  attends = True

  def __init__(self, config: ShowAttendTellConfig, training: bool):
    """Initialize with hyperparameters.

    Dropout applies to projected regions, embedded words and cell outputs.

    Raises:
      ValueError: `cell` is unknown, or `attention_regularization` negative.
    """
    if config.attention_regularization < 0.0:
      raise ValueError(f'attention_regularization is '
                       f'{config.attention_regularization}; it must be at '
                       'least 0')
    self._training = training
    self._config = config
    self._keep_prob = config.decoder_dropout_keep_prob if training else 1.0
    self._initializer = core.uniform(config.initializer_scale)
    self._words = word_layers.WordLayers(config)
    self._cell = configuration.lookup(_CELLS, 'cell', config.cell)(
        config.num_lstm_units, self.scope, self._initializer,
        config.compute_dtype)

  def prepare(self, encoding: Encoding) -> Memory:
    """Project the regions, and these to attention keys."""
    regions = self._dropout(tf.nn.relu(self._dense(
        encoding.regions, self._config.embedding_size, 'image_embedding')))
    return Memory(regions, self._dense(
        regions, self._config.attention_size, 'attention/keys',
        use_bias=False))

  def initial_state(self, memory: Memory) -> State:
    """Return zeros: the image enters through attention only."""
    batch_size = tf.shape(memory.keys)[0]
    return State(
        self._cell.zero_state(batch_size),
        tf.zeros([batch_size, memory.keys.shape[1]]))

  def step(
      self, memory: Memory, words: tf.Tensor, state: State
  ) -> tuple[tf.Tensor, State]:
    return self._read(memory, self._embed(words), state)

  def unroll(
      self, memory: Memory, input_seqs: tf.Tensor, mask: tf.Tensor
  ) -> tf.Tensor:
    """Read whole captions; in training also add the regularization loss."""
    inputs = tf.transpose(self._embed(input_seqs), [1, 0, 2])  # [T, B, E]
    length = tf.shape(inputs)[0]
    # The gradient of a slice is a padded copy of the whole tensor.
    inputs = tf.TensorArray(tf.float32, length).unstack(inputs)
    weights = tf.cast(tf.transpose(mask), tf.float32)  # [T, B]

    def body(t, state, attention_sums, outputs):
      hidden, state = self._read(memory, inputs.read(t), state)
      attention_sums += weights[t][:, tf.newaxis] * state.alignment
      return t + 1, state, attention_sums, outputs.write(t, hidden)

    state = self.initial_state(memory)
    _, _, attention_sums, outputs = tf.while_loop(
        lambda t, *_: t < length, body,
        (tf.constant(0), state, tf.zeros_like(state.alignment),
         tf.TensorArray(tf.float32, length)))
    if self._training and self._config.attention_regularization:
      tf1.losses.add_loss(
          self._config.attention_regularization * tf.math.divide_no_nan(
              tf.reduce_sum((1.0 - attention_sums) ** 2),
              tf.reduce_sum(weights)),
          tf1.GraphKeys.REGULARIZATION_LOSSES)
    return tf.transpose(outputs.stack(), [1, 0, 2])

  def logits(self, hidden: tf.Tensor) -> tf.Tensor:
    return self._words.logits(self._dense(
        self._dropout(hidden), self._config.num_lstm_units, 'output'))

  def _embed(self, words: tf.Tensor) -> tf.Tensor:
    return self._dropout(self._words.embed(words))

  def _read(
      self, memory: Memory, inputs: tf.Tensor, state: State
  ) -> tuple[tf.Tensor, State]:
    """Run one time step with embedded words [N, E]."""
    context, alignment = self._attend(memory, self._cell.output(state.cell))
    output, cell = self._cell.step(
        tf.concat([context, inputs], axis=1), state.cell)
    return output, State(cell, alignment)

  def _attend(
      self, memory: Memory, hidden: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute additive attention.

    Args:
      memory: of B images.
      hidden: float32 [N, H], last output of the cell.

    Returns:
      Context float32 [N, E] and attention weights float32 [N, L].
    """
    width = self._config.attention_size
    query = self._dense(hidden, width, 'attention/query')
    query = tf.reshape(query, [tf.shape(memory.keys)[0], -1, 1, width])
    features = tf.tanh(memory.keys[:, tf.newaxis] + query)  # [B, n, L, A]
    scores = self._dense(
        features, 1, 'attention/score', use_bias=False)[..., 0]  # [B, n, L]
    # Not `Softmax`: names in saved models may not differ by case only.
    weights = tf.nn.softmax(scores, name=f'{self.scope}/shares')
    context = tf.matmul(weights, memory.regions)  # [B, n, E]
    return (tf.reshape(context, [-1, context.shape[2]]),
            tf.reshape(weights, [-1, weights.shape[2]]))

  def _dense(
      self, x: tf.Tensor, units: int, scope: str, use_bias: bool = True
  ) -> tf.Tensor:
    return core.dense(x, units, scope, self._initializer, use_bias,
                        self._config.compute_dtype)

  def _dropout(self, x: tf.Tensor) -> tf.Tensor:
    return core.dropout(x, self._keep_prob)
