"""Hooks of training, on a graph that only counts."""

import io
import math
import os
import signal
import threading

import pytest
import tensorflow as tf
from absl import logging

from im2txt.training import hooks

tf1 = tf.compat.v1


@pytest.fixture(autouse=True)
def graph():
  with tf.Graph().as_default():
    yield


@pytest.fixture
def lines(monkeypatch):
  """Lines of the log's information."""
  lines = []
  monkeypatch.setattr(
      logging, 'info', lambda line, *args: lines.append(line % args))
  return lines


def counting(loss=None, norm=None):
  """Statistics of a graph that counts; loss and norm depend on the step."""
  step = tf1.train.get_or_create_global_step()
  with tf.control_dependencies([tf1.assign_add(step, 1)]):
    counted = tf.identity(step)
  value = tf.cast(counted, tf.float32)
  return hooks.StepStatistics(
      global_step=counted,
      total_loss=loss(value) if loss else value,
      gradient_norm=norm(value) if norm else value,
      learning_rate=tf.constant(0.25),
      num_captions=tf.constant(3),
      num_words=tf.constant(20),
      num_positions=tf.constant(25))


def run(statistics, *hooks, steps=10):
  """Run until a hook stops, or for so many steps; return the last step."""
  with tf1.train.MonitoredSession(hooks=hooks) as session:
    for _ in range(steps):
      step = session.run(statistics.global_step)
      if session.should_stop():
        break
  return step


def test_training_goes_on_while_everything_is_finite():
  statistics = counting()
  assert run(statistics, hooks.CheckFiniteHook(
      statistics, lambda: 'model.ckpt-0')) == 10


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
  # Of another replica's gradient neither loss nor norm is seen here.
  weights = tf1.get_variable('w', [2], initializer=tf1.ones_initializer())
  step = tf1.train.get_or_create_global_step()
  with tf.control_dependencies([weights.assign(
      tf.where(step < 5, weights, weights * math.nan))]):
    count = tf1.assign_add(step, 1)
  hook = tf1.train.CheckpointSaverHook(
      str(tmp_path), save_steps=3, listeners=[
          hooks.FiniteListener(lambda: 'runs/model.ckpt-3')])
  with (pytest.raises(hooks.NotFiniteError) as error,
        tf1.train.MonitoredSession(hooks=[hook]) as session):
    for _ in range(9):
      session.run(count)
  assert 'nan at step' in str(error.value)
  assert 'runs/model.ckpt-3' in str(error.value)
  assert {path.name for path in tmp_path.glob('*.index')} == {
      'model.ckpt-0.index', 'model.ckpt-3.index'}


@pytest.mark.parametrize('which', ['loss', 'norm'])
@pytest.mark.parametrize('broken', [math.nan, math.inf, -math.inf])
def test_a_loss_or_gradient_that_is_not_finite_stops(which, broken):
  statistics = counting(
      **{which: lambda step: tf.where(step < 3.0, step, broken)})
  hook = hooks.CheckFiniteHook(
      statistics, lambda: 'runs/model.ckpt-2')
  with pytest.raises(hooks.NotFiniteError) as error:
    run(statistics, hook)
  line = str(error.value)
  assert 'step 3' in line and 'runs/model.ckpt-2' in line
  assert str(broken) in line and '\n' not in line
  assert isinstance(error.value, ValueError)  # One line of a command line.


def test_an_event_stops_after_the_step(lines):
  event = threading.Event()
  statistics = counting()

  class SetAtStep3(tf1.train.SessionRunHook):

    def before_run(self, run_context):
      return tf1.train.SessionRunArgs(statistics.global_step)

    def after_run(self, run_context, run_values):
      if run_values.results == 3:
        event.set()

  assert run(statistics, SetAtStep3(),
             hooks.StopOnEventHook(event)) == 3
  assert lines == ['Interrupted: saving and stopping']


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_set_the_event_and_a_second_one_acts(number):
  seen = []
  before = signal.signal(number, lambda *_: seen.append('acted'))
  try:
    with hooks.interruption() as event:
      assert not event.is_set()
      os.kill(os.getpid(), number)
      assert event.is_set() and not seen
      os.kill(os.getpid(), number)
      assert seen == ['acted']
    os.kill(os.getpid(), number)
    assert seen == ['acted'] * 2
  finally:
    signal.signal(number, before)


def test_handlers_come_back_after_an_error():
  before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
  with pytest.raises(KeyError), hooks.interruption():
    raise KeyError
  assert before == [
      signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]


def test_other_threads_take_no_signals():
  events = []

  def body():
    with hooks.interruption() as event:
      events.append(event)

  thread = threading.Thread(target=body)
  thread.start()
  thread.join()
  assert len(events) == 1 and not events[0].is_set()


def speeds(folder):
  """Steps of each speed that TensorBoard was told."""
  found = {}
  for path in folder.glob('events.*'):
    for event in tf1.train.summary_iterator(str(path)):
      for value in event.summary.value:
        assert value.simple_value > 0.0
        found.setdefault(value.tag, []).append(event.step)
  return found


def test_progress_is_lines_and_rates(tmp_path, lines, capsys):
  statistics = counting()
  run(statistics, hooks.ProgressHook(
      statistics, last_step=12, log_every_n_steps=4,
      train_dir=str(tmp_path)))
  tf1.summary.FileWriterCache.clear()
  assert [line.partition(',')[0] for line in lines] == [
      'step 4: loss 4.0000', 'step 8: loss 8.0000']
  for line in lines:
    for part in ('learning rate 0.25', 'captions/s', 'words/s',
                 '20.0 % padding', 'left'):
      assert part in line
  assert speeds(tmp_path) == {'speed/captions_per_second': [4, 8],
                              'speed/words_per_second': [4, 8],
                              'speed/padding_share': [4, 8]}
  assert capsys.readouterr().err == ''  # No bar where there is no terminal.


def test_steps_of_others_are_steps_too(monkeypatch):
  class Bar(hooks.tqdm.tqdm):

    def __init__(self, **options):
      super().__init__(**options | {'disable': False, 'file': io.StringIO()})

  monkeypatch.setattr(hooks.tqdm, 'tqdm', Bar)
  statistics = counting()
  # Each run of this process is preceded by four of others.
  hook = hooks.ProgressHook(statistics, 1000, 10, None)
  with tf1.train.MonitoredSession(hooks=[hook]) as session:
    raw = session._tf_sess()
    for _ in range(20):
      for _ in range(4):
        raw.run(statistics.global_step)
      session.run(statistics.global_step)
  assert hook._bar.n == 100


def test_words_and_captions_are_counted_apart(tmp_path, lines):
  statistics = counting()
  run(statistics, hooks.ProgressHook(
      statistics, 12, 5, str(tmp_path)))
  tf1.summary.FileWriterCache.clear()
  numbers = {}
  for path in tmp_path.glob('events.*'):
    for event in tf1.train.summary_iterator(str(path)):
      for value in event.summary.value:
        numbers.setdefault(event.step, {})[value.tag] = value.simple_value
  for rates in numbers.values():
    assert rates['speed/words_per_second'] == pytest.approx(
        rates['speed/captions_per_second'] * 20 / 3, rel=1e-4)
    assert rates['speed/padding_share'] == pytest.approx(0.2)
