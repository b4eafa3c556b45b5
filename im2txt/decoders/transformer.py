"""The Transformer decoder: words attend to words and to image regions.

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3, with learned
position embeddings, in the form of TensorFlow's captioning tutorial.

Shapes: B images, n captions of each, N = B * n, Q words that are read at once
(T when training, 1 in search), K words or regions that are attended to, M
maximum number of words read, L regions, C channels of the encoder, E width, D
width of a head.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from im2txt import configuration
from im2txt.decoders import decoder, word_layers
from im2txt.inputs.batch import Encoding
from im2txt.layers import core, normalization

tf1 = tf.compat.v1


@configuration.record
class TransformerConfig(configuration.ModelConfig):
  """Hyperparameters of `Transformer`; its width is `embedding_size`."""

  # Layers of causal self-attention, cross-attention and feed-forward.
  num_layers: int = configuration.at_least(1, 2)
  # Heads that share the width.
  num_heads: int = configuration.at_least(1, 2)
  # Hidden units of the feed-forward layers.
  feed_forward_size: int = configuration.at_least(1, 512)
  # Most words of a caption, the start marker counted.
  max_positions: int = configuration.at_least(1, 50)
  # Whether layer normalization is applied to the input of a sublayer (Xiong et
  # al. 2020, https://arxiv.org/abs/2002.04745), not after the residual sum.
  pre_norm: bool = False

  def longest_caption(self) -> int:
    """Return the most words of a caption; the end marker is not read."""
    return min(self.max_sequence_length or self.max_positions + 1,
               self.max_positions + 1)


class KeysValues(NamedTuple):
  """What is attended to; E is the heads' widths side by side."""

  keys: tf.Tensor    # float32 [B, K, E]
  values: tf.Tensor  # float32 [B, K, E]


class State(NamedTuple):
  """The decoder's state."""

  position: tf.Tensor            # int32 [N], words read so far
  words: tuple[KeysValues, ...]  # of each layer, [N, M, E], 0 if not yet read
  alignment: tf.Tensor           # float32 [N, L], mean of all heads and layers


# Given a layer's index and the keys and values of the words being read, return
# those of all words that its self-attention attends to.
_UpdateCache = Callable[[int, KeysValues], KeysValues]


