"""Linear, embedding and dropout layers, in TensorFlow 1's variable scopes.

A layer creates its variables under the scope it is given, and reuses them when
it is connected a second time.

Shapes: N any number of rows, E input width, V vocabulary.
"""

from collections.abc import Callable

import tensorflow as tf

from im2txt import configuration

tf1 = tf.compat.v1

Initializer = Callable[..., tf.Tensor]

_DTYPES = {'float32': tf.float32, 'bfloat16': tf.bfloat16,
           'float16': tf.float16}


def dropout(x: tf.Tensor, keep_prob: float) -> tf.Tensor:
  """Return values scaled by 1 / `keep_prob`, each kept with that chance."""
  return x if keep_prob == 1.0 else tf.nn.dropout(x, rate=1.0 - keep_prob)


def uniform(scale: float) -> Initializer:
  """Return an initializer uniform in [-`scale`, `scale`]."""
  return tf1.random_uniform_initializer(-scale, scale)


def matmul(x: tf.Tensor, y: tf.Tensor, dtype: str) -> tf.Tensor:
  """Multiply matrices in a type of lower precision.

  Args:
    x: float32 [N, M].
    y: float32 [M, K].
    dtype: 'float32', 'bfloat16' or 'float16'.

  Returns:
    float32 [N, K].

  Raises:
    ValueError: another type.
  """
  dtype = configuration.lookup(_DTYPES, 'compute_dtype', dtype)
  return tf.cast(tf.matmul(tf.cast(x, dtype), tf.cast(y, dtype)), tf.float32)


def dimensions(x: tf.Tensor) -> list[int | tf.Tensor]:
  """Return the size of each dimension; int32 [] where the graph has none."""
  if x.shape.is_fully_defined():
    return x.shape.as_list()
  dynamic = tf.unstack(tf.shape(x))
  return [dynamic[i] if size is None else size
          for i, size in enumerate(x.shape.as_list())]


def dense(
    inputs: tf.Tensor,
    units: int,
    scope: str,
    initializer: Initializer,
    use_bias: bool = True,
    dtype: str = 'float32',
) -> tf.Tensor:
  """Apply a linear layer, variables `weights` [E, units], `biases` [units].

  Args:
    inputs: float32 [..., E].
    units: output width.
    scope: variable scope.
    initializer: of the weights; biases start at 0.
    use_bias: whether there are biases.
    dtype: of the matrix product, see `matmul`.

  Returns:
    float32 [..., units].
  """
  width = inputs.shape[-1]
  with tf1.variable_scope(scope, reuse=tf1.AUTO_REUSE):
    weights = tf1.get_variable(
        'weights', [width, units], initializer=initializer)
    if inputs.shape.rank == 2:
      outputs = matmul(inputs, weights, dtype)
    else:
      outputs = matmul(tf.reshape(inputs, [-1, width]), weights, dtype)
      outputs = tf.reshape(
          outputs, [-1, *dimensions(inputs)[1:-1], units])
    if use_bias:
      outputs += tf1.get_variable(
          'biases', [units], initializer=tf1.zeros_initializer())
    return outputs


def embedding(
    ids: tf.Tensor,
    vocab_size: int,
    width: int,
    scope: str,
    initializer: Initializer,
    trainable: bool = True,
) -> tf.Tensor:
  """Look up rows of `embedding_map`; the op is `<scope>/embedding_lookup`.

  Args:
    ids: integers [...], each below `vocab_size`.
    vocab_size: number of rows.
    width: of each row.
    scope: variable scope.
    initializer: of the variable.
    trainable: whether it is trained.

  Returns:
    float32 [..., width].
  """
  # Inside the scope, so that an error about an id out of range names it.
  with tf1.variable_scope(scope, reuse=tf1.AUTO_REUSE):
    table = _map(vocab_size, width, initializer, trainable)
    return tf.identity(tf.gather(table, ids), 'embedding_lookup')


def embedding_map(
    vocab_size: int,
    width: int,
    scope: str,
    initializer: Initializer,
    trainable: bool = True,
) -> tf.Variable:
  """Return the variable `map` [vocab_size, width]; see `embedding`."""
  with tf1.variable_scope(scope, reuse=tf1.AUTO_REUSE):
    return _map(vocab_size, width, initializer, trainable)


def _map(
    vocab_size: int, width: int, initializer: Initializer, trainable: bool
) -> tf.Variable:
  return tf1.get_variable('map', [vocab_size, width], initializer=initializer,
                          trainable=trainable)


def tied_dense(
    inputs: tf.Tensor, table: tf.Variable, scope: str, dtype: str = 'float32'
) -> tf.Tensor:
  """Apply a linear layer that shares an embedding's weights.

  Its own variable is `biases` [V].

  Args:
    inputs: float32 [N, E].
    table: float32 [V, E], of `embedding_map`.
    scope: variable scope.
    dtype: of the matrix product, see `matmul`.

  Returns:
    float32 [N, V].
  """
  with tf1.variable_scope(scope, reuse=tf1.AUTO_REUSE):
    biases = tf1.get_variable(
        'biases', [table.shape[0]], initializer=tf1.zeros_initializer())
    return matmul(inputs, tf.transpose(table), dtype) + biases
