"""Schedules and the training step."""

from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

from im2txt import configuration
from im2txt.checkpoints import names

tf1 = tf.compat.v1

_OPTIMIZERS = {
    'SGD': tf1.train.GradientDescentOptimizer,
    'Adam': tf1.train.AdamOptimizer,
    'AdamW': tf1.train.AdamOptimizer,
}


def learning_rate(
    config: configuration.TrainingConfig,
    batch_size: int,
    train_encoder: bool,
    global_step: tf.Tensor,
) -> tf.Tensor:
  """Build the learning rate: of the schedule, or a constant in phase 2.

  The staircase is im2txt's; the cosine is of Loshchilov and Hutter 2017,
  https://arxiv.org/abs/1608.03983, section 3, without restarts.

  Args:
    config: the schedule.
    batch_size: image-caption pairs a step.
    train_encoder: whether this is phase 2.
    global_step: int64 [].

  Returns:
    float32 [].

  Raises:
    ValueError: there is no such decay.
  """
  if train_encoder:
    return tf.constant(config.train_inception_learning_rate)
  rate = configuration.lookup(
      {'staircase': _staircase, 'cosine': _cosine}, 'learning_rate_decay',
      config.learning_rate_decay)(config, batch_size, global_step)
  if config.warmup_steps:
    rate *= tf.minimum(
        1.0, tf.cast(global_step + 1, tf.float32) / config.warmup_steps)
  return rate


def _staircase(config, batch_size, global_step) -> tf.Tensor:
  if config.learning_rate_decay_factor <= 0:
    return tf.constant(config.initial_learning_rate)
  return tf1.train.exponential_decay(
      config.initial_learning_rate, global_step,
      decay_steps=_decay_steps(config, batch_size),
      decay_rate=config.learning_rate_decay_factor, staircase=True)


def _cosine(config, batch_size, global_step) -> tf.Tensor:
  return tf1.train.cosine_decay(
      config.initial_learning_rate, global_step,
      decay_steps=_decay_steps(config, batch_size),
      alpha=config.cosine_final_fraction)


def _decay_steps(
    config: configuration.TrainingConfig, batch_size: int
) -> int:
  steps_per_epoch = config.num_examples_per_epoch / batch_size
  return max(1, int(steps_per_epoch * config.num_epochs_per_decay))


def sampling_rate(
    config: configuration.TrainingConfig,
    batch_size: int,
    global_step: tf.Tensor,
) -> tf.Tensor | None:
  """Build the rate of scheduled sampling; None: there is none.

  It is the share of input words that the model draws itself, and rises
  linearly (Bengio et al. 2015, https://arxiv.org/abs/1506.03099, section 2.4,
  schedule the share of the caption's own words instead, which falls).

  Args:
    config: the schedule.
    batch_size: image-caption pairs a step.
    global_step: int64 [].

  Returns:
    float32 [].
  """
  if not config.scheduled_sampling:
    return None
  steps = (config.scheduled_sampling_epochs * config.num_examples_per_epoch
           / batch_size)
  return config.scheduled_sampling * tf.minimum(
      1.0, tf.cast(global_step, tf.float32) / steps)


def fill_missing_slots(
    variables: Iterable[tf.Variable], values: dict[str, Any]
) -> None:
  """Add, to a checkpoint's values, those of the optimizer that it lacks.

  A moving average that is missing starts at its weight. Where slots are
  missing, as the encoder's are in phase 2, Adam's bias correction, which is one
  for all slots, starts anew: an old one would make the first steps of the new
  slots three times too long.

  Args:
    variables: of the graph.
    values: by name; changed in place.
  """
  scope = f'{names.VARIABLE_SCOPE}/'
  absent = [v.op.name for v in variables
            if v.op.name.startswith(scope) and v.op.name not in values]
  for name in absent:
    averaged = name.removeprefix(scope).removesuffix(f'/{names.AVERAGE}')
    if name == names.average_name(averaged) and averaged in values:
      values[name] = values[averaged]
  if any(not name.endswith(f'/{names.AVERAGE}') for name in absent):
    for power in ('beta1_power', 'beta2_power'):
      values.pop(scope + power, None)


