r"""What it costs that the same seed gives the same training.

  python -m benchmarks.determinism --encoder=efficientnet_lite0 \
    --image_size=224 --vocab_size=2933

Trains as train.py does with a seed and without one, on the images and on the
features of `benchmarks.training`, whose flags it has. A process that has been
told to be deterministic stays so: each of the two ways has a process of its
own. They take turns, and the ratio is the median of the rounds'.
"""

import contextlib
import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection

import tensorflow as tf

from benchmarks import drawn_shards, images, training
from benchmarks.model_flags import TrainingFlags
from im2txt import command_line, configuration

CASES = ('images', 'features')


def serve(
    config: configuration.ModelConfig, folder: str, name: str,
    deterministic: bool, parent: Connection,
) -> None:
  """Time steps of a case whenever it is asked to.

  Args:
    config: the model to be trained.
    folder: has the shards.
    name: of the case.
    deterministic: whether to train as with a seed.
    parent: asks and is told captions a second; asks no more with None.
  """
  if deterministic:
    tf.config.experimental.enable_op_determinism()
  [case] = [case for case in training.make_cases(folder, config)
            if case.name == name]

  def build(batch):
    return [training.make_step(case.build_loss(case.config, batch))]

  seed = 1 if deterministic else None
  with training.running(case, build, seed) as run:
    while parent.recv():
      parent.send(training.speed(run(case.steps)))


@contextlib.contextmanager
def process(
    config: configuration.ModelConfig, folder: str, name: str,
    deterministic: bool,
) -> Iterator[Connection]:
  """Start `serve`; yield where to ask it."""
  context = multiprocessing.get_context('spawn')
  ours, theirs = context.Pipe()
  child = context.Process(
      target=serve, args=(config, folder, name, deterministic, theirs))
  child.start()
  theirs.close()
  try:
    yield ours
    ours.send(None)
  finally:
    ours.close()
    child.join()


def time_case(
    config: configuration.ModelConfig, folder: str, name: str, rounds: int
) -> list[list[float]]:
  """Return captions a second without and with a seed, a pair a round."""
  with (process(config, folder, name, False) as free,
        process(config, folder, name, True) as seeded):
    found = []
    for _ in range(rounds + 1):
      pair = []
      for way in (free, seeded):
        way.send(True)
        pair.append(way.recv())
      found.append(pair)
  return found[1:]  # Both warm.


def main(flags_: TrainingFlags) -> None:
  """Time and print the table."""
  row = '| {:10} | {:>13} | {:>13} | {:>6} |'
  print(row.format('step', 'captions/s', 'with a seed', 'ratio'))
  print(row.format(*(4 * ['---'])))
  with tempfile.TemporaryDirectory() as folder:
    files = images.draw(folder, flags_.num_images.value)
    config = flags_.config()
    drawn_shards.write_pairs(
        os.path.join(folder, 'pairs'), config.vocab_size, files)
    drawn_shards.write_features(
        os.path.join(folder, 'features'), config, 'drawn at random',
        flags_.num_records.value, 4)
    for name in CASES:
      times = time_case(config, folder, name, flags_.rounds.value)
      print(row.format(
          name, *(f'{max(speeds):.1f}' for speeds in zip(*times, strict=True)),
          f'{statistics.median(own / free for free, own in times):.2f}'),
            flush=True)


if __name__ == '__main__':
  command_line.run(main, TrainingFlags)
