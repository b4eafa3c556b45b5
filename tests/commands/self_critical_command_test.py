"""`python -m im2txt.train --self_critical`, from its flags to its files."""

import json
import re
import shutil
import signal

import pytest
import tensorflow as tf
from tiny_task import make_pair

from im2txt.checkpoints import folder as checkpoints
from im2txt.checkpoints import run_folder
from im2txt.inputs import sequence_example

tf1 = tf.compat.v1


@pytest.fixture
def critical(task, launch, tmp_path):
  """Train by rewards into a new folder."""
  def go(*arguments):
    return launch(
        'im2txt.train', '--self_critical', '--log_every_n_steps=1',
        f'--input_file_pattern={task.train_pattern}',
        f'--train_dir={tmp_path / "run"}', *arguments)
  return go


@pytest.mark.long
def test_it_goes_on_with_another_run_and_then_its_own(
    trained, critical, read_checkpoint, tmp_path):
  run = tmp_path / 'run'
  finished = critical(
      f'--init_checkpoint={trained.folder}', '--number_of_steps=2')
  assert finished.returncode == 0, finished.stderr
  assert f'Starting warm from {trained.folder}/model.ckpt-6' in finished.stderr
  finished = critical('--number_of_steps=3')
  assert finished.returncode == 0, finished.stderr
  assert f'Resuming from {run}/model.ckpt-2' in finished.stderr
  assert re.search(
      r'step 3: loss \S+, reward \d\.\d{4}, learning rate 0.0001, ',
      finished.stderr)
  # What phase 1 was told is kept, whatever this phase reads.
  assert run_folder.load_config(str(run)).training == run_folder.load_config(
      str(trained.folder)).training
  assert run_folder.load_config(str(run)).model.batch_size == 3
  rewards = [value.simple_value for path in run.glob('events.*')
             for event in tf1.train.summary_iterator(str(path))
             for value in event.summary.value
             if value.tag == 'self_critical/reward']
  assert len(rewards) == 2 and all(0.0 <= x < 10.0 for x in rewards)
  before, after = (read_checkpoint(checkpoints.newest(str(folder)))
                   for folder in (trained.folder, run))
  difference = abs(after['logits/weights'] - before['logits/weights'])
  assert 0.0 < difference.max() < 0.002
  stem = 'TinyEncoder/Stem/weights'
  assert (after[stem] == before[stem]).all()


@pytest.mark.long
def test_the_best_by_a_score_is_kept(trained, task, critical, tmp_path):
  finished = critical(
      f'--init_checkpoint={trained.folder}', '--number_of_steps=1',
      f'--eval_file_pattern={task.val_pattern}')
  assert finished.returncode == 0, finished.stderr
  assert checkpoints.newest(str(tmp_path / 'run' / 'best'))
  line = (tmp_path / 'run' / 'eval' / 'metrics.jsonl').read_text()
  assert 'CIDEr' in json.loads(line)['scores']['captions']


def one_mistake(finished, *parts):
  assert finished.returncode == 1
  assert finished.lines[-1].startswith('train: error: '), finished.stderr
  assert 'Traceback' not in finished.stderr
  for part in parts:
    assert part in finished.lines[-1]


def test_a_model_that_has_not_been_trained(task, critical, tmp_path):
  one_mistake(critical(f'--config={task.config_file}'), '--init_checkpoint')
  assert not (tmp_path / 'run').exists()


def test_two_phases_at_once(trained, critical):
  one_mistake(critical(f'--init_checkpoint={trained.folder}',
                       '--train_inception'), '--train_inception')


def test_a_single_caption_is_compared_with_nothing(trained, task, critical):
  one_mistake(critical(
      f'--init_checkpoint={trained.folder}', f'--config={task.config_file}',
      '--config.training.self_critical_samples=1'), 'at least 2')


def test_another_vocabulary_than_the_checkpoints(
    trained, task, critical, tmp_path):
  words = tmp_path / 'words.txt'
  words.write_text(task.vocab_file.read_text().replace('red ', 'pink '))
  one_mistake(
      critical(f'--init_checkpoint={trained.folder}', f'--vocab_file={words}'),
      str(words), str(task.vocab_file))


def test_captions_of_an_image_in_several_records(
    trained, task, critical, tmp_path):
  shutil.copy(task.vocab_file, tmp_path)
  shard = tmp_path / 'train-00000-of-00001'
  encoded_image, words, ids = make_pair('a red square .')
  with tf.io.TFRecordWriter(str(shard)) as writer:
    for _ in range(2):
      writer.write(sequence_example.make_pair(
          1, encoded_image, sequence_example.Caption(
              words, ids)).SerializeToString())
  one_mistake(critical(f'--init_checkpoint={trained.folder}',
                       f'--input_file_pattern={shard}'),
              str(shard), '--layout=image')


@pytest.mark.long
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves(number, trained, task, start, tmp_path):
  command = start(
      'im2txt.train', '--self_critical', f'--train_dir={tmp_path / "run"}',
      f'--init_checkpoint={trained.folder}', '--log_every_n_steps=1',
      f'--input_file_pattern={task.train_pattern}')
  command.wait_for('step 2: ')
  command.send(number)
  finished = command.finish()
  assert finished.returncode == 0, finished.stderr
  assert checkpoints.step_of(checkpoints.newest(str(tmp_path / 'run'))) >= 2


@pytest.mark.long
def test_people_keep_their_share_on_shards_of_images(
    trained, task, critical, tmp_path):
  shutil.copy(task.vocab_file, tmp_path)
  shard = tmp_path / 'train-00000-of-00001'
  with tf.io.TFRecordWriter(str(shard)) as writer:
    for number, captions in enumerate((
        ('a red square .', 'the red square'), ('a blue circle',))):
      pairs = list(map(make_pair, captions))
      writer.write(sequence_example.make_image(
          number, {sequence_example.IMAGE_DATA: pairs[0][0]},
          [sequence_example.Caption(*pair[1:]) for pair in pairs]
      ).SerializeToString())
  finished = critical(
      f'--config={task.config_file}', f'--init_checkpoint={trained.folder}',
      f'--input_file_pattern={shard}', '--number_of_steps=1',
      '--config.training.self_critical_batch_size=2',
      '--config.training.self_critical_cross_entropy=0.5')
  assert finished.returncode == 0, finished.stderr
  # 2 x 5 drawn, beside 3 that people wrote.
  assert re.search(r'step 1: loss \d\.\d+, reward ', finished.stderr)


def test_no_vocabulary(trained, task, critical, tmp_path):
  for folder, names in ((task.folder, 'train-*'), (trained.folder, '*')):
    (tmp_path / folder.name).mkdir()
    for path in folder.glob(names):
      if path.is_file() and path.name != 'word_counts.txt':
        shutil.copy(path, tmp_path / folder.name)
  one_mistake(critical(
      f'--init_checkpoint={tmp_path / trained.folder.name}',
      f'--input_file_pattern={tmp_path / task.folder.name}/train-*'),
      '--vocab_file')
