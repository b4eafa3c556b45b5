"""A checkpoint and what belongs to it."""

import shutil

import numpy as np
import pytest

from im2txt import configuration
from im2txt.checkpoints import run_folder, trained_model


@pytest.fixture
def copy(trained, tmp_path):
  """A copy of a run, to be changed."""
  return shutil.copytree(trained.folder, tmp_path / 'copy')


def test_a_run_folder_has_all(trained):
  model = trained_model.find(str(trained.folder), None)
  assert model.prefix == str(trained.folder / 'model.ckpt-6')
  assert model.config == run_folder.load_config(str(trained.folder)).model
  assert model.config.num_lstm_units == 11
  assert len(model.vocab) == 17 and model.vocab.id_to_word(4) == 'red'


def test_another_checkpoint_of_the_run(trained):
  model = trained_model.find(str(trained.folder / 'model.ckpt-0'), None)
  assert model.prefix == str(trained.folder / 'model.ckpt-0')
  assert model.config.num_lstm_units == 11 and len(model.vocab) == 17


def test_the_vocabulary_that_is_given_counts_where_there_is_no_other(
    copy, tmp_path):
  other = tmp_path / 'other.txt'
  other.write_text('<S> 3\n</S> 3\nzebra 1\n')
  own = copy / 'word_counts.txt'
  with pytest.raises(ValueError, match=f'--vocab_file={other} .*{own}'):
    trained_model.find(str(copy), str(other))
  # Fewer by one word, whose ids would all mean the word before.
  words = own.read_text().splitlines()
  other.write_text('\n'.join([*words[:5], *words[6:]]))
  with pytest.raises(ValueError, match=f'--vocab_file={other}'):
    trained_model.find(str(copy), str(other))
  # The same words with other counts, or with a byte order mark.
  other.write_text('\ufeff' + '\n'.join(
      f'{line.split()[0]} 7' for line in words))
  trained_model.find(str(copy), str(other))
  own.unlink()
  other.write_text('<S> 3\n</S> 3\nzebra 1\n')
  model = trained_model.find(str(copy), str(other))
  assert [model.vocab.id_to_word(i) for i in range(4)] == [
      '<S>', '</S>', 'zebra', '<UNK>']


def test_the_configurations_own_markers(copy, task):
  words = copy / 'word_counts.txt'
  words.write_text(words.read_text().replace('<S>', '{'))
  with pytest.raises(ValueError, match=f'{words} does not have the marker'):
    trained_model.find(str(copy), None)
  config_file = copy / configuration.CONFIG_FILE
  config_file.write_text(config_file.read_text().replace('"<S>"', '"{"'))
  assert trained_model.find(str(copy), None).vocab.start_id == 0


def test_a_vocabulary_may_have_as_many_words_as_the_model_outputs(
    copy, tmp_path):
  (copy / 'word_counts.txt').unlink()
  # 17 outputs; the unknown word has one of them.
  for words, ok in ((16, True), (17, False)):
    path = tmp_path / f'{words}.txt'
    path.write_text('<S> 3\n</S> 3\n' + ''.join(
        f'word{i} 1\n' for i in range(words - 2)))
    if ok:
      assert len(trained_model.find(str(copy), str(path)).vocab) == 17
    else:
      with pytest.raises(ValueError) as refused:
        trained_model.find(str(copy), str(path))
      assert f'{path} has 18 words' in str(refused.value)
      assert 'outputs for 17' in str(refused.value)


def test_no_vocabulary(copy, tmp_path):
  (copy / 'word_counts.txt').unlink()
  with pytest.raises(ValueError, match='word_counts.txt.*--vocab_file'):
    trained_model.find(str(copy), None)
  with pytest.raises(OSError, match='gone.txt'):
    trained_model.find(str(copy), str(tmp_path / 'gone.txt'))


def test_no_checkpoint(tmp_path):
  for path in (tmp_path, tmp_path / 'gone'):
    with pytest.raises(OSError, match=f'{path}: no'):
      trained_model.find(str(path), None)


def test_without_configuration_it_is_im2txts(copy, task):
  (copy / configuration.CONFIG_FILE).unlink()
  model = trained_model.find(str(copy), str(task.vocab_file))
  assert model.config.encoder == 'inception_v3'
  assert (model.config.image_height, model.config.image_width) == (299, 299)
  # Sizes from the checkpoint's shapes.
  assert (model.config.vocab_size, model.config.embedding_size,
          model.config.num_lstm_units) == (17, 7, 11)


def test_a_checkpoint_of_something_else(task, write_checkpoint, tmp_path):
  write_checkpoint(tmp_path / 'other.ckpt', {'x': np.zeros(3, np.float32)})
  with pytest.raises(ValueError, match='config.json') as refused:
    trained_model.find(str(tmp_path / 'other.ckpt'), str(task.vocab_file))
  assert f'{tmp_path}/other.ckpt' in str(refused.value)
