"""What a run begins with."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf

from im2txt import configuration
from im2txt.checkpoints import names
from im2txt.inputs.shards import Shards
from im2txt.models.captioner import Captioner
from im2txt.text import caption_styles
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
        Captioner(configuration.ModelConfig()), str(tmp_path), None, [], {}
    )(session)
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


def test_another_vocabulary_than_the_shards_is_refused(task, tmp_path):
  shards = Shards.find(task.train_pattern)
  words = tmp_path / 'words.txt'
  text = task.vocab_file.read_text()
  words.write_text(text.replace('red ', 'pink '))
  with pytest.raises(ValueError) as refused:
    start.find_vocabulary(shards, str(words), None)
  assert f'--vocab_file={words}' in str(refused.value)
  assert str(task.vocab_file) in str(refused.value)
  # Of the same words, whatever their counts.
  words.write_text(text.replace(' ', ' 1'))
  assert start.find_vocabulary(shards, str(words), None) == str(words)


def test_a_checkpoint_without_vocabulary_is_warned_of(
    task, tmp_path, caplog):
  start.check_vocabulary(str(task.vocab_file), str(tmp_path / 'model.ckpt-1'))
  assert str(tmp_path / 'word_counts.txt') in caplog.text
  assert str(task.vocab_file) in caplog.text


@pytest.fixture
def vocab_file(tmp_path):
  """A vocabulary of 5 words, the unknown one included, in Keras's style."""
  path = str(tmp_path / 'words.txt')
  with open(path, 'w', encoding='utf-8') as f:
    f.write('<start> 3\n<end> 3\na 2\ndog 1\n')
  caption_styles.write(path, caption_styles.named('keras'))
  return path


SIDE = 96  # Pixels, as if of the encoder.


def config_of(**fields):
  return configuration.Config(configuration.ModelConfig(**{
      'encoder': 'efficientnet_lite0', 'image_height': 0, **fields}))


def test_what_is_0_follows_from_encoder_and_vocabulary(vocab_file):
  config = config_of(vocab_size=0)
  final = start.resolve(config, SIDE, vocab_file, resumes=False).model
  assert (final.image_height, final.image_width) == (SIDE, 299)
  assert final.vocab_size == 5
  assert (final.start_word, final.end_word, final.unknown_word) == (
      '<start>', '<end>', '<unk>')
  # What is resolved stays.
  again = configuration.Config(final)
  assert start.resolve(again, SIDE, vocab_file, resumes=True) == again


def test_without_a_vocabulary_the_configuration_says_all():
  final = start.resolve(
      config_of(vocab_size=7), SIDE, None, resumes=False).model
  assert (final.vocab_size, final.start_word) == (7, '<S>')


@pytest.mark.parametrize('fields, has_words, said', [
    ({'vocab_size': 4}, True, 'has 5 words, the unknown one included, but '
     'vocab_size is 4'),
    ({'vocab_size': 0}, False, 'give --vocab_file'),
    ({'embedding_size': 0}, True, 'give --config.model.word_vectors_file'),
    ({'batch_size': 0}, True, 'batch_size is 0')])
def test_sizes_that_cannot_be(vocab_file, fields, has_words, said):
  with pytest.raises(ValueError, match=said):
    start.resolve(
        config_of(**fields), SIDE, vocab_file if has_words else None,
        resumes=False)


def test_a_run_that_goes_on_needs_no_word_vectors(tmp_path):
  config = config_of(word_vectors_file=str(tmp_path / 'gone'))
  assert start.resolve(config, SIDE, None, resumes=True).model == (
      dataclasses.replace(config.model, image_height=SIDE))
  with pytest.raises(OSError, match='gone'):
    start.resolve(config, SIDE, None, resumes=False)
