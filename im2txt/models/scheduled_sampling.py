"""Scheduled sampling: training on the model's own words.

Bengio, Vinyals, Jaitly and Shazeer 2015, https://arxiv.org/abs/1506.03099:
each word that the decoder reads is, with a rising probability, drawn from its
last prediction. No gradient flows through the sampling.
"""

from typing import Any

import tensorflow as tf

from im2txt.decoders import Decoder


def unroll(
    decoder: Decoder, memory: Any, input_seqs: tf.Tensor, rate: tf.Tensor
) -> tf.Tensor:
  """Read captions, some of their words replaced by the decoder's own.

  The first word, which marks the start, is never replaced.

  Args:
    decoder: which reads the captions.
    memory: of `decoder.prepare`, [B, ...].
    input_seqs: int32 [B, T].
    rate: float32 [], probability of the decoder's own word.

  Returns:
    Hidden float32 [B, T, H]; at rate 0 equal to `decoder.unroll`.
  """
  batch_size, length = tf.unstack(tf.shape(input_seqs))
  # Shifted by one: what is read after each step.
  following = tf.concat(
      [input_seqs[:, 1:], tf.zeros_like(input_seqs[:, :1])], axis=1)

  def body(t, words, state, outputs):
    hidden, state = decoder.step(memory, words, state)
    drawn = tf.random.categorical(
        decoder.logits(hidden), 1, dtype=tf.int32)[:, 0]
    words = tf.where(
        tf.random.uniform([batch_size]) < rate, drawn, following[:, t])
    return t + 1, words, state, outputs.write(t, hidden)

  *_, outputs = tf.while_loop(
      lambda t, *_: t < length, body,
      (tf.constant(0), input_seqs[:, 0], decoder.initial_state(memory),
       tf.TensorArray(tf.float32, length)),
      # Words are drawn in the order of the steps, which a seed needs.
      parallel_iterations=1)
  return tf.transpose(outputs.stack(), [1, 0, 2])
