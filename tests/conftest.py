"""A tiny captioning task, a run trained on it, and commands started fast.

Importing TensorFlow takes seconds, so a command line of this project is
started by forking a process that has imported it and done nothing else: still
a process of its own, with its own exit code, signals, stdout and stderr.
"""

import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import hypothesis
import no_network  # noqa: F401
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageDraw

from im2txt.inputs import sequence_example

ROOT = pathlib.Path(__file__).resolve().parent.parent
# METEOR takes seconds to start; where it is not what matters, do without.
NO_JAVA = {'PATH': '/nowhere'}
SECONDS = 120  # Nothing here takes as long unless it hangs.
# A script's background jobs ignore Ctrl-C, and so would all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Of tests/properties: the same few examples each time; many others with
# `pytest tests/properties --hypothesis-profile=thorough`.
_PROPERTIES = {'deadline': None, 'database': None, 'suppress_health_check': [
    hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large]}
hypothesis.settings.register_profile(
    'quick', max_examples=15, derandomize=True, **_PROPERTIES)
hypothesis.settings.register_profile(
    'thorough', max_examples=2000, print_blob=True, **_PROPERTIES)
hypothesis.settings.load_profile('quick')

WORDS = ('<S>', '</S>', 'a', 'the', 'red', 'green', 'blue', 'square', 'circle',
         'big', 'small', 'on', 'grey', 'left', 'right', '.')
TRAIN_CAPTIONS = (
    'a red square .', 'a big green circle .', 'the blue square on grey .',
    'a small red circle', 'the green square .', 'a blue circle on the left .')
VAL_CAPTIONS = (
    'a green square .', 'the red circle .', 'a big blue circle on grey .',
    'a square', 'a small green circle .', 'the big red square .',
    'a striped circle on the right .')
CONFIG = """
from im2txt import configuration


def get_config():
  return configuration.Config(
      model=configuration.ModelConfig(
          encoder='efficientnet_lite0', image_height=32, image_width=32,
          vocab_size=0, embedding_size=7, num_lstm_units=11, batch_size=3,
          values_per_input_shard=5, num_preprocess_threads=2),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=6, optimizer='Adam',
          initial_learning_rate=0.01, num_epochs_per_decay=1.5, seed=1))
"""

# What TensorFlow itself says on stderr as it starts.
_CHATTER = re.compile(r'WARNING: All log messages before |[IWE]\d{4} |'
                      r'To enable the following instructions')


class Finished(NamedTuple):
  """What is left of a command."""

  returncode: int  # Negative: the signal that ended it.
  stdout: str
  stderr: str

  @property
  def lines(self) -> list[str]:
    """Lines on stderr that are ours."""
    return [line for line in self.stderr.splitlines()
            if not _CHATTER.match(line)]

  @property
  def error(self) -> str:
    """The only line on stderr but for the log's."""
    lines = [line for line in self.lines
             if not re.match(r'\d\d:\d\d:\d\d |  ', line)]
    assert len(lines) == 1, self.stderr
    return lines[0]


class Server:
  """The process that commands are forked from; see `command_server`."""

  def __init__(self):
    self._process = subprocess.Popen(
        [sys.executable, str(ROOT / 'tests' / 'command_server.py')], cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True)

  def ask(self, kind: str, value: object) -> int | None:
    """Sends a request and returns its answer."""
    self._process.stdin.write(json.dumps({kind: value}) + '\n')
    self._process.stdin.flush()
    return json.loads(self._process.stdout.readline())

  def stop(self) -> None:
    """Ends it."""
    self._process.communicate()


