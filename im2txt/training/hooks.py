"""Hooks around each training step: stopping, checking, reporting."""

import contextlib
import math
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import tensorflow as tf
import tqdm
from absl import logging

tf1 = tf.compat.v1


class StepStatistics(NamedTuple):
  """Tensors that are fetched at every step."""

  global_step: tf.Tensor    # int64 []
  total_loss: tf.Tensor     # float32 [], nats
  gradient_norm: tf.Tensor  # float32 [], before clipping
  learning_rate: tf.Tensor  # float32 []
  num_captions: tf.Tensor   # int32 []
  num_words: tf.Tensor      # int32 []
  num_positions: tf.Tensor  # int32 [], words and padding


@contextlib.contextmanager
def interruption() -> Iterator[threading.Event]:
  """Yield an event that Ctrl-C or SIGTERM sets instead of ending the process.

  A second signal has its usual effect. Outside the main thread, where Python
  handles no signals, the event is never set.
  """
  event = threading.Event()
  if threading.current_thread() is not threading.main_thread():
    yield event
    return
  before = {}

  def stop(number, _):
    event.set()
    signal.signal(number, before[number])

  for number in (signal.SIGINT, signal.SIGTERM):
    before[number] = signal.signal(number, stop)
  try:
    yield event
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


class StopOnEventHook(tf1.train.SessionRunHook):
  """Hook that ends training after the current step once an event is set."""

  def __init__(self, event: threading.Event):
    self._event = event

  def after_run(self, run_context, run_values):
    """Stop if the event is set."""
    if self._event.is_set():
      logging.info('Interrupted: saving and stopping')
      run_context.request_stop()


class NotFiniteError(ValueError):
  """Raised when loss, gradient or weights are not finite."""

  def __init__(self, what: str, last_checkpoint: str | None):
    """Make the message.

    Args:
      what: what is not finite.
      last_checkpoint: from where to go on.
    """
    super().__init__(
        f'{what}; the last good checkpoint is {last_checkpoint}. Lower the '
        'learning rate or clip_gradients (--config.training...) and go on from '
        'there')


class CheckFiniteHook(tf1.train.SessionRunHook):
  """Hook that fails, without saving, when loss or gradient is not finite."""

  def __init__(
      self,
      statistics: StepStatistics,
      last_checkpoint: Callable[[], str | None],
  ):
    """Set what to check.

    Args:
      statistics: of each step.
      last_checkpoint: finds the newest checkpoint.
    """
    self._fetches = (statistics.total_loss, statistics.gradient_norm,
                     statistics.global_step)
    self._last_checkpoint = last_checkpoint

  def before_run(self, run_context):
    """Fetch loss, gradient norm and step."""
    return tf1.train.SessionRunArgs(self._fetches)

  def after_run(self, run_context, run_values):
    """Raise NotFiniteError unless loss and gradient norm are finite."""
    loss, norm, step = run_values.results
    if not (math.isfinite(loss) and math.isfinite(norm)):
      raise NotFiniteError(
          f'loss is {loss} and gradient norm {norm} at step {step}',
          self._last_checkpoint())


