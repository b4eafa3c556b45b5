"""Words in and words out, which every decoder has.

Shapes: N any number, E embedding, H width of the last hidden layer, V
vocabulary.
"""

import tensorflow as tf

from im2txt import configuration, layers

# Names of the variables that may begin with values of files.
EMBEDDING = 'seq_embedding/map'
BIASES = 'logits/biases'


class WordLayers:
  """The word embedding and the projection to the vocabulary.

  Their variables are im2txt's: `seq_embedding/map` [V, E], `logits/weights`
  [H, V] and `logits/biases` [V].
  """

  def __init__(self, config: configuration.ModelConfig):
    """Notes the numbers.

    Args:
      config: sizes, precision, and whether the embedding is trained.
    """
    self._vocab_size = config.vocab_size
    self._embedding_size = config.embedding_size
    self._train_embedding = config.train_word_vectors
    self._dtype = config.compute_dtype
    self._initializer = layers.uniform(config.initializer_scale)

  def embed(self, words: tf.Tensor) -> tf.Tensor:
    """Word embeddings float32 [..., E] of integers [...]."""
    return layers.embedding(
        words, self._vocab_size, self._embedding_size, 'seq_embedding',
        self._initializer, self._train_embedding)

  def logits(self, hidden: tf.Tensor) -> tf.Tensor:
    """Unnormalised log probabilities [N, V] of hidden [N, H]."""
    return layers.dense(hidden, self._vocab_size, 'logits', self._initializer,
                        dtype=self._dtype)
