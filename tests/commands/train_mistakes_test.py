"""What `python -m im2txt.train` says to mistaken flags, files and numbers."""

import os
import shutil
import signal

import pytest
import tensorflow as tf
from tiny_task import config_text, make_pair

from im2txt.files import locks
from im2txt.inputs import sequence_example


@pytest.mark.parametrize('pipeline, reason', [
    ('tf_data', '= 99 is not in [0, 17)'), ('queue', 'truncated record')])
def test_shards_that_cannot_be_used(
    pipeline, reason, task, launch_train, tmp_path):
  shard = tmp_path / 'damaged'
  encoded_image, words, _ = make_pair('red square')
  with tf.io.TFRecordWriter(str(shard)) as writer:
    writer.write(sequence_example.make_pair(
        1, encoded_image, sequence_example.Caption(
            words, [0, 4, 99, 1])).SerializeToString())
  if pipeline == 'queue':
    shard.write_bytes(shard.read_bytes()[:-10])
  finished = launch_train(
      f'--input_file_pattern={shard}', f'--vocab_file={task.vocab_file}',
      '--number_of_steps=1', f'--config.model.input_pipeline={pipeline}')
  assert finished.returncode == 1
  assert finished.lines[-1].startswith('train: error: '), finished.stderr
  assert f'{shard}, record 0: ' in finished.lines[-1]
  assert reason in finished.lines[-1]
  assert 'Traceback' not in finished.stderr


@pytest.mark.parametrize('shards', ['nothing-here', 'empty', '.'])
def test_no_shards(shards, task, launch_train, tmp_path):
  (tmp_path / 'empty').touch()
  finished = launch_train(
      f'--input_file_pattern={tmp_path / shards}', '--number_of_steps=1',
      f'--vocab_file={task.vocab_file}')
  assert finished.returncode == 1
  assert finished.lines[-1].startswith('train: error: '), finished.stderr
  assert str(tmp_path) in finished.lines[-1]
  assert 'Traceback' not in finished.stderr


def test_a_second_pattern_without_shards(task, launch_train, tmp_path):
  finished = launch_train(
      f'--input_file_pattern={task.train_pattern},{tmp_path}/more-*')
  assert finished.returncode == 1
  assert f'{tmp_path}/more-*' in finished.error


@pytest.mark.parametrize('arguments, said', [
    (['--config.model.nonsense=1'], 'nonsense'),
    (['--config.nonsense.vocab_size=1'], 'nonsense'),
    (['--config.model.batch_size=many'], '--config.model.batch_size=many'),
    (['--config.model.batch_size=1.5'], '--config.model.batch_size=1.5'),
    (['--config.training.seed=x'], '--config.training.seed=x'),
    (['--config.training.initial_learning_rate=fast'],
     '--config.training.initial_learning_rate=fast'),
    (['--number_of_steps=0'], 'number_of_steps'),
    (['--number_of_step=9'], 'number_of_step'),
    (['stray'], 'stray'),
])
def test_mistaken_flags(arguments, said, launch_train, tmp_path):
  finished = launch_train(*arguments)
  assert finished.returncode == 2
  assert finished.error.startswith('train: error: ')
  assert said in finished.error
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('text, said', [
    (None, 'No such file'),
    ('def get_config(:\n', 'invalid syntax'),
    ('\0', 'null byte'),
    ('x = 1\n', 'get_config'),
    ('def get_config():\n  return batch_size\n', 'batch_size'),
    ('import a_module_that_nobody_has\n', 'a_module_that_nobody_has'),
    (config_text().replace('vocab_size', 'vocabulary'), 'vocabulary'),
    ('def get_config():\n  pass\n', 'get_config'),
    ('def get_config():\n  return {"model": {}}\n', 'configuration.Config'),
], ids=['missing', 'syntax', 'binary', 'no function', 'name', 'import',
        'field', 'nothing', 'another type'])
def test_a_broken_config_file(text, said, task, launch, tmp_path):
  path = tmp_path / 'broken.py'
  if text is not None:
    path.write_text(text)
  finished = launch(
      'im2txt.train', f'--config={path}', f'--train_dir={tmp_path / "run"}',
      f'--input_file_pattern={task.train_pattern}', '--number_of_steps=1')
  assert finished.returncode == 2
  assert finished.lines[-1].startswith('train: error: ')
  assert said in finished.lines[-1]
  assert 'Traceback' not in finished.stderr
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('override, said', [
    ('model.encoder=vgg', "'inception_v3', 'efficientnet_lite0'"),
    ('model.input_pipeline=pipe', "'tf_data', 'queue'"),
    ('model.batch_size=0', 'batch_size'),
    ('model.num_preprocess_threads=0', 'num_preprocess_threads'),
    ('training.num_examples_per_epoch=-1', 'num_examples_per_epoch'),
])
def test_values_that_cannot_be(override, said, launch_train):
  finished = launch_train(f'--config.{override}', '--number_of_steps=1')
  assert finished.returncode in (1, 2)
  assert finished.lines[-1].startswith('train: error: '), finished.stderr
  assert said in finished.lines[-1]
  assert 'in user code' not in finished.lines[-1]
  assert 'Traceback' not in finished.stderr


def test_no_configuration_at_all(launch, tmp_path):
  finished = launch('im2txt.train', f'--train_dir={tmp_path}/new')
  assert finished.returncode == 1
  assert '--config' in finished.error
  assert f'{tmp_path}/new' in finished.error


