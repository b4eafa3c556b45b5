r"""How fast a training step is, beside im2txt's and beside the arithmetic.

  python -m benchmarks.training
  python -m benchmarks.training --encoder=efficientnet_lite0 --image_size=224 \
    --vocab_size=2933

All in one process, with the same sizes, on weights, images and words drawn
at random; captions are as long as COCO's. `classic` is im2txt's step
(`classic_training`): its queues read images, each stored with each of its
captions, and its graph has the frozen encoder. The others are this project's
steps, input pipeline included, as train.py runs them. The steps take turns,
and `x classic` is the median of the rounds' ratios; all else is of the best
round. The floor is a step's multiply-adds, of its real words only, over the
rate of a large matrix product that is measured in the same run. `Input alone`
is the pipeline with nothing behind it.
"""

import contextlib
import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from benchmarks import classic_training, drawn_shards, images
from benchmarks.model_flags import TrainingFlags
from benchmarks.timing import best_time, matrix_rate
from im2txt import command_line, configuration, encoders
from im2txt.inputs import pipeline
from im2txt.inputs.batch import Batch
from im2txt.inputs.shards import Shards
from im2txt.models.captioner import Captioner, Mode
from im2txt.training import optimization

tf1 = tf.compat.v1


class Counts(NamedTuple):
  """What a step had, or many."""

  captions: int
  words: int
  positions: int  # words and padding


class Case(NamedTuple):
  """A way to train."""

  name: str
  shards: Shards
  config: configuration.ModelConfig
  build_loss: Callable[[configuration.ModelConfig, Batch], tf.Tensor]
  steps: int  # a round


class Timed(NamedTuple):
  """A round of a case."""

  seconds: float
  steps: int
  counts: Counts


def our_loss(
    config: configuration.ModelConfig, batch: Batch
) -> tf.Tensor:
  """Return the loss as train.py builds it."""
  return Captioner(config).build(Mode.TRAIN, batch).total_loss


def make_cases(folder: str, config: configuration.ModelConfig) -> list[Case]:
  """Return the ways to train `config`, the classic one first."""
  pairs, whole, features = (
      Shards.find(os.path.join(folder, name))
      for name in ('pairs', 'images', 'features/*-of-*'))

  def changed(**fields) -> configuration.ModelConfig:
    return dataclasses.replace(config, **fields)

  return [
      Case('classic', pairs, changed(
          input_pipeline='queue', bucket_by_length=False),
           classic_training.build, 2),
      Case('images', pairs, config, our_loss, 2),
      Case('images, all captions of each', whole, changed(
          all_captions=True), our_loss, 2),
      Case('features, no buckets', features, changed(
          bucket_by_length=False), our_loss, 40),
      Case('features, all captions of each', features, changed(
          all_captions=True), our_loss, 10),
      Case('features', features, config, our_loss, 40)]


def count(batch: Batch) -> Counts:
  """Return the batch's counts, each int32 []."""
  return Counts(tf.shape(batch.input_mask)[0],
                tf.reduce_sum(batch.input_mask), tf.size(batch.input_mask))


def make_step(loss: tf.Tensor) -> tf.Operation:
  """Return im2txt's step down the gradient of a loss."""
  train_op, _ = optimization.train_op(
      configuration.TrainingConfig(), loss, tf.constant(0.1))
  return train_op


@contextlib.contextmanager
def running(
    case: Case,
    build: Callable[[Batch], list[tf.Operation]],
    seed: int | None = None,
) -> Iterator[Callable[[int], Timed]]:
  """Yield what runs a graph on the input pipeline for some steps."""
  with tf.Graph().as_default(), tf1.Session() as session:
    tf1.set_random_seed(seed)
    batch = pipeline.make_batch(case.shards, case.config, training=True)
    fetches = build(batch), count(batch)
    session.run([tf1.global_variables_initializer(),
                 tf1.local_variables_initializer(), tf1.tables_initializer()])
    coordinator = tf1.train.Coordinator()
    threads = []
    if tf1.get_collection(tf1.GraphKeys.QUEUE_RUNNERS):
      threads = tf1.train.start_queue_runners(session, coordinator)

    def run(steps: int) -> Timed:
      start = time.perf_counter()
      counts = [session.run(fetches)[1] for _ in range(steps)]
      return Timed(time.perf_counter() - start, steps,
                   Counts(*(int(sum(n)) for n in zip(*counts, strict=True))))

    run(1)
    yield run
    coordinator.request_stop()
    session.close()
    coordinator.join(threads, ignore_live_threads=True)


def multiply_adds(
    config: configuration.ModelConfig, num_images: int, captions: int,
    words: int, channels: int,
) -> float:
  """Return the multiply-adds of steps on cached features.

  A product's two gradients cost as much as itself each. The features have
  none, and the state is nothing when the image is read.
  """
  h, e = config.num_lstm_units, config.embedding_size
  return (2 * num_images * channels * e + 3 * captions * e * 4 * h
          + 3 * words * ((e + h) * 4 * h + h * config.vocab_size))


def floor(case: Case, timed: Timed, channels: int, rate: float) -> float | None:
  """Return the seconds of the arithmetic; None if the encoder runs."""
  if not case.shards.features:
    return None
  num_images = timed.counts.captions // (
      drawn_shards.CAPTIONS_AN_IMAGE if case.config.all_captions else 1)
  return multiply_adds(case.config, num_images, timed.counts.captions,
                       timed.counts.words, channels) / rate


def speed(timed: Timed) -> float:
  """Return the captions a second."""
  return timed.counts.captions / timed.seconds


