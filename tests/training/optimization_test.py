"""Schedules at their edges, and single training steps."""

import math

import fresh_session
import numpy as np
import pytest
import tensorflow as tf

from im2txt import configuration
from im2txt.checkpoints import names
from im2txt.layers import gru
from im2txt.training import optimization

tf1 = tf.compat.v1


@pytest.fixture(autouse=True)
def graph():
  with tf.Graph().as_default():
    yield


def rates(config, batch_size, train_encoder, steps):
  step = tf1.placeholder(tf.int64, [])
  rate = optimization.learning_rate(config, batch_size, train_encoder, step)
  assert rate.shape == [] and rate.dtype == tf.float32
  with fresh_session.make() as session:
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


def test_cosine_falls_to_its_share_and_stays():
  config = configuration.TrainingConfig(
      num_examples_per_epoch=80, num_epochs_per_decay=2.0,
      initial_learning_rate=3.0, learning_rate_decay='cosine',
      cosine_final_fraction=0.1)
  np.testing.assert_allclose(  # 2 * 80 / 8 = 20 steps from 3.0 to 0.3.
      rates(config, 8, False, [0, 5, 10, 20, 99]),
      [3.0, 1.65 + 1.35 * math.cos(math.pi / 4), 1.65, 0.3, 0.3], rtol=1e-5)


@pytest.mark.parametrize('decay', ['staircase', 'cosine'])
def test_warm_up_rises_to_the_schedule(decay):
  config = configuration.TrainingConfig(
      learning_rate_decay=decay, warmup_steps=5)
  np.testing.assert_allclose(
      rates(config, 32, False, [0, 1, 3, 4, 5]), [0.4, 0.8, 1.6, 2.0, 2.0],
      rtol=1e-5)


def test_an_unknown_decay_is_refused_by_name():
  config = configuration.TrainingConfig(learning_rate_decay='linear')
  with pytest.raises(ValueError, match="learning_rate_decay is 'linear'"):
    rates(config, 32, False, [0])


def test_the_share_of_own_words_rises_linearly():
  config = configuration.TrainingConfig(
      num_examples_per_epoch=80, scheduled_sampling=0.25,
      scheduled_sampling_epochs=2.0)
  step = tf1.placeholder(tf.int64, [])
  rate = optimization.sampling_rate(config, 8, step)  # Over 20 steps.
  with fresh_session.make() as session:
    np.testing.assert_allclose(
        [session.run(rate, {step: n}) for n in (0, 5, 20, 99)],
        [0.0, 0.0625, 0.25, 0.25])
  assert optimization.sampling_rate(
      configuration.TrainingConfig(), 8, step) is None


def run_steps(config, loss_of, rate=0.5, steps=1):
  """Train x = [3, 4] of loss_of(x); return x and norm after each step."""
  tf1.train.get_or_create_global_step()
  x = tf1.get_variable('x', initializer=np.array([3.0, 4.0], np.float32))
  step, norm = optimization.train_op(config, loss_of(x), tf.constant(rate))
  seen = []
  with fresh_session.make() as session:
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


@pytest.mark.parametrize('name', ['SGD', 'Adam', 'AdamW'])
def test_all_find_the_minimum(name):
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
  with fresh_session.make() as session:
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
  with fresh_session.make() as session:
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


def train(config, loss_of, rate, steps=1):
  """Train a matrix and a bias; return all variables after each step."""
  tf1.train.get_or_create_global_step()
  matrix = tf1.get_variable('matrix', initializer=np.full(
      (2, 3), 4.0, np.float32))
  bias = tf1.get_variable('bias', initializer=np.full(3, 2.0, np.float32))
  step, _ = optimization.train_op(
      config, loss_of(matrix, bias), tf.constant(rate))
  seen = []
  with fresh_session.make() as session:
    session.run(tf1.global_variables_initializer())
    for _ in range(steps):
      session.run(step)
      seen.append({v.op.name: session.run(v) for v in tf1.global_variables()})
  return seen


def test_adamw_shrinks_matrices_and_not_biases():
  # Adam's first step is as long as the rate.
  config = configuration.TrainingConfig(optimizer='AdamW', weight_decay=0.1)
  [values] = train(
      config, lambda matrix, bias: tf.reduce_sum(matrix) + tf.reduce_sum(bias),
      rate=0.5)
  np.testing.assert_allclose(
      values['matrix'], 4.0 * (1.0 - 0.5 * 0.1) - 0.5, rtol=1e-5)
  np.testing.assert_allclose(values['bias'], 2.0 - 0.5, rtol=1e-5)


