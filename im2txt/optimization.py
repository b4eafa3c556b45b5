"""Learning rates and the training step."""

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from im2txt import configuration

tf1 = tf.compat.v1

# Scope of the optimiser's own variables.
VARIABLE_SCOPE = 'optimizer'

_OPTIMIZERS = {
    'SGD': tf1.train.GradientDescentOptimizer,
    'Adam': tf1.train.AdamOptimizer,
}


def learning_rate(
    config: configuration.TrainingConfig,
    batch_size: int,
    train_encoder: bool,
    global_step: tf.Tensor,
) -> tf.Tensor:
  """The rate at a step: im2txt's staircase, or a constant in phase 2.

  Args:
    config: the schedule.
    batch_size: image-caption pairs a step.
    train_encoder: whether this is phase 2.
    global_step: int64 [].

  Returns:
    float32 [].
  """
  if train_encoder:
    return tf.constant(config.train_inception_learning_rate)
  if config.learning_rate_decay_factor <= 0:
    return tf.constant(config.initial_learning_rate)
  steps_per_epoch = config.num_examples_per_epoch / batch_size
  return tf1.train.exponential_decay(
      config.initial_learning_rate, global_step,
      decay_steps=max(1, int(steps_per_epoch * config.num_epochs_per_decay)),
      decay_rate=config.learning_rate_decay_factor, staircase=True)


def forget_powers(
    variables: Iterable[tf.Variable], values: dict[str, Any]
) -> None:
  """Drops Adam's bias correction from a checkpoint's values if it must begin.

  Adam has one correction for all slots. Where some begin anew, as the
  encoder's do in phase 2, that of the old ones would make their first steps
  three times too long.

  Args:
    variables: of the graph.
    values: by name; changed in place.
  """
  scope = f'{VARIABLE_SCOPE}/'
  if any(v.op.name.startswith(scope) and v.op.name not in values
         for v in variables):
    for power in ('beta1_power', 'beta2_power'):
      values.pop(scope + power, None)


def train_op(
    config: configuration.TrainingConfig,
    loss: tf.Tensor,
    rate: tf.Tensor,
) -> tuple[tf.Operation, tf.Tensor]:
  """One step down the gradient, clipped to a global norm.

  Args:
    config: optimiser and clipping.
    loss: float32 [].
    rate: float32 [], learning rate.

  Returns:
    The operation, which also counts the step and runs UPDATE_OPS, and the
    gradient's global norm before clipping, float32 [].

  Raises:
    ValueError: there is no such optimiser.
  """
  if config.optimizer not in _OPTIMIZERS:
    raise ValueError(f'optimizer is {config.optimizer!r}; it must be one of '
                     f'{", ".join(map(repr, _OPTIMIZERS))}')
  optimizer = _OPTIMIZERS[config.optimizer](rate)
  variables = tf1.trainable_variables()
  gradients = tf.gradients(loss, variables)
  gradients, norm = tf.clip_by_global_norm(gradients, config.clip_gradients)
  tf1.summary.scalar('learning_rate', rate)
  tf1.summary.scalar('gradient_norm', norm)
  updates = tf1.get_collection(tf1.GraphKeys.UPDATE_OPS)
  with (tf1.variable_scope(VARIABLE_SCOPE),
        tf.control_dependencies(updates)):
    step = optimizer.apply_gradients(
        zip(gradients, variables, strict=True), tf1.train.get_global_step())
  return step, norm
