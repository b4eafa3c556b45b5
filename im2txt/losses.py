"""The training loss of every decoder."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


class SequenceLoss(NamedTuple):
  """Cross-entropy of a batch of captions; B captions of padded length T."""

  mean: tf.Tensor      # float32 [], nats per word
  smoothed: tf.Tensor  # float32 [], nats per word, what training minimises
  losses: tf.Tensor    # float32 [B * T], nats; 0 for padding
  weights: tf.Tensor   # float32 [B * T], 1 for words and 0 for padding


def sequence_loss(
    hidden: tf.Tensor,
    target_seqs: tf.Tensor,
    mask: tf.Tensor,
    logits: Callable[[tf.Tensor], tf.Tensor],
    label_smoothing: float = 0.0,
) -> SequenceLoss:
  """Cross-entropy of the target words, summed and divided by their number.

  Only real words are projected to the vocabulary, which is where most of the
  decoder's time goes.

  Args:
    hidden: float32 [B, T, H].
    target_seqs: integers [B, T].
    mask: integers [B, T], 1 for words and 0 for padding.
    logits: maps hidden [N, H] to unnormalised log probabilities [N, V].
    label_smoothing: probability taken from the target word and spread evenly
      over all V (Szegedy et al. 2015, https://arxiv.org/abs/1512.00567,
      section 7); in `smoothed` only.
  """
  words = tf.where(tf.reshape(mask, [-1]) > 0)  # [N, 1]
  hidden = tf.gather_nd(tf.reshape(hidden, [-1, hidden.shape[-1]]), words)
  targets = tf.gather_nd(tf.reshape(target_seqs, [-1]), words)
  scores = logits(hidden)  # [N, V]
  word_losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
      labels=targets, logits=scores)  # [N]
  weights = tf.cast(tf.reshape(mask, [-1]), tf.float32)  # [B * T]
  mean = smoothed = tf.math.divide_no_nan(
      tf.reduce_sum(word_losses), tf.reduce_sum(weights))
  if label_smoothing:
    # The even distribution's cross-entropy exceeds the target's by this.
    excess = (tf.gather(scores, targets, batch_dims=1)
              - tf.reduce_mean(scores, axis=1))  # [N]
    smoothed += label_smoothing * tf.math.divide_no_nan(
        tf.reduce_sum(excess), tf.reduce_sum(weights))
  losses = tf.scatter_nd(words, word_losses, tf.shape(weights, tf.int64))
  return SequenceLoss(mean, smoothed, losses, weights)
