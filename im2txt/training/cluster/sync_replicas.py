"""Synchronous replicas: each step applies the gradients of all of them.

On TensorFlow's SyncReplicasOptimizer (Chen et al. 2016, "Revisiting
distributed synchronous SGD", https://arxiv.org/abs/1604.00981, without backup
workers): each replica gives its gradient to accumulators on the ps; the chief
takes them when all are there, steps, and puts a token for each replica into a
queue, from which each draws one before it goes on. With that optimizer alone a
fast replica may draw another's token and give two gradients of one step, and
its queue runner does not end; the hook here prevents both.
"""

import contextlib
import threading
import time

import tensorflow as tf

from im2txt.training.cluster.signals import Signals

tf1 = tf.compat.v1

# Wakes a replica that waits for a token.
_WAKE = -1
_PUT_BACK_SECS = 0.005
# How long an interrupted chief waits for the step that it has begun.
_LAST_STEP_SECS = 10.0


class SyncReplicas(tf1.train.Optimizer):
  """Optimizer that applies the weighted mean of all replicas' gradients."""

  def __init__(
      self, optimizer: tf1.train.Optimizer, num_replicas: int,
      weight: tf.Tensor,
  ):
    """Wrap an optimizer.

    Args:
      optimizer: applies the mean gradient.
      num_replicas: number of replicas; each gives a gradient.
      weight: float32 [], sum of the weights that this replica's loss is the
        mean over, such as its words: the gradient is that of the mean over all
        replicas' words.
    """
    super().__init__(False, 'sync_replicas')
    self.num_replicas = num_replicas
    self._weight = weight
    self.inner = tf1.train.SyncReplicasOptimizer(
        _MeanOfSums(optimizer), num_replicas, num_replicas)

  def apply_gradients(self, grads_and_vars, global_step=None, name=None):
    """Give the gradients to the accumulators, and draw a token.

    Returns:
      int64 [], the token: the step that this replica may serve next.
    """
    # Accumulators average a row of a sparse gradient over the replicas that
    # have the row, where the others' gradient is 0.
    sums = [(tf.convert_to_tensor(gradient) * self._weight, variable)
            for gradient, variable in grads_and_vars]
    # A variable for the weight, as the optimizer wants pairs; it is never read.
    place = tf1.get_variable(
        'weight_of_replicas', [], trainable=False, collections=[])
    return tf.identity(self.inner.apply_gradients(
        [*sums, (self._weight, place)], global_step, name))


class _MeanOfSums(tf1.train.Optimizer):
  """Optimizer that divides summed gradients by the last one, the weight."""

  def __init__(self, optimizer: tf1.train.Optimizer):
    super().__init__(False, 'mean_of_sums')
    self._optimizer = optimizer

  def apply_gradients(self, grads_and_vars, global_step=None, name=None):
    """Apply gradients, of which the last is the weight."""
    *sums, (weight, _) = grads_and_vars
    return self._optimizer.apply_gradients(
        [(tf.math.divide_no_nan(gradient, weight), variable)
         for gradient, variable in sums],
        global_step, name)