def test_an_override_without_a_file_is_not_passed_over(tmp_path, launch):
  finished = launch('im2txt.train', f'--train_dir={tmp_path}',
                    '--number_of_steps=6', '--config.model.batch_size=2')
  assert finished.returncode == 2
  assert 'config.model.batch_size' in finished.error


def test_a_damaged_configuration_in_the_run_folder(tmp_path, launch):
  (tmp_path / 'config.json').write_text('{"model": ')
  finished = launch('im2txt.train', f'--train_dir={tmp_path}')
  assert finished.returncode == 1
  assert f'{tmp_path}/config.json is no valid JSON' in finished.error


def test_the_vocabulary_decides_how_many_outputs(
    task, launch_train, tmp_path):
  short = launch_train('--config.model.vocab_size=16')
  assert short.returncode == 1
  assert f'{task.vocab_file} has 17 words' in short.error
  assert 'vocab_size is 16' in short.error
  shutil.copy(task.folder / 'train-00000-of-00002', tmp_path / 'alone')
  none = launch_train(f'--input_file_pattern={tmp_path}/alone')
  assert none.returncode == 1
  assert '--vocab_file' in none.error
  missing = launch_train(f'--vocab_file={tmp_path}/nothing.txt')
  assert missing.returncode == 1
  assert f'{tmp_path}/nothing.txt' in missing.error


@pytest.mark.parametrize('content, said', [
    ('{"name": "clean"', 'words.style.json:1:'),
    ('{"name": "clean"}', 'words.style.json is no caption style'),
    ('{"name": "clean", "start_word": "startseq", "end_word": "endseq", '
     '"unknown_word": "<unk>"}',
     "words.txt does not have the marker 'startseq'"),
], ids=['broken', 'incomplete', 'of other words'])
def test_a_style_that_does_not_fit_the_vocabulary(
    content, said, task, launch_train, tmp_path):
  shutil.copy(task.vocab_file, tmp_path / 'words.txt')
  (tmp_path / 'words.style.json').write_text(content)
  finished = launch_train(f'--vocab_file={tmp_path}/words.txt',
                          '--number_of_steps=1')
  assert finished.returncode == 1
  assert finished.error.startswith(f'train: error: {tmp_path}/{said}')
  assert not (tmp_path / 'run').exists()


def test_a_frozen_encoder_needs_weights(launch_train, tmp_path):
  finished = launch_train('--config.model.encoder=inception_v3',
                          '--config.model.image_height=80',
                          '--config.model.image_width=80')
  assert finished.returncode == 1
  for said in ('inception_v3', 'python -m data_prep.download inception_v3',
               '--inception_checkpoint_file', '--allow_random_encoder'):
    assert said in finished.error
  assert not (tmp_path / 'run').exists()


def test_a_warm_start_that_is_not_there(launch_train, tmp_path):
  finished = launch_train(f'--init_checkpoint={tmp_path}/nothing.ckpt')
  assert finished.returncode == 1
  assert f'{tmp_path}/nothing.ckpt' in finished.lines[-1]
  assert 'Traceback' not in finished.stderr


def test_a_warm_start_with_first_values(trained, launch_train, tmp_path):
  finished = launch_train(
      f'--init_checkpoint={trained.folder}',
      '--config.model.bias_from_counts')
  assert finished.returncode == 1
  assert finished.error.endswith('--config.model.bias_from_counts=false')
  assert not (tmp_path / 'run').exists()


def test_a_configuration_that_does_not_fit_leaves_the_run_as_it_is(
    trained, task, launch, tmp_path):
  run_folder = tmp_path / 'run'
  shutil.copytree(trained.folder, run_folder)
  before = (run_folder / 'config.json').read_bytes()
  finished = launch(
      'im2txt.train', f'--train_dir={run_folder}',
      f'--config={task.config_file}', '--config.model.embedding_size=5',
      f'--input_file_pattern={task.train_pattern}', '--number_of_steps=8',
      '--change_config')
  assert finished.returncode == 1
  assert 'model.ckpt-6' in finished.lines[-1]
  assert 'shape' in finished.lines[-1]
  assert (run_folder / 'config.json').read_bytes() == before


@pytest.mark.long
def test_two_trainings_in_a_folder(task, start, launch, tmp_path):
  flags = [f'--config={task.config_file}', f'--train_dir={tmp_path}',
           f'--input_file_pattern={task.train_pattern}',
           '--log_every_n_steps=1', '--number_of_steps=1000000']
  first = start('im2txt.train', *flags)
  first.wait_for(r' step \d+: ')
  second = launch('im2txt.train', *flags)
  assert second.returncode == 1
  assert second.error.startswith(
      f'train: error: {tmp_path}: another process is writing into this folder '
      f'(process {first.id} ')
  first.wait_for(r' step \d\d+: ')
  first.send(signal.SIGTERM)
  assert first.finish().returncode == 0


def test_a_second_training_in_a_folder(launch_train, tmp_path):
  (tmp_path / 'run').mkdir()
  with locks.folder(str(tmp_path / 'run')):
    finished = launch_train('--number_of_steps=1')
    assert finished.returncode == 1
    assert finished.error.startswith(
        f'train: error: {tmp_path}/run: another process is writing into this '
        'folder (process ')
    assert os.listdir(tmp_path / 'run') == [locks.FILE_NAME]
