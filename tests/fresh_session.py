"""Run the current graph in a session of its own."""

import tensorflow as tf

tf1 = tf.compat.v1


def variables():
  """Shapes of the graph's variables by name."""
  return {v.op.name: v.shape.as_list() for v in tf1.global_variables()}


def run(fetches, feeds=None, values=None):
  """Run with some of the variables, by name, at other than first values."""
  assigns = [tf1.assign(v, values[v.op.name]) for v in tf1.global_variables()
             if v.op.name in (values or {})]
  with tf1.Session() as session:
    session.run(tf1.global_variables_initializer())
    session.run(assigns)
    return session.run(fetches, feeds)