class _Update(tf1.train.Optimizer):
  """Optimizer that clips the gradient to a global norm."""

  def __init__(self, config: configuration.TrainingConfig, rate: tf.Tensor):
    """Create the inner optimizer.

    Args:
      config: optimizer, clipping and averaging.
      rate: float32 [], learning rate.

    Raises:
      ValueError: there is no such optimizer.
    """
    super().__init__(False, 'update')
    self._optimizer = configuration.lookup(
        _OPTIMIZERS, 'optimizer', config.optimizer)(rate)
    self._config = config
    self._rate = rate

  def apply_gradients(self, grads_and_vars, global_step=None, name=None):
    """Apply clipped gradients; also decay and average the weights."""
    gradients, variables = zip(*grads_and_vars, strict=True)
    gradients, _ = tf.clip_by_global_norm(
        gradients, self._config.clip_gradients)
    before = []
    if self._config.optimizer == 'AdamW':
      with tf.control_dependencies(tf.nest.flatten(
          gradients, expand_composites=True)):
        before = _decay_weights(
            variables, self._rate * self._config.weight_decay)
    with (tf1.variable_scope(names.VARIABLE_SCOPE),
          tf.control_dependencies(before)):
      step = self._optimizer.apply_gradients(
          zip(gradients, variables, strict=True), global_step, name)
      if self._config.ema_decay:
        with tf.control_dependencies([step]):
          step = tf1.train.ExponentialMovingAverage(
              self._config.ema_decay, global_step, name=names.AVERAGE
          ).apply(variables)
    return step


def train_op(
    config: configuration.TrainingConfig,
    loss: tf.Tensor,
    rate: tf.Tensor,
    wrap_optimizer: Callable[
        [tf1.train.Optimizer], tf1.train.Optimizer] | None = None,
) -> tuple[tf.Operation | tf.Tensor, tf.Tensor]:
  """Build a training step: clipped gradient, update and batch statistics.

  Args:
    config: optimizer, clipping and averaging.
    loss: float32 [].
    rate: float32 [], learning rate.
    wrap_optimizer: returns the optimizer to use in its place, such as one
      that applies the gradients of several replicas; None: the same.

  Returns:
    The op or tensor that makes and counts the step and runs UPDATE_OPS, and
    the global norm of this loss's gradient before clipping, float32 [].

  Raises:
    ValueError: there is no such optimizer.
  """
  update = _Update(config, rate)
  variables = tf1.trainable_variables()
  gradients = _gradients(loss, variables, config.loss_scale)
  norm = tf.linalg.global_norm(gradients)
  tf1.summary.scalar('learning_rate', rate)
  tf1.summary.scalar('gradient_norm', norm)
  with tf.control_dependencies(
      tf1.get_collection(tf1.GraphKeys.UPDATE_OPS)):
    if wrap_optimizer:
      update = wrap_optimizer(update)
    step = update.apply_gradients(
        zip(gradients, variables, strict=True), tf1.train.get_global_step())
  return step, norm


def _gradients(
    loss: tf.Tensor, variables: list[tf.Variable], scale: float
) -> list[tf.Tensor | tf.IndexedSlices]:
  if scale == 1.0:
    return tf1.gradients(loss, variables)
  return [tf.IndexedSlices(g.values / scale, g.indices, g.dense_shape)
          if isinstance(g, tf.IndexedSlices) else g / scale
          for g in tf1.gradients(loss * scale, variables)]


def _decay_weights(
    variables: Iterable[tf.Variable], share: tf.Tensor
) -> list[tf.Operation]:
  """Build decoupled weight decay of all matrices, but no biases.

  Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101, algorithm 2.
  """
  return [tf1.assign_sub(v, share * v).op
          for v in variables
          if len(v.shape) > 1 and not v.op.name.endswith('/bias')]
