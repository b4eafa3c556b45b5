"""The same seed gives the same again, bit by bit, in another process."""

import functools
import re

import numpy as np
import pytest
import tensorflow as tf
from tiny_task import draw_image

from data_prep.datasets.captioned_images import CaptionedImage
from data_prep.runners import local_runner, worker_pool
from data_prep.shards import build
from im2txt.checkpoints import folder as checkpoints

tf1 = tf.compat.v1


def curves(folder):
  """Values of every step, by tag: loss, gradient's norm, reward."""
  found = {}
  for path in folder.glob('events.*'):
    for event in tf1.train.summary_iterator(str(path)):
      for value in event.summary.value:
        if value.tag in ('losses/total_loss', 'gradient_norm',
                         'self_critical/reward'):
          found.setdefault(value.tag, []).append(value.simple_value)
  return found


@pytest.fixture(scope='module')
def train_twice(task, start, tmp_path_factory):
  """Train side by side, so that threads come to their turns differently."""
  def go(steps, *arguments):
    folder = tmp_path_factory.mktemp('twice')
    commands = [start(
        'im2txt.train', f'--train_dir={folder / name}',
        f'--number_of_steps={steps}', f'--config={task.config_file}',
        '--config.training.save_summaries_steps=1', *arguments)
                for name in ('one', 'other')]
    logs = []
    for command in commands:
      finished = command.finish()
      assert finished.returncode == 0, finished.stderr
      logs.append(finished.lines)
    return (folder / 'one', folder / 'other'), logs
  return go


def check_same(folders, read_checkpoint, steps, tags):
  """Every step's values and the last checkpoint's are the same."""
  one, other = map(curves, folders)
  assert one.keys() == tags
  for tag, values in one.items():
    assert len(values) == steps
    # What has come to rest would be the same of itself.
    assert len(set(values)) > 0.9 * steps, tag
    assert values == other[tag], tag
  one, other = (read_checkpoint(checkpoints.newest(str(folder)))
                for folder in folders)
  assert one.keys() == other.keys()
  for name, value in one.items():
    np.testing.assert_array_equal(value, other[name], name)


@pytest.fixture(scope='module')
def twice(task, train_twice):
  return train_twice(
      200, f'--input_file_pattern={task.train_pattern}',
      f'--sample_image={task.images[0]}',
      '--config.training.learning_rate_decay_factor=1.0',
      '--config.model.decoder_dropout_keep_prob=0.75',
      '--config.model.num_input_reader_threads=2',
      '--config.model.num_preprocess_threads=4',
      '--config.training.scheduled_sampling=0.5',
      '--config.training.scheduled_sampling_epochs=5')


def test_the_same_200_losses(twice, read_checkpoint):
  check_same(twice[0], read_checkpoint, 200,
             {'losses/total_loss', 'gradient_norm'})


@pytest.mark.long
def test_the_same_captions_with_their_probabilities(
    twice, task, start, tmp_path):
  folders, logs = twice
  commands = [start(
      'im2txt.run_inference', f'--checkpoint_path={folder}',
      f'--input_files={",".join(map(str, task.images))}',
      f'--output_jsonl={tmp_path / str(i)}')
              for i, folder in enumerate(folders)]
  for command in commands:
    finished = command.finish()
    assert finished.returncode == 0, finished.stderr
  assert (tmp_path / '0').read_bytes() == (tmp_path / '1').read_bytes()
  drawn = [[re.sub('^[^ ]* ', '', line) for line in log
            if ', temperature ' in line] for log in logs]
  assert len(drawn[0]) == 3 and drawn[0] == drawn[1]


@pytest.mark.long
def test_the_same_where_a_word_stands_in_many_places(
    train_features, train_twice, read_checkpoint):
  # So many words that several threads add to the rows of the embedding.
  folders, _ = train_twice(
      100, f'--input_file_pattern={train_features}/train-*',
      '--config.model.batch_size=400', '--config.training.optimizer=SGD',
      '--config.training.learning_rate_decay_factor=1.0')
  check_same(folders, read_checkpoint, 100,
             {'losses/total_loss', 'gradient_norm'})


@pytest.mark.long
def test_the_same_drawn_captions_to_train_on(
    trained, train_features, train_twice, read_checkpoint):
  folders, _ = train_twice(
      50, '--self_critical', f'--init_checkpoint={trained.folder}',
      f'--input_file_pattern={train_features}/train-*')
  check_same(folders, read_checkpoint, 50, {
      'losses/total_loss', 'gradient_norm', 'self_critical/reward'})


def test_the_same_shards_however_many_workers(tmp_path, monkeypatch):
  monkeypatch.setattr(worker_pool, 'available_cpus', lambda: 3)
  captioned = []
  for i in range(12):
    path = tmp_path / f'{i}.jpg'
    path.write_bytes(draw_image('red', 'circle', (40 + i, 30)))
    captioned.append(CaptionedImage(i, str(path), [f'a circle {i}', 'red']))
  found = []
  for workers in (1, 3):
    folder = tmp_path / f'{workers} workers'
    build.build({'train': captioned}, build.Options(
        str(folder), {'train': 5}, min_word_count=1, max_side=32,
        runner=functools.partial(local_runner.local_runner, workers, few=0)))
    found.append({path.name: path.read_bytes() for path in folder.iterdir()})
  assert len(found[0]) == 5 + 4
  assert found[0] == found[1]
