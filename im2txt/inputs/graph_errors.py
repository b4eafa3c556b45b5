"""TensorFlow's errors in one line."""

import re

import tensorflow as tf


def reason(error: tf.errors.OpError) -> str:
  """Return the sentence that says what went wrong, without the graph."""
  message = re.sub(r"^.*?\nNode: '[^\n]*'\n", '', error.message, flags=re.S)
  message = message.removeprefix('Graph execution error:')
  # What a tf.data pipeline puts before the words of its own graph.
  message = re.sub(
      r'Error in user-defined function passed to \S+ transformation with '
      r'iterator: \S+: ', '', message)
  # Of an assertion: [a word] [99] [too many].
  message = re.sub(r'assertion failed: \[(.*)\]',
                   lambda found: found[1].replace('] [', ' '), message)
  message = re.sub(r'Inconsistent max number of elements for feature (\S+): '
                   r'expected 1, but found 0', r'no feature \1', message)
  sentences = [line.strip() for line in message.splitlines()
               if line.strip() and '{{node' not in line]
  return sentences[0] if sentences else type(error).__name__