def time_steps(cases: list[Case], rounds: int) -> list[list[Timed]]:
  """Time each case in turn, so many rounds."""
  with contextlib.ExitStack() as stack:
    runs = [stack.enter_context(running(
        case, lambda batch, case=case: [
            make_step(case.build_loss(case.config, batch))]))
        for case in cases]
    return [list(times) for times in zip(*(
        [run(case.steps) for case, run in zip(cases, runs, strict=True)]
        for _ in range(rounds)), strict=True)]


def print_steps(cases: list[Case], times: list[list[Timed]], rate: float,
                channels: int) -> None:
  """Print the table of steps."""
  row = '| {:30} | {:>10} | {:>9} | {:>8} | {:>7} | {:>9} |'
  print(row.format('step', 'captions/s', 'x classic', 'ms/step', 'x floor',
                   'padding'))
  print(row.format(*(6 * ['---'])))

  for case, rounds in zip(cases, times, strict=True):
    best = max(rounds, key=speed)
    least = floor(case, best, channels, rate)
    ratio = statistics.median(
        speed(own) / speed(classic)
        for own, classic in zip(rounds, times[0], strict=True))
    words, positions = (sum(getattr(timed.counts, name) for timed in rounds)
                        for name in ('words', 'positions'))
    print(row.format(
        case.name, f'{speed(best):.1f}', f'{ratio:.1f}',
        f'{1e3 * best.seconds / best.steps:.0f}',
        f'{best.seconds / least:.2f}' if least else '',
        f'{1.0 - words / positions:.1%}'))


def print_inputs(cases: list[Case], times: list[list[Timed]],
                 rounds: int) -> None:
  """Print the table of input pipelines."""
  row = '| {:30} | {:>10} | {:>8} |'
  print(row.format('input alone', 'captions/s', 'x step'))
  print(row.format(*(3 * ['---'])))
  for case, own in zip(cases, times, strict=True):
    with running(case, lambda batch: [
        part.op for part in tf.nest.flatten(batch) if part is not None]) as run:
      run(20)  # What was read ahead.
      alone = max(speed(run(10 * case.steps)) for _ in range(rounds))
    step = max(map(speed, own))
    print(row.format(case.name, f'{alone:.0f}', f'{alone / step:.1f}'),
          flush=True)


def time_constant_step(
    config: configuration.ModelConfig, length: int, channels: int, rounds: int
) -> float:
  """Time a step on a batch without padding that lies in memory: seconds."""
  random = np.random.default_rng(0)
  shape = config.batch_size, length
  with tf.Graph().as_default(), tf1.Session() as session:
    words = tf.Variable(random.integers(0, config.vocab_size, shape), False,
                        dtype=tf.int32, shape=[None, None])
    features = tf.Variable(random.exponential(
        0.4, (config.batch_size, channels)).astype(np.float32), False)
    images = encoders.Encoding(features, None)
    batch = Batch(images, words, words, tf.ones_like(words),
                         tf.range(config.batch_size))
    step = make_step(our_loss(config, batch))
    session.run(tf1.global_variables_initializer())
    return best_time(lambda: session.run(step), 10 * rounds)


def print_costs(
    config: configuration.ModelConfig, channels: int, rate: float, rounds: int
) -> None:
  """Print what a step costs as each of its sizes doubles."""
  row = '| {:22} | {:>8} | {:>9} | {:>16} | {:>7} |'
  print(row.format('step on a fixed batch', 'ms/step', 'x first',
                   'multiply-adds, G', 'x floor'))
  print(row.format(*(5 * ['---'])))
  length = 12
  doubled = {
      f'B = {config.batch_size}, T = {length}': (config, length),
      'B doubled': (dataclasses.replace(
          config, batch_size=2 * config.batch_size), length),
      'T doubled': (config, 2 * length),
      'V doubled': (dataclasses.replace(
          config, vocab_size=2 * config.vocab_size), length),
      'H doubled': (dataclasses.replace(
          config, num_lstm_units=2 * config.num_lstm_units,
          embedding_size=2 * config.embedding_size), length),
      'bfloat16': (dataclasses.replace(config, compute_dtype='bfloat16'),
                   length)}
  first = None
  for name, (config, length) in doubled.items():
    seconds = time_constant_step(config, length, channels, rounds)
    first = first or seconds
    arithmetic = multiply_adds(
        config, config.batch_size, config.batch_size,
        config.batch_size * length, channels)
    print(row.format(name, f'{1e3 * seconds:.0f}', f'{seconds / first:.2f}',
                     f'{arithmetic / 1e9:.1f}',
                     f'{seconds * rate / arithmetic:.2f}'), flush=True)


def main(flags_: TrainingFlags) -> None:
  """Time and print the tables."""
  rounds = flags_.rounds.value
  with tempfile.TemporaryDirectory() as folder:
    config = flags_.config()
    files = images.draw(folder, flags_.num_images.value)
    for write, name in ((drawn_shards.write_pairs, 'pairs'),
                        (drawn_shards.write_images, 'images')):
      write(os.path.join(folder, name), config.vocab_size, files)
    channels = drawn_shards.write_features(
        os.path.join(folder, 'features'), config, 'drawn at random',
        flags_.num_records.value, 4)
    cases = make_cases(folder, config)
    rate = matrix_rate(rounds)
    print(f'matrix product: {rate / 1e9:.1f} G multiply-adds/s\n', flush=True)
    times = time_steps(cases, rounds)
    print_steps(cases, times, rate, channels)
    print(flush=True)
    print_inputs(cases, times, rounds)
    print()
    print_costs(config, channels, rate, rounds)


if __name__ == '__main__':
  command_line.run(main, TrainingFlags)
