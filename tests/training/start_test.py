"""What a run begins with."""

import shutil

import numpy as np
import tensorflow as tf

from im2txt import configuration
from im2txt.checkpoints import names
from im2txt.inputs.shards import Shards
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
        configuration.ModelConfig(), str(tmp_path), None, [], {})(session)
    assert session.run(step) == 6
    assert session.run(kernel).tolist() == [7, 8]
    assert session.run(new).tolist() == [5, 5, 5]


def test_the_runs_own_vocabulary_is_found_again(task, tmp_path):
  # As where training began with --vocab_file.
  def find(*arguments):
    return start.find_vocabulary(Shards.find(f'{shards}/train-*'), *arguments)

  shards = tmp_path / 'shards'
  shards.mkdir()
  for path in task.folder.glob('train-*'):
    shutil.copy(path, shards)
  run = tmp_path / 'run'
  run.mkdir()
  assert find(None, str(run / 'model.ckpt-1')) is None
  shutil.copy(task.vocab_file, run)
  assert find(None, str(run / 'model.ckpt-1')) == str(
      run / 'word_counts.txt')
  shutil.copy(task.vocab_file, shards)
  assert find(None, str(run / 'model.ckpt-1')) == str(
      shards / 'word_counts.txt')
