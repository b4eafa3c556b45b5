"""Captions chosen by what people wrote of photos like the picture."""

import json
import shutil

import pytest
from conftest import block


@pytest.fixture(scope='module')
def known(task, launch, tmp_path_factory):
  """Features of the training pictures, of which two are red."""
  folder = tmp_path_factory.mktemp('known')
  finished = launch(
      'data_prep.cache_features', f'--config={task.config_file}',
      f'--input_file_pattern={task.train_pattern}', f'--output_dir={folder}')
  assert finished.returncode == 0, finished.stderr
  return folder


def test_the_best_caption_is_the_one_that_agrees(
    scripted, task, caption, known):
  """The search has "", "red" and "red red", in this order."""
  finished = caption(
      scripted, task.pictures[0], f'--consensus_file_pattern={known}/train-*')
  assert finished.returncode == 0, finished.stderr
  assert finished.stdout == block(
      'red.jpg', 'red (p=0.100000)', 'red red (p=0.050000)',
      ' (p=0.200000)')


def test_the_choice_is_of_all_that_was_found(
    scripted, task, caption, known, tmp_path):
  finished = caption(
      scripted, task.pictures[0], f'--consensus_file_pattern={known}/train-*',
      '--num_captions=1', f'--output_jsonl={tmp_path}/found.jsonl')
  assert finished.returncode == 0, finished.stderr
  found = json.loads((tmp_path / 'found.jsonl').read_text())
  assert [c['caption'] for c in found['captions']] == ['red']


def test_an_unfinished_run_goes_on_with_the_same_photos_only(
    scripted, pictures, caption, known, start, tmp_path):
  output = tmp_path / 'found.jsonl'
  finished = caption(scripted, pictures, f'--output_jsonl={output}')
  assert finished.returncode == 0, finished.stderr
  (tmp_path / 'found.jsonl.progress').write_text('{"settings": {}}\n')
  finished = caption(scripted, pictures, f'--output_jsonl={output}',
                     f'--consensus_file_pattern={known}/train-*')
  assert finished.returncode == 1
  assert 'found.jsonl.progress' in finished.error


def test_mistakes(scripted, task, caption, known, tmp_path):
  def error(pattern):
    finished = caption(scripted, task.pictures[0],
                       f'--consensus_file_pattern={pattern}')
    assert finished.returncode == 1
    return finished.error

  assert error('nowhere/train-*') == (
      'run_inference: error: no file matches nowhere/train-*')
  assert error(task.train_pattern) == (
      f'run_inference: error: {task.train_pattern} holds pictures; a consensus '
      'needs features: make them with data_prep.cache_features')
  other = tmp_path / 'other'
  shutil.copytree(known, other)
  description = json.loads((other / 'features.json').read_text())
  (other / 'features.json').write_text(
      json.dumps(description | {'weights': 'f' * 16}))
  assert 'these features were made with other weights' in error(
      f'{other}/train-*')
  shard = next(other.glob('train-00000-*'))
  shard.write_bytes(shard.read_bytes()[:-3])
  assert str(shard) in error(f'{other}/train-*')
