"""What happens around each training step: stopping, checking, reporting."""

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
  """Fetched at every step."""

  global_step: tf.Tensor    # int64 []
  total_loss: tf.Tensor     # float32 [], nats
  gradient_norm: tf.Tensor  # float32 [], before clipping
  learning_rate: tf.Tensor  # float32 []
  num_captions: tf.Tensor   # int32 []
  num_words: tf.Tensor      # int32 []
  num_positions: tf.Tensor  # int32 [], words and padding


@contextlib.contextmanager
def interruption() -> Iterator[threading.Event]:
  """An event that is set by Ctrl-C or SIGTERM, which then do nothing else.

  A second one acts as it always does. Outside the main thread, where Python
  takes no signals, the event is never set.
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
  """Ends training after the current step once an event is set."""

  def __init__(self, event: threading.Event):
    self._event = event

  def after_run(self, run_context, run_values):
    """See the base class."""
    if self._event.is_set():
      logging.info('Interrupted: saving and stopping')
      run_context.request_stop()


class NotFiniteError(ValueError):
  """Loss, gradient or weights are no finite numbers."""

  def __init__(self, what: str, last_checkpoint: str | None):
    """Says what is not finite, and how to go on."""
    super().__init__(
        f'{what}; the last good checkpoint is {last_checkpoint}. Lower the '
        'learning rate or clip_gradients (--config.training...) and go on from '
        'there')


class CheckFiniteHook(tf1.train.SessionRunHook):
  """Stops training, without saving, when loss or gradient is not finite."""

  def __init__(
      self,
      statistics: StepStatistics,
      last_checkpoint: Callable[[], str | None],
  ):
    """Notes what to look at.

    Args:
      statistics: of each step.
      last_checkpoint: finds the newest checkpoint.
    """
    self._fetches = (statistics.total_loss, statistics.gradient_norm,
                     statistics.global_step)
    self._last_checkpoint = last_checkpoint

  def before_run(self, run_context):
    """See the base class."""
    return tf1.train.SessionRunArgs(self._fetches)

  def after_run(self, run_context, run_values):
    """See the base class."""
    loss, norm, step = run_values.results
    if not (math.isfinite(loss) and math.isfinite(norm)):
      raise NotFiniteError(
          f'loss is {loss} and gradient norm {norm} at step {step}',
          self._last_checkpoint())


class ProgressHook(tf1.train.SessionRunHook):
  """A bar on a terminal, plain lines elsewhere, rates to TensorBoard."""

  def __init__(
      self,
      statistics: StepStatistics,
      last_step: int,
      log_every_n_steps: int,
      train_dir: str | None,
      more: Mapping[str, tf.Tensor] = types.MappingProxyType({}),
  ):
    """Notes what to tell and where.

    Args:
      statistics: of each step.
      last_step: where training ends.
      log_every_n_steps: steps between lines, and between rates.
      train_dir: where TensorBoard looks; None: another process tells it.
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
    """What is done meanwhile does not count as time of the steps."""
    began = time.monotonic()
    yield
    self._started += time.monotonic() - began

  def after_create_session(self, session, coord):
    """See the base class."""
    step = int(session.run(tf1.train.get_global_step()))
    self._bar = tqdm.tqdm(
        total=self._last_step, initial=step, unit='step', file=sys.stderr,
        disable=None, dynamic_ncols=True)
    self._reported = step // self._every
    self._start_interval(step)

  def before_run(self, run_context):
    """See the base class."""
    return tf1.train.SessionRunArgs((self._statistics, self._more))

  def after_run(self, run_context, run_values):
    """See the base class."""
    now, more = run_values.results
    for name, value in more.items():
      self._sums[name] += value
    self._steps += 1
    self._captions += int(now.num_captions)
    self._words += int(now.num_words)
    self._positions += int(now.num_positions)
    # Others take steps too, and a checkpoint may lie before the last one.
    self._bar.update(int(now.global_step) - self._bar.n)
    self._bar.set_postfix(loss=f'{now.total_loss:.3f}', refresh=False)
    # Steps of other replicas lie between those of this one.
    if now.global_step // self._every > self._reported:
      self._reported = now.global_step // self._every
      self._report(now)
      self._start_interval(int(now.global_step))

  def close(self) -> None:
    """Ends the bar, so that what is said next has a line of its own."""
    if self._bar is not None:
      self._bar.close()

  def _start_interval(self, step: int):
    self._started = time.monotonic()
    self._first = step  # The one before the interval's.
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
  """Stops training rather than save weights that are no finite numbers.

  Of other processes of a cluster `CheckFiniteHook` sees no loss.
  """

  def __init__(self, last_checkpoint: Callable[[], str | None]):
    """Adds what it looks at to the graph.

    Args:
      last_checkpoint: finds the newest checkpoint.
    """
    self._norm = tf.linalg.global_norm(tf1.trainable_variables())
    self._last_checkpoint = last_checkpoint

  def before_save(self, session, global_step_value):
    """See the base class."""
    norm = session.run(self._norm)
    if not math.isfinite(norm):
      raise NotFiniteError(
          f'the norm of the weights is {norm} at step {global_step_value}',
          self._last_checkpoint())


class FlushListener(tf1.train.CheckpointSaverListener):
  """Sees to it that curves reach as far as the checkpoint from which a killed
  run goes on; TensorFlow itself writes events every other minute."""

  def __init__(self, train_dir: str):
    """Notes whose events are meant."""
    self._train_dir = train_dir

  def before_save(self, session, global_step_value):
    """See the base class."""
    tf1.summary.FileWriterCache.get(self._train_dir).flush()


class AfterSaveListener(tf1.train.CheckpointSaverListener):
  """Calls a function after each checkpoint; ends training if it says so."""

  def __init__(
      self,
      after_save: Callable[[], bool | None],
      interrupted: threading.Event,
      progress: ProgressHook,
  ):
    """Notes what to call and when.

    Args:
      after_save: returns whether training shall end.
      interrupted: nothing is called any more once it is set.
      progress: is told that this time is not training's.
    """
    self._after_save = after_save
    self._interrupted = interrupted
    self._progress = progress

  def after_save(self, session, global_step_value):
    """See the base class; what training starts with is left out."""
    if global_step_value == 0 or self._interrupted.is_set():
      return False
    with self._progress.paused():
      return bool(self._after_save())
