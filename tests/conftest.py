"""What tests ask for by name: the tiny task, runs trained on it, commands."""

import gc
import json
import pathlib
import shutil
import types
from collections.abc import Callable, Iterator, Mapping

import hypothesis
import made_once
import no_network  # noqa: F401
import numpy as np
import pytest
import tensorflow as tf
import tiny_encoder
import tiny_task
from command_runner import ROOT, Command, Finished, Server

from im2txt import log_once

tiny_encoder.register()
# Of tests/properties: the same few examples each time; many others with
# `pytest tests/properties --hypothesis-profile=thorough`.
_PROPERTIES = {'deadline': None, 'database': None, 'suppress_health_check': [
    hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large]}
hypothesis.settings.register_profile(
    'quick', max_examples=15, derandomize=True, **_PROPERTIES)
hypothesis.settings.register_profile(
    'thorough', max_examples=2000, print_blob=True, **_PROPERTIES)
hypothesis.settings.load_profile('quick')


def pytest_collection_finish() -> None:
  """Do not look for garbage in all of TensorFlow, nor after each few ops."""
  gc.freeze()
  gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope='session')
def shared_folder(tmp_path_factory) -> made_once.MadeOnce:
  """`shared_folder(name, make)`: a folder that one worker makes for all."""
  return made_once.MadeOnce(tmp_path_factory)


@pytest.fixture(scope='session')
def task(shared_folder) -> tiny_task.Task:
  """The tiny captioning task; read only."""
  return tiny_task.Task.in_folder(shared_folder('task', tiny_task.write))


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
def train_features(task, launch, shared_folder) -> pathlib.Path:
  """A folder with features of the task's training images; read only."""
  def make(folder):
    finished = launch(
        'data_prep.cache_features', f'--config={task.config_file}',
        f'--input_file_pattern={task.train_pattern}', f'--output_dir={folder}')
    assert finished.returncode == 0, finished.stderr
  return shared_folder('train_features', make)


@pytest.fixture(scope='session')
def train_once(task, launch, shared_folder) -> Callable[..., tiny_task.Run]:
  """`train_once(name, '--flag', ...)`: a run on the task, made once."""
  def train(name, *arguments):
    def make(folder):
      finished = launch(
          'im2txt.train', f'--config={task.config_file}',
          f'--input_file_pattern={task.train_pattern}',
          f'--train_dir={folder / "run"}', *arguments)
      assert finished.returncode == 0, finished.stderr
      (folder / 'log.json').write_text(json.dumps(finished.lines))
    folder = shared_folder(name, make)
    return tiny_task.Run(
        folder / 'run', json.loads((folder / 'log.json').read_text()))
  return train


@pytest.fixture(scope='session')
def trained(train_once) -> tiny_task.Run:
  """Six steps of training on the task; read only, copy it to go on."""
  return train_once(
      'trained', '--number_of_steps=6', '--log_every_n_steps=2',
      '--config.model.decoder_dropout_keep_prob=0.75',
      '--config.training.max_checkpoints_to_keep=2')


@pytest.fixture(scope='session')
def random_encoder_run(train_once) -> tiny_task.Run:
  """One step of training on a random encoder that no package brings."""
  return train_once(
      'random_encoder', '--config.model.encoder=mobilenet_v3_small',
      '--allow_random_encoder', '--number_of_steps=1',
      '--config.training.optimizer=SGD')


@pytest.fixture(scope='session')
def read_checkpoint() -> Callable[[object], dict[str, np.ndarray]]:
  """Read every value of a checkpoint by its name there."""
  def read(prefix: object) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()}
  return read


@pytest.fixture(scope='session')
def write_checkpoint() -> Callable[[object, Mapping[str, np.ndarray]], None]:
  """Write values as a checkpoint."""
  def write(prefix: object, values: Mapping[str, np.ndarray]) -> None:
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=list(values),
        shape_and_slices=[''] * len(values), tensors=list(values.values()))
  return write


@pytest.fixture(autouse=True)
def no_warning_was_logged():
  """Whatever a test before has warned of is warned of again."""
  log_once.warn.cache_clear()


@pytest.fixture
def launch_train(task, launch, tmp_path):
  """Train from the tiny configuration into a new folder."""
  def go(*arguments, **options):
    return launch('im2txt.train', f'--config={task.config_file}',
                  f'--input_file_pattern={task.train_pattern}',
                  f'--train_dir={tmp_path / "run"}', *arguments, **options)
  return go


@pytest.fixture(scope='session')
def scripted(trained, read_checkpoint, write_checkpoint, shared_folder):
  """A run folder whose checkpoints' probabilities are made up.

  The newest, of step 7, is `end` .2, `red` .5, `square` .19 at every word;
  `endless` never ends a caption and `dots` mostly says the last word.
  """
  biases = tiny_task.biases

  def make(folder):
    shutil.copytree(trained.folder, folder, dirs_exist_ok=True)
    (folder / 'checkpoint').unlink()  # It names step 6 as the newest.
    values = read_checkpoint(trained.folder / 'model.ckpt-6')
    values['logits/weights'] = np.zeros_like(values['logits/weights'])
    values['global_step'] = np.int64(7)
    for name, made_up in (
        ('model.ckpt-7', biases(end=0.2, red=0.5, square=0.19)),
        ('endless', biases(end=0, red=0.6, square=0.3)),
        ('dots', biases(end=0.1, red=0.2, square=0.05, stop=0.5))):
      write_checkpoint(folder / name, values | {'logits/biases': made_up})
  return shared_folder('scripted', make)


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
