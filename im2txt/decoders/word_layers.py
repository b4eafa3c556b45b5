"""Words in and words out, which every decoder has.

Shapes: N any number, E embedding, H width of the last hidden layer, V
vocabulary.
"""

import tensorflow as tf

from im2txt import configuration
from im2txt.layers import core as layers

# Names of the variables that may begin with values of files.
EMBEDDING = 'seq_embedding/map'
BIASES = 'logits/biases'


class WordLayers:
  """The word embedding and the projection to the vocabulary.

  Their variables are im2txt's: `seq_embedding/map` [V, E], `logits/weights`
  [H, V] and `logits/biases` [V]. Tied, the map has the place of the weights
  too (Press and Wolf 2017, https://arxiv.org/abs/1608.05859).
  """

  def __init__(self, config: configuration.ModelConfig):
    """Notes the numbers.

    Args:
      config: sizes, precision, and whether the embedding is trained and tied.
    """
    self._vocab_size = config.vocab_size
    self._embedding_size = config.embedding_size
    self._train_embedding = config.train_word_vectors
    self._tied = config.tie_embeddings
    self._dtype = config.compute_dtype
    self._initializer = layers.uniform(config.initializer_scale)

  def embed(self, words: tf.Tensor) -> tf.Tensor:
    """Word embeddings float32 [..., E] of integers [...]."""
    return layers.embedding(words, *self._embedding())

  def logits(self, hidden: tf.Tensor) -> tf.Tensor:
    """Unnormalised log probabilities [N, V] of hidden [N, H].

    Raises:
      ValueError: E and H differ where the embedding is tied.
    """
    if not self._tied:
      return layers.dense(hidden, self._vocab_size, 'logits',
                          self._initializer, dtype=self._dtype)
    if hidden.shape[-1] != self._embedding_size:
      raise ValueError(
          f'embedding_size is {self._embedding_size}; with tie_embeddings it '
          f'must be {hidden.shape[-1]}, the width of the last hidden layer')
    return layers.tied_dense(
        hidden, layers.embedding_map(*self._embedding()), 'logits',
        self._dtype)

  def _embedding(self) -> tuple:
    return (self._vocab_size, self._embedding_size, 'seq_embedding',
            self._initializer, self._train_embedding)
