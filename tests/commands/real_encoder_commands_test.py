"""Each command line that runs an encoder, once with one of real weights.

The other tests of command lines have the tests' own encoder, which is built in
no time.
"""

import json

import numpy as np
import pytest
from tiny_task import config_text

from im2txt.checkpoints import encoder_weights, packed_model, trained_model

ENCODER = 'efficientnet_lite0'
SCOPE = 'EfficientNetLite0/'
C = 1280


def succeed(finished):
  assert finished.returncode == 0, finished.stderr
  return finished


@pytest.fixture(scope='module')
def config_file(tmp_path_factory):
  path = tmp_path_factory.mktemp('config') / 'real.py'
  path.write_text(config_text(ENCODER))
  return path


@pytest.fixture(scope='module')
def run_folder(config_file, task, launch, tmp_path_factory):
  """One step of training on images."""
  folder = tmp_path_factory.mktemp('runs') / 'real'
  succeed(launch(
      'im2txt.train', f'--config={config_file}', f'--train_dir={folder}',
      f'--input_file_pattern={task.train_pattern}', '--number_of_steps=1'))
  return folder


def test_train_keeps_the_weights_of_the_package(run_folder, read_checkpoint):
  values = read_checkpoint(run_folder / 'model.ckpt-1')
  model = trained_model.find(str(run_folder), None)
  assert model.config.encoder == ENCODER
  path = encoder_weights.find(model.config, model.captioner.encoder)
  assert path.endswith('.pth')
  assert sum(name.startswith(SCOPE) for name in values) == 5 * 49
  assert values['image_embedding/weights'].shape == (C, 7)


def test_cache_features(config_file, task, launch, tmp_path):
  succeed(launch(
      'data_prep.cache_features', f'--config={config_file}',
      f'--input_file_pattern={task.val_pattern}', f'--output_dir={tmp_path}'))
  features = json.loads((tmp_path / 'features.json').read_text())
  assert features['encoder'] == ENCODER
  assert features['shapes'] == {'features/pooled': [C]}


def test_run_inference_and_pack_model(
    run_folder, task, launch, caption, tmp_path):
  packed = tmp_path / 'packed'
  succeed(launch('im2txt.pack_model', f'--checkpoint_path={run_folder}',
                 f'--output_dir={packed}'))
  with np.load(packed / packed_model.FILE_NAME) as f:
    assert 'encoder_digest' in f.files
    assert not any(name.startswith(SCOPE) for name in f.files)
  files = ','.join(map(str, task.images))
  # Unpacked it has the package's encoder again.
  finished = succeed(caption(packed, files, '--beam_size=2'))
  assert finished.stdout.count('Captions for image ') == 3


def test_export(run_folder, launch, tmp_path):
  succeed(launch('im2txt.export', f'--checkpoint_path={run_folder}',
                 f'--output_dir={tmp_path}/exported'))
  assert list((tmp_path / 'exported').rglob('saved_model.pb'))
