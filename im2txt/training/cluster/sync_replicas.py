"""Replicas that take each step together: one step of their summed losses.

On TensorFlow's SyncReplicasOptimizer (Chen et al. 2016, "Revisiting
distributed synchronous SGD", https://arxiv.org/abs/1604.00981, without backup
workers): each replica gives its gradient to accumulators on the ps; the chief
takes them when all are there, steps, and puts a token for each replica into a
queue, from which each draws one before it goes on. As that optimiser leaves
it, a fast replica may draw another's token and give two gradients of a step,
and its queue runner does not end; the hook here sees to both.
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
  """Gives gradients of all replicas to an optimiser as one."""

  def __init__(
      self, optimizer: tf1.train.Optimizer, num_replicas: int,
      weight: tf.Tensor,
  ):
    """Notes what to do with gradients.

    Args:
      optimizer: takes a step.
      num_replicas: of which each gives a gradient.
      weight: float32 [], what this replica's loss is the mean of, such as
        words: the gradient is that of the mean over all replicas' words.
    """
    super().__init__(False, 'sync_replicas')
    self.num_replicas = num_replicas
    self._weight = weight
    self.inner = tf1.train.SyncReplicasOptimizer(
        _MeanOfSums(optimizer), num_replicas, num_replicas)

  def apply_gradients(self, grads_and_vars, global_step=None, name=None):
    """See the base class.

    Returns:
      int64 [], the token drawn: the step that this replica may serve next.
    """
    # Accumulators average a row of a sparse gradient over the replicas that
    # have the row, where the others' gradient is 0.
    sums = [(tf.convert_to_tensor(gradient) * self._weight, variable)
            for gradient, variable in grads_and_vars]
    # A place for the weight; it is never read.
    place = tf1.get_variable(
        'weight_of_replicas', [], trainable=False, collections=[])
    return tf.identity(self.inner.apply_gradients(
        [*sums, (self._weight, place)], global_step, name))


class _MeanOfSums(tf1.train.Optimizer):
  """Divides what accumulators give by their last: mean weight of a replica."""

  def __init__(self, optimizer: tf1.train.Optimizer):
    super().__init__(False, 'mean_of_sums')
    self._optimizer = optimizer

  def apply_gradients(self, grads_and_vars, global_step=None, name=None):
    """See the base class."""
    *sums, (weight, _) = grads_and_vars
    return self._optimizer.apply_gradients(
        [(tf.math.divide_no_nan(gradient, weight), variable)
         for gradient, variable in sums],
        global_step, name)


class SyncReplicasHook(tf1.train.SessionRunHook):
  """Lets each replica serve each step once, and all of them end."""

  def __init__(
      self, optimizer: SyncReplicas, token: tf.Tensor, signals: Signals,
      is_chief: bool, last_step: int, options: tf1.RunOptions,
      interrupted: threading.Event,
  ):
    """Adds ops to the graph.

    Args:
      optimizer: whose gradients have been applied.
      token: what that returned.
      signals: of the cluster.
      is_chief: whether this replica steps for all.
      last_step: where training ends.
      options: how long to wait for a token.
      interrupted: this replica shall not wait for others any more.
    """
    self._optimizer = optimizer
    self._token = token
    self._is_chief = is_chief
    self._last_step = last_step
    self._options = options
    self._interrupted = interrupted
    self._served = None
    self._times_begun = None
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
      with tf.control_dependencies([signals.say_finished]):
        # Says so to those that wait for a token, too.
        self.say_finished = self._wake(tokens)
      self._wake_all = self._wake(tokens)
    self._claim = tf1.assign(self._local_step, self._chosen).op
    self._state = [global_step, signals.times_begun, signals.finished]
    self._first_tokens = optimizer.inner.get_init_tokens_op(
        optimizer.num_replicas - 1)
    [self._step_for_all] = optimizer.inner.get_chief_queue_runner().enqueue_ops

  def _wake(self, tokens: tf.queue.FIFOQueue) -> tf.Operation:
    return tokens.enqueue_many(
        [tf.fill([self._optimizer.num_replicas], tf.constant(_WAKE, tf.int64))])

  def after_create_session(self, session, coord):
    """See the base class."""
    if self._is_chief:
      session.run(self._optimizer.inner.chief_init_op)
      # Replicas may wait for a token of a chief before this one.
      session.run(self._first_tokens)
      self._in_background(self._step, session, coord)
    else:
      session.run(self._optimizer.inner.local_step_init_op)
    self._in_background(self._wake_if_interrupted, session, coord)
    self._served, (_, self._times_begun, _) = session.run(
        [self._local_step, self._state])

  def before_run(self, run_context):
    """See the base class."""
    return tf1.train.SessionRunArgs(self._token)

  def after_run(self, run_context, run_values):
    """Draws tokens until there is one of a step to serve."""
    session = run_context.session
    token = run_values.results
    began = time.monotonic()
    interrupted = None
    while True:
      step, times_begun, finished = session.run(self._state)
      if interrupted is None and self._interrupted.is_set():
        interrupted = time.monotonic()
      # What is saved must be of one step: the chief's gradient may be in that
      # of a step to come.
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
      if times_begun != self._times_begun and not self._is_chief:
        # The chief came back: steps may have gone back.
        self._times_begun, self._served = times_begun, None
      if token == step != self._served:
        session.run(self._claim, {self._chosen: token})
        self._served = token
        return
      if token == step:  # Another's.
        session.run(self._put_back, {self._chosen: token})
        time.sleep(_PUT_BACK_SECS)
      token = session.run(self._draw, options=self._options)

  def _in_background(self, target, session, coord) -> None:
    # No session waits for it: it may itself wait for what never comes.
    threading.Thread(
        target=target, args=(session, coord), daemon=True).start()

  def _step(self, session: tf1.Session, coord: tf.train.Coordinator) -> None:
    """Steps whenever all gradients are there, as long as there is a session."""
    try:
      while not coord.should_stop():
        session.run(self._step_for_all)
    except (tf.errors.CancelledError, tf.errors.AbortedError,
            tf.errors.UnavailableError, RuntimeError):
      pass  # It was closed, or meets this error in its own thread.
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