class Transformer(decoder.Decoder):
  """Layers of self-attention, cross-attention and feed-forward."""

  config_class = TransformerConfig
  scope = 'transformer'
  step_reads_memory = True
  reads_regions = True
  attends = True

  def __init__(self, config: TransformerConfig, training: bool):
    """Initialize with hyperparameters.

    Dropout applies to attention weights and outputs of feed-forward layers.

    Raises:
      ValueError: the width is no multiple of the number of heads.
    """
    if config.embedding_size % config.num_heads:
      raise ValueError(
          f'embedding_size is {config.embedding_size}, which num_heads '
          f'{config.num_heads} cannot share evenly')
    self._config = config
    self._width = config.embedding_size
    self._keep_prob = config.decoder_dropout_keep_prob if training else 1.0
    self._initializer = core.uniform(config.initializer_scale)
    self._words = word_layers.WordLayers(config)
    self.max_length = config.max_positions

  def prepare(self, encoding: Encoding) -> tuple[KeysValues, ...]:
    """Compute keys and values of the regions, for each layer [B, L, E]."""
    return tuple(
        self._keys_values(encoding.regions, f'layer_{i}/cross_attention')
        for i in range(self._config.num_layers))

  def initial_state(self, memory: tuple[KeysValues, ...]) -> State:
    """Return a state in which no word has been read."""
    batch_size = tf.shape(memory[0].keys)[0]
    zeros = tf.zeros([batch_size, self._config.max_positions, self._width])
    return State(
        tf.zeros([batch_size], tf.int32),
        self._config.num_layers * (KeysValues(zeros, zeros),),
        tf.zeros([batch_size, memory[0].keys.shape[1]]))

  def step(
      self, memory: tuple[KeysValues, ...], words: tf.Tensor, state: State
  ) -> tuple[tf.Tensor, State]:
    """Read one word; the cost is the same at every position."""
    positions = tf.range(self._config.max_positions)
    position = state.position[:, tf.newaxis]
    is_current = tf.equal(positions, position)[..., tf.newaxis]  # [N, M, 1]
    visible = positions <= position  # [N, M]
    cache = []

    def update_cache(layer: int, new: KeysValues) -> KeysValues:
      cache.append(KeysValues(*(
          tf.where(is_current, x, old)
          for x, old in zip(new, state.words[layer], strict=True))))
      return cache[-1]

    hidden, alignments = self._decode(
        memory, words[:, tf.newaxis], position, visible[:, tf.newaxis],
        update_cache)
    return hidden[:, 0], State(
        state.position + 1, tuple(cache), alignments[:, 0])

  def unroll(
      self, memory: tuple[KeysValues, ...], input_seqs: tf.Tensor,
      mask: tf.Tensor,
  ) -> tf.Tensor:
    length = tf.shape(input_seqs)[1]
    fits = tf.debugging.assert_less_equal(
        length, self._config.max_positions,
        'a caption has more words than max_positions says')
    with tf.control_dependencies([fits]):
      positions = tf.range(length)
    causal = positions <= positions[:, tf.newaxis]  # [T, T]
    hidden, _ = self._decode(
        memory, input_seqs, positions, causal, lambda _, new: new)
    return hidden

  def logits(self, hidden: tf.Tensor) -> tf.Tensor:
    return self._words.logits(hidden)

  def _decode(
      self, memory: tuple[KeysValues, ...], words: tf.Tensor,
      positions: tf.Tensor, visible: tf.Tensor, update_cache: _UpdateCache,
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Read words.

    Args:
      memory: of `prepare`.
      words: integers [N, Q].
      positions: int32 [N, Q] or [Q], of the words in their caption.
      visible: bool [N, Q, K] or [Q, K], which words each may attend to.
      update_cache: see `_UpdateCache`.

    Returns:
      Hidden float32 [N, Q, E] and alignments float32 [N, Q, L].
    """
    x = self._words.embed(words) + core.embedding(
        positions, self._config.max_positions, self._width,
        f'{self.scope}/position_embedding', self._initializer)
    alignments = []
    for i, regions in enumerate(memory):
      scope = f'layer_{i}/self_attention'
      inputs = self._pre_norm(x, scope)
      outputs, _ = self._attend(
          inputs, update_cache(i, self._keys_values(inputs, scope)), visible,
          scope)
      x = self._add_and_norm(x, outputs, scope)
      scope = f'layer_{i}/cross_attention'
      outputs, weights = self._attend(
          self._pre_norm(x, scope), regions, None, scope)
      alignments.append(weights)
      x = self._add_and_norm(x, outputs, scope)
      scope = f'layer_{i}/feed_forward'
      hidden = tf.nn.relu(self._dense(
          self._pre_norm(x, scope), self._config.feed_forward_size,
          f'{scope}/hidden'))
      outputs = self._dropout(
          self._dense(hidden, self._width, f'{scope}/output'))
      x = self._add_and_norm(x, outputs, scope)
    if self._config.pre_norm:
      x = normalization.layer_norm(x, f'{self.scope}/layer_norm')
    alignment = tf.add_n(alignments) / len(alignments)
    # Reshapes with dynamic sizes lost the static number of regions.
    alignment.set_shape([None, None, memory[0].keys.shape[1]])
    return x, alignment

  def _pre_norm(self, x: tf.Tensor, scope: str) -> tf.Tensor:
    """Return the input of a sublayer, [N, Q, E]."""
    return self._normalize(x, scope) if self._config.pre_norm else x

  def _add_and_norm(
      self, x: tf.Tensor, outputs: tf.Tensor, scope: str
  ) -> tf.Tensor:
    """Add the outputs of a sublayer to its input x; all [N, Q, E]."""
    x += outputs
    return x if self._config.pre_norm else self._normalize(x, scope)

  def _keys_values(self, x: tf.Tensor, scope: str) -> KeysValues:
    """Return keys and values [B, K, E] of words or regions [B, K, .]."""
    return KeysValues(self._dense(x, self._width, f'{scope}/keys'),
                  self._dense(x, self._width, f'{scope}/values'))

  def _attend(
      self, x: tf.Tensor, attended: KeysValues, visible: tf.Tensor | None,
      scope: str,
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute multi-head attention.

    Args:
      x: float32 [N, Q, E], words.
      attended: what they attend to, of N captions or of B images.
      visible: bool [N, Q, K] or [Q, K]; None: all.
      scope: variable scope.

    Returns:
      Outputs float32 [N, Q, E] and attention weights float32 [N, Q, K], the
      mean of all heads.
    """
    num_words = core.dimensions(x)[1]
    queries = self._dense(x, self._width, f'{scope}/queries')
    # Captions of one image share its memory: [B, n * Q, E].
    queries = tf.reshape(
        queries, [tf.shape(attended.keys)[0], -1, self._width])
    queries, keys, values = map(
        self._split_heads, (queries, attended.keys, attended.values))
    scores = tf.matmul(queries, keys, transpose_b=True) * (
        keys.shape[-1] ** -0.5)  # [B, heads, n * Q, K]
    if visible is not None:
      if visible.shape.rank == 3:
        visible = visible[:, tf.newaxis]
      scores = tf.where(visible, scores, scores.dtype.min)
    # Not `Softmax`: names in saved models may not differ by case only.
    weights = tf.nn.softmax(scores, name=f'{self.scope}/shares')
    outputs = tf.matmul(self._dropout(weights), values)
    outputs = tf.reshape(tf.transpose(outputs, [0, 2, 1, 3]),
                         [-1, num_words, self._width])
    weights = tf.reshape(
        tf.reduce_mean(weights, axis=1),
        [-1, num_words, core.dimensions(weights)[-1]])
    return self._dense(outputs, self._width, f'{scope}/output'), weights

  def _split_heads(self, x: tf.Tensor) -> tf.Tensor:
    """Return [B, heads, K, D] of [B, K, E]."""
    heads = self._config.num_heads
    x = tf.reshape(
        x, [-1, core.dimensions(x)[1], heads, self._width // heads])
    return tf.transpose(x, [0, 2, 1, 3])

  def _dense(self, x: tf.Tensor, units: int, scope: str) -> tf.Tensor:
    return core.dense(x, units, f'{self.scope}/{scope}', self._initializer,
                        dtype=self._config.compute_dtype)

  def _normalize(self, x: tf.Tensor, scope: str) -> tf.Tensor:
    return normalization.layer_norm(x, f'{self.scope}/{scope}/layer_norm')

  def _dropout(self, x: tf.Tensor) -> tf.Tensor:
    return core.dropout(x, self._keep_prob)
