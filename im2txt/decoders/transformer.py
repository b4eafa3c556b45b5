"""The Transformer as a decoder: words attend to words and to regions.

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3, with learned
positions, in the form that TensorFlow's captioning tutorial has made known.

Shapes: B images, n captions of each, N = B * n, Q words that are read at once
(T when training, 1 in search), K words or regions that are looked at, M most
words that can be read, L regions, C channels of the encoder, E width, D width
of a head.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from im2txt import configuration
from im2txt.decoders import decoder, word_layers
from im2txt.inputs.batch import Encoding
from im2txt.layers import core as layers

tf1 = tf.compat.v1


@configuration.record
class TransformerConfig(configuration.ModelConfig):
  """Numbers of `Transformer`; its width is `embedding_size`."""

  # Layers of causal self-attention, cross-attention and feed-forward.
  num_layers: int = configuration.at_least(1, 2)
  # Heads that share the width.
  num_heads: int = configuration.at_least(1, 2)
  # Hidden units of the feed-forward layers.
  feed_forward_size: int = configuration.at_least(1, 512)
  # Most words of a caption, the start marker counted.
  max_positions: int = configuration.at_least(1, 50)
  # Whether a sublayer's input is normalised (Xiong et al. 2020,
  # https://arxiv.org/abs/2002.04745), not the sum behind it.
  pre_norm: bool = False

  def longest_caption(self) -> int:
    """See the base class; the end marker is not read."""
    return min(self.max_sequence_length or self.max_positions + 1,
               self.max_positions + 1)


class Looked(NamedTuple):
  """What attention looks at: keys and values, each head's side by side."""

  keys: tf.Tensor    # float32 [B, K, E]
  values: tf.Tensor  # float32 [B, K, E]


class State(NamedTuple):
  """What is remembered from word to word."""

  position: tf.Tensor        # int32 [N], words that were read
  words: tuple[Looked, ...]  # of each layer, [N, M, E]; 0 for what is to come
  alignment: tf.Tensor       # float32 [N, L], mean of all heads and layers


# Adds the words that are read, of a layer, to those that self-attention looks
# at.
_Remember = Callable[[int, Looked], Looked]


