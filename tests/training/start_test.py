"""What a run begins with."""

import shutil

import numpy as np
import tensorflow as tf

from im2txt import configuration
from im2txt.checkpoints import names
from im2txt.training import start

tf1 = tf.compat.v1


def test_what_has_a_value_is_not_initialised(write_checkpoint, tmp_path):
  # Others of a cluster may be training with it.
  write_checkpoint(tmp_path / 'model.ckpt-6', {
      'global_step': np.int64(6), 'kernel': np.float32([7, 8])})
  with tf.Graph().as_default(), tf1.Session() as session:
    step = tf1.train.get_or_create_global_step()
    # Fails if it is run.
    kernel = tf1.Variable(
        tf.fill([2], tf.strings.to_number('no number')), name='kernel')
    new = tf1.Variable(tf.fill([3], 5.0),
                       name=f'{names.VARIABLE_SCOPE}/new')
    start.make_init_fn(
        configuration.ModelConfig(), str(tmp_path), None, None, {})(session)
    assert session.run(step) == 6
    assert session.run(kernel).tolist() == [7, 8]
    assert session.run(new).tolist() == [5, 5, 5]


def test_the_runs_own_vocabulary_is_found_again(task, tmp_path):
  # As where training began with --vocab_file.
  find = start.find_vocabulary
  shards = tmp_path / 'shards'
  shards.mkdir()
  for path in task.folder.glob('train-*'):
    shutil.copy(path, shards)
  config = configuration.ModelConfig(
      input_file_pattern=f'{shards}/train-*', vocab_size=17)
  run = tmp_path / 'run'
  run.mkdir()
  assert find(config, None, str(run / 'model.ckpt-1')) is None
  shutil.copy(task.vocab_file, run)
  assert find(config, None, str(run / 'model.ckpt-1')) == str(
      run / 'word_counts.txt')
  shutil.copy(task.vocab_file, shards)
  assert find(config, None, str(run / 'model.ckpt-1')) == str(
      shards / 'word_counts.txt')
