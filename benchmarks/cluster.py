r"""What a cluster's processes gain and what goes over the wire.

  python -m benchmarks.cluster
  python -m benchmarks.cluster --workers=2,3 --steps=50 --vocab_size=3000

trains Show and Tell on drawn features: in one process, and with parameter
servers on this machine, each replica for itself (async) and all together
(sync). A row has the batches that all replicas train on in a second, how many
times those of one process that is, and the bytes that go over the loopback
interface for each batch; beside these stand the bytes of the decoder's
weights, of which a replica reads all and sends a gradient for all.

All processes share this machine's cores, so more workers are not faster here;
the bytes are those of a real network.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf
from absl import flags

from benchmarks import drawn_shards
from benchmarks.model_flags import ModelFlags
from im2txt import command_line, configuration
from im2txt.inputs import pipeline
from im2txt.models.captioner import Captioner, Mode

tf1 = tf.compat.v1


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.model = ModelFlags(values, 'efficientnet_lite0', 224)
    self.workers = flags.DEFINE_list(
        'workers', ['1', '2', '4'], 'Rows of a cluster.', flag_values=values)
    self.ps = flags.DEFINE_integer(
        'ps', 1, 'Parameter servers.', lower_bound=1, flag_values=values)
    self.steps = flags.DEFINE_integer(
        'steps', 100, 'Steps that are timed, of each row.', lower_bound=1,
        flag_values=values)

_IMAGES_A_SHARD = 200
_WARM_UP = 20


class Rate(NamedTuple):
  """What was measured of a run."""

  steps: float  # a second
  bytes: float  # a step


def loopback_bytes() -> int:
  """Return the bytes that went over the loopback interface (Linux only).

  Raises:
    OSError: there is no /proc.
  """
  with open('/proc/net/dev', encoding='ascii') as f:
    [line] = [line for line in f if line.strip().startswith('lo:')]
  return int(line.split(':')[1].split()[0])


def measure(command: Sequence[str], steps: int) -> Rate:
  """Train for so many steps, and take the time from line to line of the log.

  Raises:
    ChildProcessError: it failed.
  """
  seen = []
  log = []
  with subprocess.Popen(
      [sys.executable, '-m', *command, '--log_every_n_steps=1',
       f'--number_of_steps={_WARM_UP + steps}'],
      stderr=subprocess.PIPE, text=True) as process:
    for line in process.stderr:
      log.append(line)
      match = re.search(r'^(?:\[chief 0\] )?[\d:]+ step (\d+): ', line)
      if match and int(match[1]) >= _WARM_UP:
        seen.append((int(match[1]), time.monotonic(), loopback_bytes()))
  if process.returncode or len(seen) < 2:
    raise ChildProcessError(''.join(log))
  (first, began, sent), (last, ended, sent_all) = seen[0], seen[-1]
  return Rate((last - first) / (ended - began),
              (sent_all - sent) / (last - first))


def weight_bytes(config: configuration.ModelConfig) -> int:
  """Return the bytes of the decoder's weights."""
  with tf.Graph().as_default():
    Captioner(config).build(
        Mode.TRAIN, pipeline.make_batch(None, config, training=True))
    return sum(4 * v.shape.num_elements() for v in tf1.trainable_variables())


def training_flags(
    config: configuration.ModelConfig, features: str, train_dir: str
) -> list[str]:
  """Return the flags of train.py.

  Args:
    config: the model.
    features: folder of the shards.
    train_dir: the run folder.
  """
  return [
      '--config=configs/show_and_tell.py',
      f'--input_file_pattern={features}/*-of-*', f'--train_dir={train_dir}',
      *(f'--config.model.{field}={getattr(config, field)}' for field in (
          'encoder', 'image_height', 'image_width', 'vocab_size',
          'embedding_size', 'num_lstm_units'))]


def main(flags_: Flags) -> None:
  """Train and print a table."""
  config = flags_.model.config()
  steps = flags_.steps.value
  workers = [int(number) for number in flags_.workers.value]
  with tempfile.TemporaryDirectory() as folder:
    shards = max(workers)
    features = os.path.join(folder, 'features')
    drawn_shards.write_features(
        features, config, drawn_shards.encoder_digest(config),
        shards * _IMAGES_A_SHARD, shards)
    print(f'decoder: {weight_bytes(config) / 1e6:.1f} MB of weights')
    row = '| {:10} | {:>7} | {:>9} | {:>5} | {:>10} |'
    print(row.format('mode', 'workers', 'batches/s', 'times', 'MB a batch'))
    print(row.format(*(5 * ['---'])))
    alone = measure(['im2txt.train', *training_flags(
        config, features, os.path.join(folder, 'alone'))], steps)
    print(row.format('no cluster', 1, f'{alone.steps:.2f}', '1.00', '0.0'),
          flush=True)
    for sync in (False, True):
      for count in workers:
        if sync and count == 1:
          continue  # The same as alone.
        rate = measure([
            'im2txt.local_cluster', f'--workers={count}',
            f'--ps={flags_.ps.value}', '--', *training_flags(
                config, features, os.path.join(folder, f'{count} {sync}')),
            f'--config.training.sync_replicas={sync}'], steps)
        batches = count if sync else 1
        print(row.format(
            'sync' if sync else 'async', count, f'{rate.steps * batches:.2f}',
            f'{rate.steps * batches / alone.steps:.2f}',
            f'{rate.bytes / batches / 1e6:.1f}'), flush=True)


if __name__ == '__main__':
  command_line.run(main, Flags)
