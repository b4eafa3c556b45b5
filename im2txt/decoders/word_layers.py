"""Word embedding and output projection, which every decoder has.

Shapes: N any number, E embedding, H width of the last hidden layer, V
vocabulary.
"""

import tensorflow as tf

from im2txt import configuration
from im2txt.layers import core

# Variables that training may initialize from files.
EMBEDDING = 'seq_embedding/map'
BIASES = 'logits/biases'


class WordLayers:
  """The word embedding and the projection to the vocabulary.

  Their variables are im2txt's: `seq_embedding/map` [V, E], `logits/weights`
  [H, V] and `logits/biases` [V]. With tied
  embeddings the map also serves as the weights (Press and Wolf 2017, https://arxiv.org/abs/1608.05859).
  """

  def __init__(self, config: configuration.ModelConfig):
    """Initialize with hyperparameters.

    Args:
      config: of the decoder.
    """
    self._vocab_size = config.vocab_size
    self._embedding_size = config.embedding_size
    self._train_embedding = config.train_word_vectors
    self._tied = config.tie_embeddings
    self._dtype = config.compute_dtype
    self._initializer = core.uniform(config.initializer_scale)

  def embed(self, words: tf.Tensor) -> tf.Tensor:
    """Return the embeddings float32 [..., E] of word ids [...]."""
    return core.embedding(words, *self._embedding_args())

  def logits(self, hidden: tf.Tensor) -> tf.Tensor:
    """Return logits [N, V] of hidden [N, H].

    Raises:
      ValueError: embeddings are tied, but E and H differ.
    """
    if not self._tied:
      return core.dense(hidden, self._vocab_size, 'logits',
                          self._initializer, dtype=self._dtype)
    if hidden.shape[-1] != self._embedding_size:
      raise ValueError(
          f'embedding_size is {self._embedding_size}; with tie_embeddings it '
          f'must be {hidden.shape[-1]}, the width of the last hidden layer')
    return core.tied_dense(
        hidden, core.embedding_map(*self._embedding_args()), 'logits',
        self._dtype)

  def _embedding_args(self) -> tuple:
    return (self._vocab_size, self._embedding_size, 'seq_embedding',
            self._initializer, self._train_embedding)