class SyncReplicasHook(tf1.train.SessionRunHook):
  """Hook that lets each replica serve each step once, and ends them all."""

  def __init__(
      self, optimizer: SyncReplicas, token: tf.Tensor, signals: Signals,
      is_chief: bool, last_step: int, options: tf1.RunOptions,
      interrupted: threading.Event,
  ):
    """Add ops to the graph.

    Args:
      optimizer: its `apply_gradients` has been called.
      token: what that returned.
      signals: of the cluster.
      is_chief: whether this replica steps for all.
      last_step: step at which training ends.
      options: with the time limit of a step.
      interrupted: set when this replica shall not wait for others any more.
    """
    self._optimizer = optimizer
    self._token = token
    self._is_chief = is_chief
    self._last_step = last_step
    self._options = options
    self._interrupted = interrupted
    self._served = None
    self._times_started = None
    global_step = tf1.train.get_global_step()
    [self._local_step] = [
        v for v in tf1.local_variables()
        if v.op.name.endswith('sync_rep_local_step')]
    with tf.device(global_step.device):
      tokens = tf.queue.FIFOQueue(
          -1, tf.int64, [()], shared_name='sync_token_q')
      self._draw = tokens.dequeue()
      self._chosen = tf1.placeholder(tf.int64, [])
      self._put_back = tokens.enqueue(self._chosen)
      with tf.control_dependencies([signals.mark_finished]):
        # Wakes those that wait for a token, too.
        self.mark_finished = self._wake(tokens)
      self._wake_all = self._wake(tokens)
    self._claim = tf1.assign(self._local_step, self._chosen).op
    self._state = [global_step, signals.times_started, signals.finished]
    self._first_tokens = optimizer.inner.get_init_tokens_op(
        optimizer.num_replicas - 1)
    [self._step_for_all] = optimizer.inner.get_chief_queue_runner().enqueue_ops

  def _wake(self, tokens: tf.queue.FIFOQueue) -> tf.Operation:
    return tokens.enqueue_many(
        [tf.fill([self._optimizer.num_replicas], tf.constant(_WAKE, tf.int64))])

  def after_create_session(self, session, coord):
    """Start the threads that step for all and that wake the others."""
    if self._is_chief:
      session.run(self._optimizer.inner.chief_init_op)
      # Replicas may wait for a token of a chief before this one.
      session.run(self._first_tokens)
      self._in_background(self._step, session, coord)
    else:
      session.run(self._optimizer.inner.local_step_init_op)
    self._in_background(self._wake_if_interrupted, session, coord)
    self._served, (_, self._times_started, _) = session.run(
        [self._local_step, self._state])

  def before_run(self, run_context):
    """Fetch the token."""
    return tf1.train.SessionRunArgs(self._token)

  def after_run(self, run_context, run_values):
    """Draw tokens until there is one of a step to serve."""
    session = run_context.session
    token = run_values.results
    began = time.monotonic()
    interrupted = None
    while True:
      step, times_started, finished = session.run(self._state)
      if interrupted is None and self._interrupted.is_set():
        interrupted = time.monotonic()
      # A checkpoint must be of one whole step: an interrupted chief waits for
      # the step that its gradient is a part of.
      ends = interrupted is not None and not (
          self._is_chief and step == self._served
          and time.monotonic() < interrupted + _LAST_STEP_SECS)
      if finished or ends or step >= self._last_step:
        run_context.request_stop()
        return
      if run_context.stop_requested and interrupted is None:
        return
      if time.monotonic() - began > self._options.timeout_in_ms / 1000:
        raise tf.errors.DeadlineExceededError(None, None, 'no step in time')
      if times_started != self._times_started and not self._is_chief:
        # The chief came back: the step may be an earlier one again.
        self._times_started, self._served = times_started, None
      if token == step != self._served:
        session.run(self._claim, {self._chosen: token})
        self._served = token
        return
      if token == step:  # It is for another replica.
        session.run(self._put_back, {self._chosen: token})
        time.sleep(_PUT_BACK_SECS)
      token = session.run(self._draw, options=self._options)

  def _in_background(self, target, session, coord) -> None:
    # A daemon: it may wait for a gradient that never comes.
    threading.Thread(
        target=target, args=(session, coord), daemon=True).start()

  def _step(self, session: tf1.Session, coord: tf.train.Coordinator) -> None:
    """Step whenever all gradients are there, while the session lasts."""
    try:
      while not coord.should_stop():
        session.run(self._step_for_all)
    except (tf.errors.CancelledError, tf.errors.AbortedError,
            tf.errors.UnavailableError, RuntimeError):
      pass  # The session is closed, or its own thread gets this error, too.
    except tf.errors.OpError as error:
      coord.request_stop(error)

  def _wake_if_interrupted(
      self, session: tf1.Session, coord: tf.train.Coordinator
  ) -> None:
    self._interrupted.wait()
    with contextlib.suppress(tf.errors.OpError, RuntimeError):
      while not coord.should_stop():
        session.run(self._wake_all)
        time.sleep(1.0)
