"""The training loss of every decoder."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

# Nats; an output bias that bans a word.
BANNED = -1e9


class SequenceLoss(NamedTuple):
  """Cross-entropy of a batch of captions; B captions of padded length T."""

  mean: tf.Tensor      # float32 [], nats per word
  smoothed: tf.Tensor  # float32 [], nats per word, what training minimises
  losses: tf.Tensor    # float32 [B * T], nats; 0 for padding
  # float32 [B * T], 1 for words and 0 for padding and words that are banned.
  weights: tf.Tensor
  correct: tf.Tensor   # float32 [B * T], 1 where the target was most probable
  accuracy: tf.Tensor  # float32 [], share of the words that were


def sequence_loss(
    hidden: tf.Tensor,
    target_seqs: tf.Tensor,
    mask: tf.Tensor,
    logits: Callable[[tf.Tensor], tf.Tensor],
    label_smoothing: float = 0.0,
    caption_weights: tf.Tensor | None = None,
) -> SequenceLoss:
  """Compute the mean cross-entropy of the target words.

  Only real words are projected to the vocabulary, which is where most of the
  decoder's time goes. Words whose output bias is `BANNED` are not counted as
  targets.

  Args:
    hidden: float32 [B, T, H].
    target_seqs: integers [B, T].
    mask: integers [B, T], 1 for words and 0 for padding.
    logits: maps hidden [N, H] to unnormalised log probabilities [N, V].
    label_smoothing: probability taken from the target word and spread evenly
      over all words that are not banned (Szegedy et al. 2015, section 7,
      https://arxiv.org/abs/1512.00567); in `smoothed` only.
    caption_weights: float32 [B], which the losses of each caption are
      multiplied by; in `smoothed` only. None: 1.
  """
  words = tf.where(tf.reshape(mask, [-1]) > 0)  # [N, 1]
  hidden = tf.gather_nd(tf.reshape(hidden, [-1, hidden.shape[-1]]), words)
  targets = tf.gather_nd(tf.reshape(target_seqs, [-1]), words)
  scores = logits(hidden)  # [N, V]
  word_losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
      labels=targets, logits=scores)  # [N]
  # The loss of a model that diverges must show, infinities and NaN too. (So
  # this is no `not x < y`, of which TensorFlow makes `x >= y`.)
  banned = tf.abs(word_losses + BANNED) < -0.01 * BANNED
  word_losses = tf.where(banned, 0.0, word_losses)
  counted = 1.0 - tf.cast(banned, tf.float32)
  number = tf.reduce_sum(counted)
  mean = tf.math.divide_no_nan(tf.reduce_sum(word_losses), number)
  smoothed = word_losses
  if label_smoothing:
    possible = scores > 0.5 * BANNED
    # The even distribution's cross-entropy exceeds the target's by this.
    excess = tf.gather(scores, targets, batch_dims=1) - (
        tf.reduce_sum(tf.where(possible, scores, 0.0), axis=1)
        / tf.reduce_sum(tf.cast(possible, tf.float32), axis=1))  # [N]
    smoothed += label_smoothing * counted * excess
  if caption_weights is not None:
    smoothed *= tf.gather(caption_weights, words[:, 0] // tf.shape(
        mask, tf.int64)[1])
  correct = counted * tf.cast(tf.equal(
      tf.argmax(scores, axis=1, output_type=targets.dtype), targets),
      tf.float32)
  shape = [tf.size(mask, tf.int64)]
  losses, weights, all_correct = (
      tf.scatter_nd(words, x, shape) for x in (word_losses, counted, correct))
  return SequenceLoss(
      mean, tf.math.divide_no_nan(tf.reduce_sum(smoothed), number), losses,
      weights, all_correct,
      tf.math.divide_no_nan(tf.reduce_sum(correct), number))