def test_adamw_leaves_the_biases_of_a_gru_alone_too():
  config = configuration.TrainingConfig(optimizer='AdamW', weight_decay=0.1)
  cell = gru.GRU(3, 'cell', tf1.ones_initializer())
  _, state = cell.step(tf.ones([2, 5]), cell.zero_state(tf.constant(2)))
  bias, = [v for v in tf1.global_variables() if v.op.name.endswith('/bias')]
  step, _ = optimization.train_op(
      config, 0.0 * tf.reduce_sum(state), tf.constant(0.5))
  with fresh_session.make() as session:
    session.run(tf1.global_variables_initializer())
    session.run(bias.assign(tf.ones_like(bias)))
    session.run(step)
    np.testing.assert_array_equal(session.run(bias), np.ones([2, 9]))


def test_decay_does_not_change_what_the_gradient_is_of():
  config = configuration.TrainingConfig(
      optimizer='AdamW', weight_decay=0.1, clip_gradients=1e9)
  [values] = train(
      config, lambda matrix, bias: tf.reduce_sum(matrix ** 2) + bias[0],
      rate=0.5)
  np.testing.assert_allclose(
      values['optimizer/matrix/Adam'], 0.1 * 2.0 * 4.0, rtol=1e-5)


def test_average_follows_the_weights():
  config = configuration.TrainingConfig(ema_decay=0.15)
  seen = train(config, lambda matrix, bias: tf.reduce_sum(bias), 0.5, steps=4)
  average = 2.0
  for n, values in enumerate(seen, 1):
    share = min(0.15, (1 + n) / (10 + n))  # Of few steps it keeps less.
    bias = 2.0 - 0.5 * n
    average = share * average + (1.0 - share) * bias
    np.testing.assert_allclose(values['bias'], bias, rtol=1e-5)
    np.testing.assert_allclose(
        values[names.average_name('bias')], average, rtol=1e-5)
    assert names.average_name('matrix') in values


def test_without_averages_there_is_no_variable_of_them():
  [values] = train(configuration.TrainingConfig(), lambda m, b: b[0], 0.5)
  assert values.keys() == {'matrix', 'bias', 'global_step'}


@pytest.mark.parametrize('sparse', [False, True])
def test_a_scaled_loss_gives_the_same_step(sparse):
  def loss_of(matrix, bias):
    rows = tf.gather(matrix, [1, 1]) if sparse else matrix
    return tf.reduce_sum(rows ** 2) / 16.0 + bias[0] * bias[1]

  found = []
  for scale in (1.0, 1024.0):
    with tf.Graph().as_default():
      found += train(configuration.TrainingConfig(
          loss_scale=scale, clip_gradients=3.0), loss_of, 0.5)
  assert (found[0]['matrix'][1] != 4.0).all()
  for name, value in found[0].items():
    np.testing.assert_allclose(found[1][name], value, rtol=1e-5)


def test_a_sparse_gradient_stays_sparse():
  tf1.train.get_or_create_global_step()
  table = tf1.get_variable('table', [99, 3])
  optimization.train_op(
      configuration.TrainingConfig(clip_gradients=0.1, loss_scale=2.0),
      tf.reduce_sum(tf.gather(table, [1, 7])), tf.constant(0.5))
  made = {op.type for op in tf1.get_default_graph().get_operations()}
  assert 'ResourceScatterAdd' in made or 'ScatterSub' in made, made
  assert not made & {'ResourceApplyGradientDescent', 'ApplyGradientDescent'}


def variable(name):
  return tf1.get_variable(name, [2])


def test_averages_that_begin_anew_begin_at_the_weights():
  variables = [variable('a'), variable('b'), variable(
      names.average_name('a')), variable(names.average_name('b'))]
  values = {'a': 1, 'b': 2, names.average_name('b'): 3}
  optimization.fill_missing_slots(variables, values)
  assert values == {'a': 1, 'b': 2, names.average_name('a'): 1,
                    names.average_name('b'): 3}


def test_powers_begin_anew_with_any_slot():
  powers = {'optimizer/beta1_power': 1, 'optimizer/beta2_power': 2}
  slots = [variable(name) for name in (
      'a', 'b', 'optimizer/a/Adam', 'optimizer/b/Adam', *powers)]
  values = {'a': 1, 'b': 1, 'optimizer/a/Adam': 3, **powers}
  optimization.fill_missing_slots(slots, values)
  assert values.keys() == {'a', 'b', 'optimizer/a/Adam'}
  values |= {'optimizer/b/Adam': 4, **powers}
  optimization.fill_missing_slots(slots, values)
  assert values.keys() >= powers.keys()
