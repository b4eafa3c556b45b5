"""`python -m im2txt.train`, from its flags to the files it leaves."""

import contextlib
import json
import math
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import threading

import numpy as np
import pytest
import tensorflow as tf
from command_runner import ROOT, SECONDS
from PIL import Image
from tiny_task import make_pair

from im2txt import configuration, encoders
from im2txt.checkpoints import encoder_weights
from im2txt.checkpoints import folder as checkpoints
from im2txt.checkpoints.run_folder import load_config
from im2txt.inputs import image_processing, sequence_example
from im2txt.inputs.shards import Shards
from im2txt.models.captioner import Captioner
from im2txt.text import caption_styles
from im2txt.training import loop

tf1 = tf.compat.v1

ENCODER = 'TinyEncoder/'
ADAM = 'optimizer/'


def steps_in(folder):
  """Steps of the checkpoints in a folder, rising."""
  return [checkpoints.step_of(prefix)
          for prefix in checkpoints.all_in(str(folder))]


def events_of(folder):
  """Every TensorBoard event in a folder."""
  return [event for path in sorted(folder.glob('events.out.tfevents.*'))
          for event in tf1.train.summary_iterator(str(path))]


def scalars_of(folder):
  """{tag: {step: value}} of the scalars in a folder."""
  found = {}
  for event in events_of(folder):
    for value in event.summary.value:
      if value.HasField('simple_value'):
        found.setdefault(value.tag, {})[event.step] = value.simple_value
  return found


@pytest.fixture
def run_folder(trained, tmp_path):
  """A copy of the trained run to go on with."""
  shutil.copytree(trained.folder, tmp_path / 'run')
  return tmp_path / 'run'


# What a run leaves behind.


def test_logs_plain_lines_without_a_terminal(trained):
  steps = [re.match(r'\d\d:\d\d:\d\d step (\d+): loss (\S+), learning rate '
                    r'(\S+), \S+ captions/s, \d+ words/s, \S+ % padding, '
                    r'\d\d:\d\d left$', line)
           for line in trained.log if ' step ' in line]
  assert [int(m[1]) for m in steps] == [2, 4, 6]
  # 3 steps of 3 pairs are 1.5 epochs of 6: then the rate is halved.
  assert [m[3] for m in steps] == ['0.01', '0.005', '0.005']
  assert not any('it/s' in line or '\r' in line for line in trained.log)


def test_logs_variables_once(trained):
  # 7 in the decoder and global_step, 5 in each of 2 convolutions, an Adam
  # pair for each of 6 trained ones and its two powers.
  table = [line for line in trained.log if ' variables, ' in line]
  assert len(table) == 1
  count = 1 + 6 + 5 * 2 + 2 * 6 + 2
  assert f' {count} variables, ' in table[0]
  rows = [line for line in trained.log if line.startswith('  ')
          and line.endswith(('  trained', ']'))]
  assert len(rows) == count
  assert '  image_embedding/weights  [9, 7]  trained' in rows
  assert '  seq_embedding/map  [17, 7]  trained' in rows
  assert sum(row.endswith('  trained') for row in rows) == 6


def test_logs_where_it_started(trained):
  assert sum('Starting from scratch, with a pretrained encoder' in line
             for line in trained.log) == 1


def test_keeps_the_resolved_configuration(trained, task):
  config = load_config(str(trained.folder))
  assert config.model.input_file_pattern == task.train_pattern
  assert config.model.vocab_size == 17
  assert config.model.embedding_size == 7
  assert config.model.decoder_dropout_keep_prob == 0.75
  assert config.training.max_checkpoints_to_keep == 2
  assert config.training.optimizer == 'Adam'


def test_copies_the_vocabulary(trained, task):
  assert (trained.folder / 'word_counts.txt').read_bytes() == (
      task.vocab_file.read_bytes())


@pytest.mark.long
def test_the_style_of_the_captions_is_kept(task, launch, tmp_path):
  style = caption_styles.CaptionStyle('clean', 'begin', 'end', '?')
  for split in ('train', 'val'):
    for path in task.folder.glob(f'{split}-*'):
      shutil.copy(path, tmp_path)
  words = tmp_path / 'word_counts.txt'
  words.write_text(task.vocab_file.read_text().replace(
      '<S> ', 'begin ').replace('</S> ', 'end '))
  caption_styles.write(str(words), style)
  run = tmp_path / 'run'
  flags = ('im2txt.train', f'--train_dir={run}', '--number_of_steps=1')
  finished = launch(*flags, f'--config={task.config_file}',
                    f'--input_file_pattern={tmp_path}/train-*',
                    f'--eval_file_pattern={tmp_path}/val-*')
  assert finished.returncode == 0, finished.stderr
  for folder in (run, run / 'best'):
    assert (folder / 'word_counts.txt').read_bytes() == words.read_bytes()
    assert caption_styles.read(str(folder / 'word_counts.txt')) == style
    config = load_config(str(folder)).model
    assert (config.start_word, config.end_word, config.unknown_word) == (
        'begin', 'end', '?')
    assert config.vocab_size == 17
  # Whoever has the run alone has them, too.
  finished = launch('im2txt.run_inference', f'--checkpoint_path={run}/best',
                    f'--input_files={task.images[0]}')
  assert finished.returncode == 0, finished.stderr
  assert 'begin' not in finished.stdout and 'end' not in finished.stdout


