"""What TensorFlow says of a failed graph, in one line."""

import re

import tensorflow as tf


def reason(error: tf.errors.OpError) -> str:
  """The sentence that says what went wrong, without the graph around it."""
  message = re.sub(r"^.*?\nNode: '[^\n]*'\n", '', error.message, flags=re.S)
  sentences = [line.strip() for line in message.splitlines()
               if line.strip() and '{{node' not in line]
  return sentences[0] if sentences else type(error).__name__