class Command:
  """A running `python -m MODULE FLAG...`."""

  def __init__(self, server: Server, arguments: list[str],
               folder: pathlib.Path, output: pathlib.Path,
               environment: Mapping[str, str]):
    """Starts it.

    Args:
      server: what starts it.
      arguments: module and flags.
      folder: where to run it.
      environment: variables that it has in the place of these of its name.
      output: existing folder for its stdout and stderr, where `stdout` may
        stand already as a named pipe.
    """
    self._server = server
    self._stdout, self._stderr = output / 'stdout', output / 'stderr'
    self._returncode = None
    self.id = server.ask('start', {
        'arguments': arguments, 'folder': str(folder),
        'stdout': str(self._stdout), 'stderr': str(self._stderr),
        'environment': environment})

  def wait_for(self, pattern: str) -> None:
    """Waits until a pattern stands on stderr."""
    self._wait(lambda: re.search(pattern, _read(self._stderr)))
    assert re.search(pattern, _read(self._stderr)), _read(self._stderr)

  def send(self, number: signal.Signals) -> None:
    """Sends a signal."""
    os.kill(self.id, number)

  def finish(self) -> Finished:
    """Waits for its end."""
    self._wait(lambda: False)
    return Finished(
        self._returncode, _read(self._stdout), _read(self._stderr))

  def kill(self) -> None:
    """Ends it whatever it does."""
    if self._returncode is None:
      self.send(signal.SIGKILL)
      self._returncode = self._server.ask('wait', self.id)

  def _wait(self, enough: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while self._returncode is None and not enough():
      if time.monotonic() > deadline:
        self.kill()
        pytest.fail(f'no end of it:\n{_read(self._stderr)[-5000:]}')
      time.sleep(0.02)
      self._returncode = self._server.ask('poll', self.id)


def _read(path: pathlib.Path) -> str:
  return path.read_text('utf-8') if path.is_file() else ''


class Task(NamedTuple):
  """Files of the tiny captioning task."""

  folder: pathlib.Path        # all of it
  config_file: pathlib.Path
  vocab_file: pathlib.Path    # beside the shards; 17 words with the unknown
  train_pattern: str          # 6 pairs in 2 shards
  val_pattern: str            # 7 pairs in 2 shards
  val_pairs: list[tuple[bytes, list[int]]]  # in the shards' order
  images: list[pathlib.Path]              # red, green and blue


def free_hosts(count: int) -> list[str]:
  """Addresses of this machine that nobody listens at, for now."""
  sockets = [socket.socket() for _ in range(count)]
  for each in sockets:
    each.bind(('localhost', 0))
  hosts = [f'localhost:{each.getsockname()[1]}' for each in sockets]
  for each in sockets:
    each.close()
  return hosts


def draw_image(colour: str, shape: str, size=(64, 48)) -> bytes:
  """A JPEG of a shape on grey."""
  image = Image.new('RGB', size, 'grey')
  pen = ImageDraw.Draw(image)
  draw = {'square': pen.rectangle, 'circle': pen.ellipse}[shape]
  draw((12, 4, 52, 44), fill=colour)
  buffer = io.BytesIO()
  image.save(buffer, 'JPEG', quality=90)
  return buffer.getvalue()


def make_pair(caption: str) -> tuple[bytes, list[str], list[int]]:
  """Image, words and ids of a caption."""
  words = ['<S>', *caption.split(), '</S>']
  ids = [WORDS.index(w) if w in WORDS else len(WORDS) for w in words]
  colour = next((w for w in words if w in ('red', 'green', 'blue')), 'white')
  shape = 'square' if 'square' in words else 'circle'
  return draw_image(colour, shape), words, ids


def write_shard(path: pathlib.Path, captions: tuple[str, ...]) -> None:
  """Writes a shard of drawn images."""
  with tf.io.TFRecordWriter(str(path)) as writer:
    for i, caption in enumerate(captions):
      encoded_image, words, ids = make_pair(caption)
      writer.write(sequence_example.make_pair(
          i, encoded_image, sequence_example.Caption(
              words, ids)).SerializeToString())


@pytest.fixture(scope='session')
def task(tmp_path_factory) -> Task:
  """The tiny captioning task; read only."""
  folder = tmp_path_factory.mktemp('task')
  config_file = folder / 'tiny.py'
  config_file.write_text(CONFIG)
  vocab_file = folder / 'word_counts.txt'
  vocab_file.write_text(''.join(
      f'{word} {99 - i}\n' for i, word in enumerate(WORDS)))
  for name, captions in (('train', TRAIN_CAPTIONS), ('val', VAL_CAPTIONS)):
    write_shard(folder / f'{name}-00000-of-00002', captions[:4])
    write_shard(folder / f'{name}-00001-of-00002', captions[4:])
  images = []
  for colour in ('red', 'green', 'blue'):
    images.append(folder / f'{colour}.jpg')
    images[-1].write_bytes(draw_image(colour, 'square'))
  val_pairs = [make_pair(caption)[::2] for caption in VAL_CAPTIONS]
  return Task(folder, config_file, vocab_file,
              str(folder / 'train-?????-of-00002'),
              str(folder / 'val-?????-of-00002'), val_pairs, images)


@pytest.fixture(scope='session')
def start(tmp_path_factory) -> Iterator[Callable[..., Command]]:
  """`start('im2txt.train', '--flag', ...)` begins a command."""
  server = Server()
  commands = []

  def begin(*arguments: object, folder=ROOT, output=None,
            environment=types.MappingProxyType({})) -> Command:
    commands.append(Command(
        server, [str(argument) for argument in arguments], folder,
        output or tmp_path_factory.mktemp('command'), dict(environment)))
    return commands[-1]

  yield begin
  for command in commands:
    command.kill()
  server.stop()


@pytest.fixture(scope='session')
def launch(start) -> Callable[..., Finished]:
  """`launch('im2txt.train', '--flag', ...)` runs a command to its end."""
  return lambda *arguments, **options: start(*arguments, **options).finish()


@pytest.fixture(scope='session')
def train_features(task, launch, tmp_path_factory) -> pathlib.Path:
  """A folder with features of the task's training images; read only."""
  folder = tmp_path_factory.mktemp('train_features')
  finished = launch(
      'data_prep.cache_features', f'--config={task.config_file}',
      f'--input_file_pattern={task.train_pattern}', f'--output_dir={folder}')
  assert finished.returncode == 0, finished.stderr
  return folder


class Run(NamedTuple):
  """A trained run."""

  folder: pathlib.Path  # checkpoints of steps 0 and 6
  log: list[str]        # what training said


@pytest.fixture(scope='session')
def trained(task, launch, tmp_path_factory) -> Run:
  """Six steps of training on the task; read only, copy it to go on."""
  folder = tmp_path_factory.mktemp('runs') / 'trained'
  finished = launch(
      'im2txt.train', f'--config={task.config_file}',
      f'--input_file_pattern={task.train_pattern}', f'--train_dir={folder}',
      '--number_of_steps=6', '--log_every_n_steps=2',
      '--config.model.decoder_dropout_keep_prob=0.75',
      '--config.training.max_checkpoints_to_keep=2')
  assert finished.returncode == 0, finished.stderr
  return Run(folder, finished.lines)


@pytest.fixture(scope='session')
def read_checkpoint() -> Callable[[object], dict[str, np.ndarray]]:
  """Reads every value of a checkpoint by its name there."""
  def read(prefix: object) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()}
  return read