class Transformer(decoder.Decoder):
  """Layers of self-attention, cross-attention and feed-forward."""

  config_class = TransformerConfig
  scope = 'transformer'
  step_reads_memory = True
  reads_regions = True
  attends = True

  def __init__(self, config: TransformerConfig, training: bool):
    """Notes the numbers.

    Dropout is of attention's shares and of what feed-forward layers say.

    Raises:
      ValueError: the heads cannot share the width evenly.
    """
    if config.embedding_size % config.num_heads:
      raise ValueError(
          f'embedding_size is {config.embedding_size}, which num_heads '
          f'{config.num_heads} cannot share evenly')
    self._config = config
    self._width = config.embedding_size
    self._keep_prob = config.decoder_dropout_keep_prob if training else 1.0
    self._initializer = layers.uniform(config.initializer_scale)
    self._words = word_layers.WordLayers(config)
    self.max_length = config.max_positions

  def prepare(self, encoding: Encoding) -> tuple[Looked, ...]:
    """Keys and values of the regions, of each layer [B, L, E]."""
    return tuple(
        self._look_at(encoding.regions, f'layer_{i}/cross_attention')
        for i in range(self._config.num_layers))

  def initial_state(self, memory: tuple[Looked, ...]) -> State:
    """Nothing has been read."""
    batch_size = tf.shape(memory[0].keys)[0]
    nothing = tf.zeros([batch_size, self._config.max_positions, self._width])
    return State(
        tf.zeros([batch_size], tf.int32),
        self._config.num_layers * (Looked(nothing, nothing),),
        tf.zeros([batch_size, memory[0].keys.shape[1]]))

  def step(
      self, memory: tuple[Looked, ...], words: tf.Tensor, state: State
  ) -> tuple[tf.Tensor, State]:
    """See the base class; costs as much at each of the positions."""
    places = tf.range(self._config.max_positions)
    here = tf.equal(places, state.position[:, tf.newaxis])[..., tf.newaxis]
    read = places <= state.position[:, tf.newaxis]  # [N, M]
    remembered = []

    def remember(layer: int, new: Looked) -> Looked:
      remembered.append(Looked(*(
          tf.where(here, x, old)
          for x, old in zip(new, state.words[layer], strict=True))))
      return remembered[-1]

    hidden, alignments = self._decode(
        memory, words[:, tf.newaxis], state.position[:, tf.newaxis],
        read[:, tf.newaxis], remember)
    return hidden[:, 0], State(
        state.position + 1, tuple(remembered), alignments[:, 0])

  def unroll(
      self, memory: tuple[Looked, ...], input_seqs: tf.Tensor, mask: tf.Tensor
  ) -> tf.Tensor:
    """See the base class; all words at once."""
    length = tf.shape(input_seqs)[1]
    short = tf.debugging.assert_less_equal(
        length, self._config.max_positions,
        'a caption has more words than max_positions says')
    with tf.control_dependencies([short]):
      positions = tf.range(length)
    causal = positions <= positions[:, tf.newaxis]  # [T, T]
    hidden, _ = self._decode(
        memory, input_seqs, positions, causal, lambda _, new: new)
    return hidden

  def logits(self, hidden: tf.Tensor) -> tf.Tensor:
    """See the base class."""
    return self._words.logits(hidden)

  def _decode(
      self, memory: tuple[Looked, ...], words: tf.Tensor,
      positions: tf.Tensor, visible: tf.Tensor, remember: _Remember,
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads words.

    Args:
      memory: of `prepare`.
      words: integers [N, Q].
      positions: int32 [N, Q] or [Q], where they stand.
      visible: bool [N, Q, K] or [Q, K], which words a word may look at.
      remember: see there.

    Returns:
      Hidden float32 [N, Q, E] and alignments float32 [N, Q, L].
    """
    x = self._words.embed(words) + layers.embedding(
        positions, self._config.max_positions, self._width,
        f'{self.scope}/position_embedding', self._initializer)
    alignments = []
    for i, regions in enumerate(memory):
      scope = f'layer_{i}/self_attention'
      given = self._before(x, scope)
      added, _ = self._attend(
          given, remember(i, self._look_at(given, scope)), visible, scope)
      x = self._behind(x, added, scope)
      scope = f'layer_{i}/cross_attention'
      added, shares = self._attend(
          self._before(x, scope), regions, None, scope)
      alignments.append(shares)
      x = self._behind(x, added, scope)
      scope = f'layer_{i}/feed_forward'
      hidden = tf.nn.relu(self._dense(
          self._before(x, scope), self._config.feed_forward_size,
          f'{scope}/hidden'))
      added = self._dropout(
          self._dense(hidden, self._width, f'{scope}/output'))
      x = self._behind(x, added, scope)
    if self._config.pre_norm:
      x = layers.layer_norm(x, f'{self.scope}/layer_norm')
    alignment = tf.add_n(alignments) / len(alignments)
    # Known, but lost on the way.
    alignment.set_shape([None, None, memory[0].keys.shape[1]])
    return x, alignment

  def _before(self, x: tf.Tensor, scope: str) -> tf.Tensor:
    """What a sublayer is given of x [N, Q, E]."""
    return self._normalize(x, scope) if self._config.pre_norm else x

  def _behind(self, x: tf.Tensor, added: tf.Tensor, scope: str) -> tf.Tensor:
    """The sum of x [N, Q, E] and what a sublayer adds."""
    x += added
    return x if self._config.pre_norm else self._normalize(x, scope)

  def _look_at(self, x: tf.Tensor, scope: str) -> Looked:
    """Keys and values [B, K, E] of words or regions [B, K, .]."""
    return Looked(self._dense(x, self._width, f'{scope}/keys'),
                  self._dense(x, self._width, f'{scope}/values'))

  def _attend(
      self, x: tf.Tensor, looked: Looked, visible: tf.Tensor | None,
      scope: str,
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Attention of several heads.

    Args:
      x: float32 [N, Q, E], words that look.
      looked: what they look at, of N captions or of B images.
      visible: bool [N, Q, K] or [Q, K]; None: all.
      scope: variable scope.

    Returns:
      float32 [N, Q, E] and shares float32 [N, Q, K], mean of the heads.
    """
    num_words = tf.shape(x)[1]
    queries = self._dense(x, self._width, f'{scope}/queries')
    # All words of an image's captions look at its one memory: [B, n * Q, E].
    queries = tf.reshape(
        queries, [tf.shape(looked.keys)[0], -1, self._width])
    queries, keys, values = map(
        self._split_heads, (queries, looked.keys, looked.values))
    scores = tf.matmul(queries, keys, transpose_b=True) * (
        keys.shape[-1] ** -0.5)  # [B, heads, n * Q, K]
    if visible is not None:
      if visible.shape.rank == 3:
        visible = visible[:, tf.newaxis]
      scores = tf.where(visible, scores, scores.dtype.min)
    # Not `Softmax`: names in saved models may not differ by case only.
    shares = tf.nn.softmax(scores, name=f'{self.scope}/shares')
    seen = tf.matmul(self._dropout(shares), values)
    seen = tf.reshape(tf.transpose(seen, [0, 2, 1, 3]),
                      [-1, num_words, self._width])
    shares = tf.reshape(
        tf.reduce_mean(shares, axis=1),
        tf.stack([-1, num_words, tf.shape(shares)[-1]]))
    return self._dense(seen, self._width, f'{scope}/output'), shares

  def _split_heads(self, x: tf.Tensor) -> tf.Tensor:
    """float32 [B, heads, K, D] of [B, K, E]."""
    heads = self._config.num_heads
    x = tf.reshape(x, tf.stack(
        [*tf.unstack(tf.shape(x)[:2]), heads, self._width // heads]))
    return tf.transpose(x, [0, 2, 1, 3])

  def _dense(self, x: tf.Tensor, units: int, scope: str) -> tf.Tensor:
    return layers.dense(x, units, f'{self.scope}/{scope}', self._initializer,
                        dtype=self._config.compute_dtype)

  def _normalize(self, x: tf.Tensor, scope: str) -> tf.Tensor:
    return layers.layer_norm(x, f'{self.scope}/{scope}/layer_norm')

  def _dropout(self, x: tf.Tensor) -> tf.Tensor:
    return layers.dropout(x, self._keep_prob)
