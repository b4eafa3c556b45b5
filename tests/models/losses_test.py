"""The caption loss against numpy, and what padding must not do."""

import fresh_session
import numpy as np
import pytest
import tensorflow as tf

from im2txt.models import losses

tf1 = tf.compat.v1

B, T, H, V = 3, 5, 7, 13
LENGTHS = (5, 2, 3)


@pytest.fixture(autouse=True)
def graph():
  with tf.Graph().as_default():
    yield


def arrays(lengths, length=T, seed=1):
  random = np.random.default_rng(seed)
  hidden = random.normal(size=(B, length, H)).astype(np.float32)
  targets = random.integers(0, V, (B, length)).astype(np.int32)
  mask = (np.arange(length) < np.array(lengths)[:, None]).astype(np.int32)
  return hidden, targets, mask


def compute(hidden, targets, mask, label_smoothing=0.0, biases=0.0,
            caption_weights=None):
  """The loss, the gradient by `hidden`, and the projection that was used."""
  weights = tf.constant(
      np.random.default_rng(2).normal(size=(H, V)), tf.float32)
  hidden = tf.constant(hidden)
  loss = losses.sequence_loss(
      hidden, tf.constant(targets), tf.constant(mask),
      lambda hidden: tf.matmul(hidden, weights) + biases, label_smoothing,
      caption_weights)
  with fresh_session.make() as session:
    return session.run(
        [loss, tf.gradients(loss.smoothed, hidden)[0], weights])


def test_loss_is_the_mean_cross_entropy_of_the_words():
  hidden, targets, mask = arrays(LENGTHS)
  loss, _, weights = compute(hidden, targets, mask)
  logits = (hidden @ weights).astype(np.float64)
  log_z = np.log(np.exp(logits).sum(-1))
  expected = mask * (
      log_z - np.take_along_axis(logits, targets[..., None], -1)[..., 0])
  assert loss.losses.shape == loss.weights.shape == (B * T,)
  np.testing.assert_allclose(loss.losses, expected.reshape(-1), atol=1e-4)
  np.testing.assert_array_equal(loss.weights, mask.reshape(-1))
  np.testing.assert_allclose(loss.mean, expected.sum() / sum(LENGTHS),
                             rtol=1e-5)


@pytest.mark.parametrize('label_smoothing', [0.0, 0.2])
def test_captions_can_be_weighed(label_smoothing):
  hidden, targets, mask = arrays(LENGTHS)
  alone = []
  for row in range(B):
    one = (np.arange(B) == row)[:, np.newaxis] * mask
    alone.append(compute(hidden, targets, one, label_smoothing)[0].smoothed
                 * one.sum())
  weights = np.array([0.5, -2.0, 3.0], np.float32)
  plain, _, _ = compute(hidden, targets, mask, label_smoothing)
  loss, gradient, _ = compute(
      hidden, targets, mask, label_smoothing,
      caption_weights=tf.constant(weights))
  np.testing.assert_allclose(
      loss.smoothed, weights @ alone / mask.sum(), rtol=1e-5)
  assert loss.mean == plain.mean and loss.accuracy == plain.accuracy
  assert gradient[mask == 1].all()


def test_content_of_padding_changes_nothing():
  hidden, targets, mask = arrays(LENGTHS)
  loss, gradient, _ = compute(hidden, targets, mask)
  padding = mask == 0
  assert not gradient[padding].any() and gradient[~padding].all()
  hidden[padding] = 1e6
  # A padded target may even be no word at all.
  targets[padding] = 10 * V
  again, gradient_again, _ = compute(hidden, targets, mask)
  np.testing.assert_array_equal(again.mean, loss.mean)
  np.testing.assert_array_equal(again.losses, loss.losses)
  np.testing.assert_array_equal(gradient_again, gradient)


def test_more_padding_changes_nothing():
  hidden, targets, mask = arrays(LENGTHS)
  loss, _, _ = compute(hidden, targets, mask)
  wider = [np.pad(x, [(0, 0), (0, 4)] + [(0, 0)] * (x.ndim - 2))
           for x in (hidden, targets, mask)]
  again, _, _ = compute(*wider)
  np.testing.assert_allclose(again.mean, loss.mean, rtol=1e-6)
  np.testing.assert_allclose(
      again.losses.reshape(B, T + 4)[:, :T], loss.losses.reshape(B, T),
      rtol=1e-6)


def test_word_0_counts_where_the_mask_says_word():
  hidden, targets, mask = arrays(LENGTHS)
  targets[:] = 0
  loss, _, _ = compute(hidden, targets, mask)
  assert np.count_nonzero(loss.losses) == sum(LENGTHS)


def test_padding_before_words_is_padding_too():
  hidden, targets, mask = arrays(LENGTHS)
  loss, _, _ = compute(hidden, targets, mask)
  again, _, _ = compute(
      *(np.ascontiguousarray(x[:, ::-1]) for x in (hidden, targets, mask)))
  np.testing.assert_allclose(again.mean, loss.mean, rtol=1e-6)


def test_a_batch_of_nothing_but_padding_costs_nothing():
  loss, gradient, _ = compute(*arrays([0, 0, 0]))
  assert loss.mean == 0.0
  assert not loss.losses.any() and loss.losses.shape == (B * T,)
  assert not gradient.any() and np.isfinite(gradient).all()