def test_writes_events(trained):
  scalars = scalars_of(trained.folder)
  assert {'losses/batch_loss', 'losses/total_loss', 'losses/'
          'regularization_loss', 'learning_rate', 'gradient_norm',
          'speed/captions_per_second', 'speed/words_per_second',
          'caption_length/batch_min', 'caption_length/batch_max',
          'caption_length/batch_mean'} <= scalars.keys()
  assert sorted(scalars['speed/captions_per_second']) == [2, 4, 6]
  first = scalars['losses/batch_loss'][1]
  assert first == pytest.approx(math.log(17), abs=0.1)
  assert scalars['losses/total_loss'][1] == pytest.approx(first)  # Frozen.
  events = events_of(trained.folder)
  assert any(event.HasField('graph_def') for event in events)
  images = [value.image for event in events for value in event.summary.value
              if value.HasField('image')]
  assert len(images) == 3
  assert {(p.height, p.width) for p in images} == {(32, 32)}


def test_phase_1_trains_the_decoder_only(trained, read_checkpoint):
  config = load_config(str(trained.folder)).model
  encoder = encoders.make(config)
  weights = encoder_weights.read_file(
      encoder, encoder_weights.find(config, encoder))
  first = read_checkpoint(trained.folder / 'model.ckpt-0')
  last = read_checkpoint(trained.folder / 'model.ckpt-6')
  assert last['global_step'] == 6
  for name, value in weights.items():
    np.testing.assert_array_equal(last[name], value, name)
  for name in ('image_embedding/weights', 'seq_embedding/map', 'logits/biases',
               'lstm/basic_lstm_cell/kernel'):
    assert np.any(first[name] != last[name]), name


# Going on.


def solid_colour_task(folder):
  """One pair whose image looks the same however it is cropped and flipped."""
  Image.new('RGB', (48, 48), (200, 60, 40)).save(folder / 'red.jpg')
  _, words, ids = make_pair('a red square .')
  with tf.io.TFRecordWriter(str(folder / 'shard')) as writer:
    writer.write(sequence_example.make_pair(
        1, (folder / 'red.jpg').read_bytes(),
        sequence_example.Caption(words, ids)).SerializeToString())
  return configuration.Config(
      model=configuration.ModelConfig(
          encoder='tiny', image_height=32, image_width=32,
          vocab_size=17, embedding_size=7, num_lstm_units=11, batch_size=1,
          decoder_dropout_keep_prob=1.0),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=2, optimizer='Adam',
          initial_learning_rate=0.02, num_epochs_per_decay=1.0, seed=3))


