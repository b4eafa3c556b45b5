"""Learning rates at the edges of their stairs, and single training steps."""

import numpy as np
import pytest
import tensorflow as tf

from im2txt import configuration, optimization

tf1 = tf.compat.v1


@pytest.fixture(autouse=True)
def graph():
  with tf.Graph().as_default():
    yield


def rates(config, batch_size, train_encoder, steps):
  step = tf1.placeholder(tf.int64, [])
  rate = optimization.learning_rate(config, batch_size, train_encoder, step)
  assert rate.shape == [] and rate.dtype == tf.float32
  with tf1.Session() as session:
    return [float(session.run(rate, {step: n})) for n in steps]


def test_staircase_of_im2txt():
  # 8 epochs of 586363 / 32 steps: 146590.75.
  assert rates(configuration.TrainingConfig(), 32, False,
               [0, 146589, 146590, 293179, 293180, 1000000]) == [
                   2.0, 2.0, 1.0, 1.0, 0.5, 2.0 * 0.5 ** 6]


def test_stairs_depend_on_every_number():
  config = configuration.TrainingConfig(
      num_examples_per_epoch=77, num_epochs_per_decay=0.5,
      initial_learning_rate=3.0, learning_rate_decay_factor=0.1)
  np.testing.assert_allclose(  # 0.5 * 77 / 7 = 5.5 steps.
      rates(config, 7, False, [0, 4, 5, 9, 10]), [3.0, 3.0, 0.3, 0.3, 0.03])


def test_factor_0_is_no_decay():
  config = configuration.TrainingConfig(
      num_examples_per_epoch=10, learning_rate_decay_factor=0.0)
  assert rates(config, 10, False, [0, 8, 10 ** 6]) == [2.0] * 3


def test_an_epoch_of_less_than_a_step_decays_at_each_step():
  config = configuration.TrainingConfig(
      num_examples_per_epoch=3, num_epochs_per_decay=1.0)
  assert rates(config, 32, False, [0, 1, 2]) == [2.0, 1.0, 0.5]


def test_rate_of_phase_2_is_constant():
  np.testing.assert_allclose(
      rates(configuration.TrainingConfig(), 32, True, [0, 146590, 10 ** 7]),
      [0.0005] * 3)


def run_steps(config, loss_of, rate=0.5, steps=1):
  """Trains x = [3, 4] of loss_of(x); returns x and norm after each step."""
  tf1.train.get_or_create_global_step()
  x = tf1.get_variable('x', initializer=np.array([3.0, 4.0], np.float32))
  step, norm = optimization.train_op(config, loss_of(x), tf.constant(rate))
  seen = []
  with tf1.Session() as session:
    session.run(tf1.global_variables_initializer())
    for n in range(steps):
      norm_before, _ = session.run([norm, step])
      seen.append((session.run(x), norm_before))
      assert session.run(tf1.train.get_global_step()) == n + 1
  return seen


def quadratic(x):
  return tf.reduce_sum(x * x) / 2.0  # Gradient x, norm 5 at [3, 4].


def test_sgd_goes_down_the_gradient():
  config = configuration.TrainingConfig(clip_gradients=5.5)
  (first, norm), (second, norm_2) = run_steps(config, quadratic, steps=2)
  np.testing.assert_allclose(first, [1.5, 2.0])
  np.testing.assert_allclose(second, [0.75, 1.0])
  np.testing.assert_allclose([norm, norm_2], [5.0, 2.5])


def test_gradient_is_clipped_to_a_global_norm():
  config = configuration.TrainingConfig(clip_gradients=2.5)
  other = tf1.get_variable('other', initializer=np.float32(12.0))
  [(x, norm)] = run_steps(
      config, lambda x: quadratic(x) + other * other / 2.0)
  # The norm of (12, 3, 4) is 13; told before clipping.
  np.testing.assert_allclose(norm, 13.0)
  np.testing.assert_allclose(
      x, np.array([3.0, 4.0]) * (1.0 - 0.5 * 2.5 / 13.0), rtol=1e-6)


def test_adam_steps_by_the_rate_and_keeps_its_slots_under_its_scope():
  config = configuration.TrainingConfig(optimizer='Adam')
  [(x, _)] = run_steps(config, quadratic, rate=0.125)
  np.testing.assert_allclose(x, [2.875, 3.875], rtol=1e-5)
  slots = {v.op.name for v in tf1.global_variables()} - {'x', 'global_step'}
  assert slots
  assert all(name.startswith('optimizer/') for name in slots)


def test_sgd_has_no_variables():
  run_steps(configuration.TrainingConfig(), quadratic)
  assert [v.op.name for v in tf1.global_variables()] == ['global_step', 'x']


@pytest.mark.parametrize('name', ['SGD', 'Adam'])
def test_both_find_the_minimum(name):
  config = configuration.TrainingConfig(optimizer=name)
  x, _ = run_steps(config, quadratic, rate=0.3, steps=60)[-1]
  assert np.abs(x).max() < 0.2


def test_a_step_runs_the_update_ops():
  updated = tf1.get_variable('updated', initializer=1.0, trainable=False)
  tf1.add_to_collection(
      tf1.GraphKeys.UPDATE_OPS, tf1.assign_add(updated, 2.0))
  tf1.train.get_or_create_global_step()
  x = tf1.get_variable('x', initializer=3.0)
  step, _ = optimization.train_op(
      configuration.TrainingConfig(), x * x, tf.constant(0.1))
  with tf1.Session() as session:
    session.run(tf1.global_variables_initializer())
    session.run(step)
    session.run(step)
    assert session.run(updated) == 5.0


def test_untrained_variables_stay():
  frozen = tf1.get_variable('frozen', initializer=2.0, trainable=False)
  run_steps(configuration.TrainingConfig(), lambda x: quadratic(x) * frozen)
  assert tf.gradients(frozen * 1.0, frozen)  # It would have had a gradient.
  assert [v.op.name for v in tf1.trainable_variables()] == ['x']


def test_summaries_are_those_that_train_logs():
  run_steps(configuration.TrainingConfig(), quadratic)
  with tf1.Session() as session:
    session.run(tf1.global_variables_initializer())
    summary = tf1.Summary.FromString(session.run(tf1.summary.merge_all()))
  assert {v.tag: v.simple_value for v in summary.value} == {
      'learning_rate': 0.5, 'gradient_norm': 5.0}


def test_an_unknown_optimizer_is_refused_by_name():
  tf1.train.get_or_create_global_step()
  x = tf1.get_variable('x', initializer=3.0)
  with pytest.raises(ValueError, match="'Sgd'; it must be one of 'SGD', 'A"):
    optimization.train_op(
        configuration.TrainingConfig(optimizer='Sgd'), x * x, tf.constant(1.0))