def test_loss_is_an_average_by_word_not_by_caption():
  hidden, targets, mask = arrays((5, 1, 1))
  loss, _, _ = compute(hidden, targets, mask)
  by_caption = np.mean([
      row.sum() / length for row, length
      in zip(loss.losses.reshape(B, T), (5, 1, 1), strict=True)])
  np.testing.assert_allclose(loss.mean, loss.losses.sum() / 7, rtol=1e-6)
  assert abs(loss.mean - by_caption) > 1e-3


def test_smoothing_is_a_cross_entropy_with_a_little_of_every_word():
  hidden, targets, mask = arrays(LENGTHS)
  plain, _, weights = compute(hidden, targets, mask)
  loss, gradient, _ = compute(hidden, targets, mask, label_smoothing=0.2)
  logits = (hidden @ weights).astype(np.float64)
  log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  wanted = 0.8 * np.eye(V)[targets] + 0.2 / V
  expected = -(wanted * log_p).sum(-1)[mask == 1].mean()
  np.testing.assert_allclose(loss.smoothed, expected, rtol=1e-5)
  assert loss.mean == plain.mean == plain.smoothed != loss.smoothed
  assert not gradient[mask == 0].any()


def test_accuracy_is_the_share_of_words_that_were_most_probable():
  hidden, targets, mask = arrays(LENGTHS)
  _, _, weights = compute(hidden, targets, mask)
  said = (hidden @ weights).argmax(-1)
  # Right at all padding, and at some words.
  targets = np.where(mask == 0, said, targets).astype(np.int32)
  targets[0, :2] = said[0, :2]
  targets[2, 1] = said[2, 1]
  loss, _, _ = compute(hidden, targets, mask)
  expected = (said == targets) & (mask == 1)
  assert 3 <= expected.sum() < sum(LENGTHS)
  np.testing.assert_array_equal(loss.correct, expected.reshape(-1))
  np.testing.assert_allclose(
      loss.accuracy, expected.sum() / sum(LENGTHS), rtol=1e-6)


def test_accuracy_of_nothing_but_padding_is_0():
  loss, _, _ = compute(*arrays([0, 0, 0]))
  assert loss.accuracy == 0.0 and not loss.correct.any()


@pytest.mark.parametrize('label_smoothing', [0.0, 0.2])
def test_banned_words_are_not_counted(label_smoothing):
  hidden, targets, mask = arrays(LENGTHS)
  banned = [4, 7]
  targets = np.where(np.isin(targets, banned), 0, targets).astype(np.int32)
  targets[0, 1], targets[0, 4], targets[2, 2] = 4, 7, 4
  biases = np.zeros(V, np.float32)
  biases[banned] = losses.BANNED
  loss, gradient, weights = compute(
      hidden, targets, mask, label_smoothing, biases)
  counted = (mask == 1) & ~np.isin(targets, banned)
  assert counted.sum() == sum(LENGTHS) - 3
  # As if these words, and these targets, were not there.
  allowed = np.delete(np.arange(V), banned)
  logits = (hidden @ weights).astype(np.float64)[..., allowed]
  log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  is_target = targets[..., np.newaxis] == allowed
  costs = -(is_target * log_p).sum(-1)
  np.testing.assert_array_equal(loss.weights, counted.reshape(-1))
  np.testing.assert_allclose(
      loss.losses, (counted * costs).reshape(-1), atol=1e-4)
  np.testing.assert_allclose(loss.mean, costs[counted].mean(), rtol=1e-5)
  wanted = (1 - label_smoothing) * is_target + label_smoothing / len(allowed)
  np.testing.assert_allclose(
      loss.smoothed, -(wanted * log_p).sum(-1)[counted].mean(), rtol=1e-5)
  right = (allowed[logits.argmax(-1)] == targets) & counted
  np.testing.assert_array_equal(loss.correct, right.reshape(-1))
  np.testing.assert_allclose(
      loss.accuracy, right.sum() / counted.sum(), rtol=1e-6)
  assert not gradient[~counted].any() and gradient[counted].all()


def test_a_batch_of_nothing_but_banned_words_costs_nothing():
  hidden, targets, mask = arrays(LENGTHS)
  targets[:] = 4
  biases = np.zeros(V, np.float32)
  biases[4] = losses.BANNED
  loss, gradient, _ = compute(hidden, targets, mask, 0.2, biases)
  assert loss.mean == loss.smoothed == loss.accuracy == 0.0
  assert not loss.weights.any() and not gradient.any()


@pytest.mark.parametrize('bias, shown', [
    (-np.inf, np.isposinf),
    (np.nan, np.isnan),
    (-1e30, lambda x: x > 1e28),
    (-1e7, lambda x: x > 1e5),  # Improbable, but not banned.
    (-1e11, lambda x: x > 1e9)])
def test_a_model_gone_astray_shows(bias, shown):
  hidden, targets, mask = arrays(LENGTHS)
  targets[:] = 0
  targets[0, 1] = 4
  biases = np.zeros(V, np.float32)
  biases[4] = bias
  loss, _, _ = compute(hidden, targets, mask, biases=biases)
  assert shown(loss.mean) and shown(loss.smoothed)
  np.testing.assert_array_equal(loss.weights, mask.reshape(-1))