@pytest.fixture(scope='session')
def write_checkpoint() -> Callable[[object, Mapping[str, np.ndarray]], None]:
  """Writes values as a checkpoint."""
  def write(prefix: object, values: Mapping[str, np.ndarray]) -> None:
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=list(values),
        shape_and_slices=[''] * len(values), tensors=list(values.values()))
  return write


@pytest.fixture(scope='session')
def inception_run(task, launch, tmp_path_factory) -> Run:
  """One step of training on a random Inception v3 that sees 80 pixels."""
  folder = tmp_path_factory.mktemp('runs') / 'inception'
  finished = launch(
      'im2txt.train', f'--config={task.config_file}',
      f'--input_file_pattern={task.train_pattern}', f'--train_dir={folder}',
      '--config.model.encoder=inception_v3', '--config.model.image_height=80',
      '--config.model.image_width=80', '--allow_random_encoder',
      '--number_of_steps=1', '--config.training.optimizer=SGD')
  assert finished.returncode == 0, finished.stderr
  return Run(folder, finished.lines)


@pytest.fixture
def launch_train(task, launch, tmp_path):
  """Trains from the tiny configuration into a new folder."""
  def go(*arguments, **options):
    return launch('im2txt.train', f'--config={task.config_file}',
                  f'--input_file_pattern={task.train_pattern}',
                  f'--train_dir={tmp_path / "run"}', *arguments, **options)
  return go


# .5 * .2 and .5 * .5 * .2; `square` alone, .19 * .2, is the fourth.
BEST = (' (p=0.200000)', 'red (p=0.100000)', 'red red (p=0.050000)')


def biases(**probabilities):
  """Biases that make these words as probable whatever comes before.

  The rest of the probability is shared out among the other words.
  """
  given = {word.replace('end', '</S>').replace('stop', '.'): p
           for word, p in probabilities.items()}
  share = (1 - sum(given.values())) / (17 - len(given))
  values = [given.get(word, share) for word in (*WORDS, '<UNK>')]
  return np.log(np.maximum(values, 1e-30)).astype(np.float32)


@pytest.fixture(scope='session')
def scripted(trained, read_checkpoint, write_checkpoint, tmp_path_factory):
  """A run folder whose checkpoints' probabilities are made up.

  The newest, of step 7, is `end` .2, `red` .5, `square` .19 at every word;
  `endless` never ends a caption and `dots` mostly says the last word.
  """
  folder = tmp_path_factory.mktemp('runs') / 'scripted'
  shutil.copytree(trained.folder, folder)
  (folder / 'checkpoint').unlink()  # It names step 6 as the newest.
  values = read_checkpoint(trained.folder / 'model.ckpt-6')
  values['logits/weights'] = np.zeros_like(values['logits/weights'])
  values['global_step'] = np.int64(7)
  for name, made_up in (
      ('model.ckpt-7', biases(end=0.2, red=0.5, square=0.19)),
      ('endless', biases(end=0, red=0.6, square=0.3)),
      ('dots', biases(end=0.1, red=0.2, square=0.05, stop=0.5))):
    write_checkpoint(folder / name, values | {'logits/biases': made_up})
  return folder


@pytest.fixture
def images(task, tmp_path):
  """A folder with a copy of the task's images."""
  folder = tmp_path / 'images'
  folder.mkdir()
  for image in task.images:
    shutil.copy(image, folder)
  return folder


@pytest.fixture
def caption(launch):
  """Captions images."""
  def go(checkpoint, files, *arguments, **options):
    return launch('im2txt.run_inference', f'--checkpoint_path={checkpoint}',
                  f'--input_files={files}', *arguments, **options)
  return go


def block(name, *lines):
  """What is printed for an image."""
  return ''.join(f'{line}\n' for line in (
      f'Captions for image {name}:',
      *(f'  {i}) {line}' for i, line in enumerate(lines))))
