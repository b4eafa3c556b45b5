"""Batches of an input pipeline as arrays."""

import fresh_session
import tensorflow as tf

tf1 = tf.compat.v1


def run(batch, at_most=None):
  """Run the pipeline; return all batches there are, or `at_most`."""
  batches = []
  with tf1.train.MonitoredSession(tf1.train.ChiefSessionCreator(
      config=fresh_session.UNOPTIMIZED)) as session:
    while not session.should_stop() and len(batches) != at_most:
      batches.append(session.run(batch))
  return batches
