"""Training that goes on: with the numbers of the run, or those asked for."""

import json
import os
import shutil

import pytest


@pytest.fixture
def run(trained, tmp_path):
  """A copy of the run, at step 6."""
  folder = tmp_path / 'run'
  shutil.copytree(trained.folder, folder)
  return folder


def fields_of(folder):
  config = json.loads((folder / 'config.json').read_text())
  return config['model'] | config['training'] | {'name': config['name']}


def changed(before, after):
  return {name: after[name] for name in after if before[name] != after[name]}


@pytest.mark.parametrize('named', [False, True])
def test_one_number_of_a_run_is_changed(run, launch, named):
  before = fields_of(run)
  finished = launch(
      'im2txt.train', f'--train_dir={run}', '--number_of_steps=7',
      '--config.training.initial_learning_rate=1e-4',
      *([f'--config={run}/config.json'] if named else []))
  assert finished.returncode == 0, finished.stderr
  assert changed(before, fields_of(run)) == {'initial_learning_rate': 1e-4}
  assert (run / 'model.ckpt-7.index').exists()


def test_another_configuration_is_refused_unless_asked_for(
    run, task, launch):
  before = (run / 'config.json').read_bytes()
  flags = ['im2txt.train', f'--train_dir={run}', '--number_of_steps=7',
           f'--config={task.config_file}', '--config.model.batch_size=2',
           f'--input_file_pattern={task.train_pattern}', '--bad_records=skip']
  refused = launch(*flags)
  assert refused.returncode == 1
  # Both that the file of the task has otherwise, not the one that was named.
  for name in ('model.decoder_dropout_keep_prob', 'max_checkpoints_to_keep',
               '--change_config'):
    assert name in refused.error
  assert 'batch_size' not in refused.error
  assert 'bad_records' not in refused.error
  assert (run / 'config.json').read_bytes() == before
  finished = launch(*flags, '--change_config')
  assert finished.returncode == 0, finished.stderr
  assert fields_of(run)['batch_size'] == 2


def test_a_run_goes_on_from_another_working_folder(task, launch, tmp_path):
  folder = os.path.dirname(task.train_pattern)
  finished = launch(
      'im2txt.train', f'--config={task.config_file}',
      f'--input_file_pattern={os.path.basename(task.train_pattern)}',
      f'--train_dir={tmp_path}/run', '--number_of_steps=1', folder=folder)
  assert finished.returncode == 0, finished.stderr
  assert fields_of(tmp_path / 'run')['input_file_pattern'] == (
      task.train_pattern)
  finished = launch('im2txt.train', '--train_dir=run', '--number_of_steps=2',
                    folder=tmp_path)
  assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize('file', ['other.json', 'gone/config.json'])
def test_a_configuration_that_is_no_runs(tmp_path, launch, file):
  (tmp_path / 'other.json').write_text('{}')
  finished = launch(
      'im2txt.train', f'--config={tmp_path / file}', f'--train_dir={tmp_path}')
  assert finished.returncode == 2
  assert str(tmp_path / file) in finished.error
