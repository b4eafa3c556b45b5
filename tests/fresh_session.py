"""Sessions of the current graph, quick to begin."""

import tensorflow as tf

tf1 = tf.compat.v1


# Graphs run as they were built: to optimize them takes TensorFlow longer than a
# test takes to run them. The sessions of the commands do.
UNOPTIMIZED = tf1.ConfigProto()
UNOPTIMIZED.graph_options.rewrite_options.disable_meta_optimizer = True


def make():
  """A session that is quick to begin."""
  return tf1.Session(config=UNOPTIMIZED)


def variables():
  """Shapes of the graph's variables by name."""
  return {v.op.name: v.shape.as_list() for v in tf1.global_variables()}


def run(fetches, feeds=None, values=None):
  """Run with some of the variables, by name, at other than first values."""
  assigns = [tf1.assign(v, values[v.op.name]) for v in tf1.global_variables()
             if v.op.name in (values or {})]
  with make() as session:
    session.run(tf1.global_variables_initializer())
    session.run(assigns)
    return session.run(fetches, feeds)
