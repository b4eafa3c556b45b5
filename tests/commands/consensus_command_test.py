"""Captions chosen by what people wrote of images like the image."""

import json
import shutil

from tiny_task import block


def chosen_by(features):
  return f'--consensus_file_pattern={features}/train-*'


def test_the_best_caption_is_the_one_that_agrees(
    scripted, task, caption, train_features):
  """The search has "", "red" and "red red", in this order."""
  finished = caption(scripted, task.images[0], chosen_by(train_features))
  assert finished.returncode == 0, finished.stderr
  assert finished.stdout == block(
      'red.jpg', 'red (p=0.100000)', 'red red (p=0.050000)',
      ' (p=0.200000)')


def test_the_choice_is_of_all_that_was_found(
    scripted, task, caption, train_features, tmp_path):
  finished = caption(
      scripted, task.images[0], chosen_by(train_features), '--num_captions=1',
      f'--output_jsonl={tmp_path}/found.jsonl')
  assert finished.returncode == 0, finished.stderr
  found = json.loads((tmp_path / 'found.jsonl').read_text())
  assert [c['caption'] for c in found['captions']] == ['red']


def test_mistakes(scripted, task, caption, train_features, tmp_path):
  def error(pattern):
    finished = caption(scripted, task.images[0],
                       f'--consensus_file_pattern={pattern}')
    assert finished.returncode == 1
    return finished.error

  assert error('nowhere/train-*') == (
      'run_inference: error: no file matches nowhere/train-*')
  assert error(task.train_pattern) == (
      f'run_inference: error: {task.train_pattern} holds images; a consensus '
      'needs features: make them with data_prep.cache_features')
  other = tmp_path / 'other'
  shutil.copytree(train_features, other)
  description = json.loads((other / 'features.json').read_text())
  (other / 'features.json').write_text(
      json.dumps(description | {'weights': 'f' * 16}))
  assert 'these features were made with other weights' in error(
      f'{other}/train-*')
  (other / 'features.json').write_text(json.dumps(description))
  shard = next(other.glob('train-00000-*'))
  shard.write_bytes(shard.read_bytes()[:-3])
  assert str(shard) in error(f'{other}/train-*')