@pytest.mark.long
def test_resuming_gives_the_run_it_would_have_been(
    read_checkpoint, tmp_path, monkeypatch):
  # Nothing random is left, so that the two ways must lead to one place.
  monkeypatch.setattr(
      image_processing, 'distort_image', lambda image, *_: image)
  config = solid_colour_task(tmp_path)
  for folder, ends in (('whole', [6]), ('parts', [3, 6])):
    for end in ends:
      loop.train(loop.TrainingRun(
          Captioner(config.model), config.training,
          Shards.find(f'{tmp_path}/shard'), str(tmp_path / folder), end,
          log_every_n_steps=1))
  whole = read_checkpoint(tmp_path / 'whole' / 'model.ckpt-6')
  parts = read_checkpoint(tmp_path / 'parts' / 'model.ckpt-6')
  assert whole.keys() == parts.keys()
  assert sum(name.startswith(ADAM) for name in whole) == 2 * 6 + 2
  for name, value in whole.items():
    np.testing.assert_allclose(
        parts[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
  rates = scalars_of(tmp_path / 'parts')['learning_rate']
  assert rates[1] == pytest.approx(0.02)  # Of the first part, ...
  assert rates[4] == pytest.approx(0.01)  # ... of the second.


@pytest.mark.long
def test_phase_2_trains_the_encoder_too(
    trained, run_folder, launch, read_checkpoint):
  finished = launch(
      'im2txt.train', f'--train_dir={run_folder}', '--train_inception',
      f'--vocab_file={run_folder}/word_counts.txt',
      '--number_of_steps=8', '--log_every_n_steps=1')
  assert finished.returncode == 0, finished.stderr
  assert f'Resuming from {run_folder}/model.ckpt-6' in finished.stderr
  reports = re.findall(r'step (\d+): .* rate (\S+),', finished.stderr)
  assert reports == [('7', '0.0005'), ('8', '0.0005')]
  # Two were to be kept; those of the first process count.
  assert steps_in(run_folder) == [6, 8]
  before = read_checkpoint(trained.folder / 'model.ckpt-6')
  after = read_checkpoint(run_folder / 'model.ckpt-8')
  assert after['global_step'] == 8
  for name in (ENCODER + 'Stem/weights', ENCODER + 'Head/weights',
               ENCODER + 'Stem/BatchNorm/gamma',
               ENCODER + 'Head/BatchNorm/moving_mean'):
    assert np.any(before[name] != after[name]), name
    np.testing.assert_allclose(
        after[name], before[name], atol=0.5, err_msg=name)
  # Two steps of 0.0005 from where phase 1 ended.
  difference = after['logits/weights'] - before['logits/weights']
  assert 0 < np.abs(difference).max() < 0.005
  # The encoder's slots begin anew, and with them the bias correction, which
  # is that of the step to come.
  assert after[ADAM + 'beta1_power'] == pytest.approx(0.9 ** 3)
  assert before[ADAM + 'beta1_power'] == pytest.approx(0.9 ** 7)
  scalars = scalars_of(run_folder)
  step = max(scalars['losses/total_loss'])
  assert step > 6
  assert scalars['losses/regularization_loss'][step] > 0
  assert scalars['losses/total_loss'][step] == pytest.approx(
      scalars['losses/batch_loss'][step]
      + scalars['losses/regularization_loss'][step])


def test_says_that_it_is_there_already(trained, launch):
  finished = launch('im2txt.train', f'--train_dir={trained.folder}',
                    '--number_of_steps=6')
  assert finished.returncode == 0
  assert len(finished.lines) == 1
  assert finished.lines[0].endswith(
      f'{trained.folder} has already reached step 6 of --number_of_steps=6')


def test_a_run_folder_with_brackets_in_its_name_is_resumed(
    trained, tmp_path, launch):
  folder = tmp_path / 'run [2]'
  shutil.copytree(trained.folder, folder)
  finished = launch(
      'im2txt.train', f'--train_dir={folder}', '--number_of_steps=6')
  assert 'already reached step 6' in finished.stderr


def test_starts_warm_from_an_older_checkpoint(
    trained, launch_train, read_checkpoint, write_checkpoint, tmp_path):
  theirs = read_checkpoint(trained.folder / 'model.ckpt-6')
  older = {'lstm/basic_lstm_cell/kernel': 'lstm/basic_lstm_cell/weights',
           'lstm/basic_lstm_cell/bias': 'lstm/basic_lstm_cell/biases'}
  write_checkpoint(tmp_path / 'older.ckpt-6', {
      older.get(name, name): value for name, value in theirs.items()
      if name != ADAM + 'beta1_power'})
  finished = launch_train(
      f'--init_checkpoint={tmp_path}/older.ckpt-6', '--number_of_steps=1')
  assert finished.returncode == 0, finished.stderr
  assert (f'Starting warm from {tmp_path}/older.ckpt-6, at step 0'
          in finished.stderr)
  ours = read_checkpoint(tmp_path / 'run' / 'model.ckpt-0')
  assert ours['global_step'] == 0
  for name, value in ours.items():
    if name.startswith(ADAM):
      assert name.endswith('_power') or not np.any(value), name
    elif name != 'global_step':
      np.testing.assert_array_equal(value, theirs[name], name)
  assert ours[ADAM + 'beta1_power'] == pytest.approx(0.9)
  assert steps_in(tmp_path / 'run') == [0, 1]


# Stopping.


@pytest.fixture(scope='module')
def stopped(task, start, tmp_path_factory):
  """A run of the queue pipeline that SIGTERM stopped, and what it said."""
  folder = tmp_path_factory.mktemp('runs') / 'stopped'
  command = start(
      'im2txt.train', f'--config={task.config_file}',
      f'--input_file_pattern={task.train_pattern}', f'--train_dir={folder}',
      '--config.model.input_pipeline=queue', '--number_of_steps=1000000',
      '--log_every_n_steps=1')
  command.wait_for(r' step \d+: loss')
  command.send(signal.SIGTERM)
  return folder, command.finish()


def test_sigterm_saves_and_stops(stopped):
  folder, finished = stopped
  assert finished.returncode == 0, finished.stderr
  assert 'Interrupted: saving and stopping' in finished.stderr
  # It has a seed, which cannot hold.
  assert 'The threads of input_pipeline queue race' in finished.stderr
  steps = [int(s) for s in re.findall(r' step (\d+):', finished.stderr)]
  assert steps == list(range(1, steps[-1] + 1))
  assert steps_in(folder) == [0, steps[-1]]


def test_the_queue_pipeline_trains(stopped, read_checkpoint):
  folder, _ = stopped
  first, last = (read_checkpoint(folder / f'model.ckpt-{step}')
                 for step in steps_in(folder))
  assert np.any(first['logits/weights'] != last['logits/weights'])
  tags = scalars_of(folder).keys()
  for queue in ('filename_queue', 'queue/random_input_queue',
                'batch_and_pad'):
    assert any(tag.startswith(f'{queue}/fraction_of_') for tag in tags), tags


@pytest.mark.long
def test_the_same_command_goes_on_until_ctrl_c(
    stopped, task, start, tmp_path):
  folder = tmp_path / 'run'
  shutil.copytree(stopped[0], folder)
  reached = steps_in(folder)[-1]
  command = start(
      'im2txt.train', f'--config={task.config_file}',
      f'--input_file_pattern={task.train_pattern}', f'--train_dir={folder}',
      '--number_of_steps=1000000', '--log_every_n_steps=1')
  command.wait_for(r' step \d+: loss')
  command.send(signal.SIGINT)
  finished = command.finish()
  assert finished.returncode == 0, finished.stderr
  assert f'Resuming from {folder}/model.ckpt-{reached}' in finished.stderr
  assert 'Traceback' not in finished.stderr
  steps = [int(s) for s in re.findall(r' step (\d+):', finished.stderr)]
  assert steps == list(range(reached + 1, steps_in(folder)[-1] + 1))


# On a terminal.


@contextlib.contextmanager
def terminal():
  """Yield a terminal's descriptor and the pieces of what it has shown."""
  screen, descriptor = pty.openpty()
  termios.tcsetwinsize(screen, (24, 150))
  shown = []

  def gather():
    with contextlib.suppress(OSError):  # Nobody holds the other side.
      while piece := os.read(screen, 65536):
        shown.append(piece)

  reader = threading.Thread(target=gather)
  reader.start()
  try:
    yield descriptor, shown
  finally:
    os.close(descriptor)
    reader.join()
    os.close(screen)


@pytest.mark.long
def test_a_bar_on_a_terminal(task, tmp_path):
  with terminal() as (descriptor, shown):
    finished = subprocess.run(
        [sys.executable, '-m', 'im2txt.train', f'--config={task.config_file}',
         f'--input_file_pattern={task.train_pattern}',
         f'--train_dir={tmp_path / "run"}', '--number_of_steps=40',
         '--log_every_n_steps=10',
         '--config.model.encoder=efficientnet_lite0'],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=descriptor,
        stderr=descriptor, timeout=SECONDS, check=False)
  text = b''.join(shown).decode()
  assert finished.returncode == 0, text
  bars = re.findall(r'\r *(\d+)%\|[^\r]*\| (\d+)/40 \[([^\r]*)\]', text)
  assert bars, text
  assert re.search(r'\d\d:\d\d<(\d\d:\d\d|\?), .*loss=2\.\d\d\d', bars[-1][2])
  assert int(bars[-1][1]) == 40
  assert ' step 10: loss' not in text  # The bar says it.


def test_a_loss_that_is_not_finite_stops_it(start, task, tmp_path):
  folder = tmp_path / 'run'
  with terminal() as (descriptor, shown):
    (tmp_path / 'stderr').symlink_to(os.ttyname(descriptor))
    finished = start(
        'im2txt.train', f'--config={task.config_file}',
        f'--input_file_pattern={task.train_pattern}', f'--train_dir={folder}',
        '--config.training.optimizer=SGD', '--number_of_steps=50',
        '--config.training.initial_learning_rate=1e38',
        output=tmp_path).finish()
  text = b''.join(shown).decode()
  assert finished.returncode == 1, text
  match = re.search(
      r'train: error: loss is \S+ and gradient norm \S+ at step (\d+); the '
      r'last good checkpoint is (\S+)\. ', text)
  assert match, text
  assert text[match.start() - 1] == '\n'  # Not behind the bar.
  assert 1 < int(match[1]) < 10
  assert match[2] == str(folder / 'model.ckpt-0')
  assert 'Traceback' not in text
  assert steps_in(folder) == [0]


def test_a_random_encoder_if_allowed(random_encoder_run, read_checkpoint):
  assert any('Starting from scratch, with a random encoder' in line
             for line in random_encoder_run.log)
  values = read_checkpoint(random_encoder_run.folder / 'model.ckpt-1')
  assert sum(name.startswith('MobileNetV3Small/') for name in values) > 99
  config = json.loads((random_encoder_run.folder / 'config.json').read_text())
  assert config['model']['encoder'] == 'mobilenet_v3_small'