class ProgressHook(tf1.train.SessionRunHook):
  """Hook that reports: to a bar or the log, and rates to TensorBoard."""

  def __init__(
      self,
      statistics: StepStatistics,
      last_step: int,
      log_every_n_steps: int,
      train_dir: str | None,
      more: Mapping[str, tf.Tensor] = types.MappingProxyType({}),
  ):
    """Set what to report and where.

    Args:
      statistics: of each step.
      last_step: step at which training ends.
      log_every_n_steps: steps between lines, and between rates.
      train_dir: folder of TensorBoard's events; None: write none, as another
        process does.
      more: float32 [] each, by name; lines also have their means since the
        line before.
    """
    self._statistics = statistics
    self._last_step = last_step
    self._every = log_every_n_steps
    self._train_dir = train_dir
    self._more = dict(more)
    self._bar = None
    self._reported = 0
    self._started = 0.0

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Do not count the time of a block as time of the steps."""
    began = time.monotonic()
    yield
    self._started += time.monotonic() - began

  def after_create_session(self, session, coord):
    """Open the bar at the session's first step."""
    step = int(session.run(tf1.train.get_global_step()))
    self._bar = tqdm.tqdm(
        total=self._last_step, initial=step, unit='step', file=sys.stderr,
        disable=None, dynamic_ncols=True)
    self._reported = step // self._every
    self._start_interval(step)

  def before_run(self, run_context):
    """Fetch the statistics."""
    return tf1.train.SessionRunArgs((self._statistics, self._more))

  def after_run(self, run_context, run_values):
    """Count the step; report if it is time to."""
    now, more = run_values.results
    for name, value in more.items():
      self._sums[name] += value
    self._steps += 1
    self._captions += int(now.num_captions)
    self._words += int(now.num_words)
    self._positions += int(now.num_positions)
    # Not by one: other replicas take steps, too, and after the loss of a ps
    # training goes on from an earlier step.
    self._bar.update(int(now.global_step) - self._bar.n)
    self._bar.set_postfix(loss=f'{now.total_loss:.3f}', refresh=False)
    # Not by remainder: the due step may be one of another replica.
    if now.global_step // self._every > self._reported:
      self._reported = now.global_step // self._every
      self._report(now)
      self._start_interval(int(now.global_step))

  def close(self) -> None:
    """Close the bar, so that the next message begins a new line."""
    if self._bar is not None:
      self._bar.close()

  def _start_interval(self, step: int):
    self._started = time.monotonic()
    self._first = step  # The step before the interval.
    self._steps = self._captions = self._words = self._positions = 0
    self._sums = dict.fromkeys(self._more, 0.0)

  def _report(self, now: StepStatistics) -> None:
    seconds = time.monotonic() - self._started
    captions, words = self._captions / seconds, self._words / seconds
    padding = 1.0 - self._words / max(1, self._positions)
    if self._bar.disable:
      left = ((self._last_step - now.global_step) * seconds
              / max(1, now.global_step - self._first))
      more = ''.join(f', {name} {total / self._steps:.4f}'
                     for name, total in self._sums.items())
      logging.info(
          'step %d: loss %.4f%s, learning rate %.3g, %.1f captions/s, %.0f '
          'words/s, %.1f %% padding, %s left', now.global_step, now.total_loss,
          more, now.learning_rate, captions, words, 100.0 * padding,
          tqdm.tqdm.format_interval(left))
    if self._train_dir is None:
      return
    writer = tf1.summary.FileWriterCache.get(self._train_dir)
    for tag, value in (('speed/captions_per_second', captions),
                       ('speed/words_per_second', words),
                       ('speed/padding_share', padding)):
      writer.add_summary(
          tf1.Summary(value=[tf1.Summary.Value(tag=tag, simple_value=value)]),
          now.global_step)


class FiniteListener(tf1.train.CheckpointSaverListener):
  """Listener that fails rather than save weights that are not finite.

  `CheckFiniteHook` does not see the losses of a cluster's other processes.
  """

  def __init__(self, last_checkpoint: Callable[[], str | None]):
    """Add the norm of the weights to the graph.

    Args:
      last_checkpoint: finds the newest checkpoint.
    """
    self._norm = tf.linalg.global_norm(tf1.trainable_variables())
    self._last_checkpoint = last_checkpoint

  def before_save(self, session, global_step_value):
    """Raise NotFiniteError unless the norm of the weights is finite."""
    norm = session.run(self._norm)
    if not math.isfinite(norm):
      raise NotFiniteError(
          f'the norm of the weights is {norm} at step {global_step_value}',
          self._last_checkpoint())


class FlushListener(tf1.train.CheckpointSaverListener):
  """Listener that writes out all events before a checkpoint.

  So TensorBoard's curves have no gap where a killed run goes on from it;
  TensorFlow itself writes events every other minute.
  """

  def __init__(self, train_dir: str):
    """Set the folder of the events."""
    self._train_dir = train_dir

  def before_save(self, session, global_step_value):
    """Write out the events."""
    tf1.summary.FileWriterCache.get(self._train_dir).flush()


class AfterSaveListener(tf1.train.CheckpointSaverListener):
  """Listener that calls a function which may end training."""

  def __init__(
      self,
      after_save: Callable[[], bool | None],
      interrupted: threading.Event,
      progress: ProgressHook,
  ):
    """Set what to call and when.

    Args:
      after_save: returns whether training shall end.
      interrupted: nothing is called any more once it is set.
      progress: does not count the time of the call.
    """
    self._after_save = after_save
    self._interrupted = interrupted
    self._progress = progress

  def after_save(self, session, global_step_value):
    """Call the function, but not for the initial checkpoint."""
    if global_step_value == 0 or self._interrupted.is_set():
      return False
    with self._progress.paused():
      return bool(self._after_save())
