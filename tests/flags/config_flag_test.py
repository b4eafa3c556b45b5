"""The flag --config: a path, or a name from anywhere; and its fields."""

import pathlib
import sys

import pytest
from absl import flags

from im2txt.flags.config import ConfigFlag, names

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CONFIGS = ROOT / 'configs'


@pytest.fixture
def parse(monkeypatch, tmp_path):
  """Read --config as a command does that runs in an empty folder."""
  monkeypatch.chdir(tmp_path)

  def parse(*arguments):
    arguments = ['command', *arguments]
    monkeypatch.setattr(sys, 'argv', arguments)  # ml_collections looks there.
    values = flags.FlagValues()
    flag = ConfigFlag(values)
    values(arguments)
    return flag.value()

  return parse


def test_nothing_given(parse):
  assert parse() is None


def test_all_configurations_have_names():
  assert names() == sorted(
      path.stem for path in CONFIGS.glob('*.py') if path.stem != '__init__')
  assert 'show_and_tell' in names()


@pytest.mark.parametrize('name', ['demo', 'transformer_flickr8k'])
def test_a_name_means_what_its_path_means(parse, name):
  found = parse(f'--config={name}')
  assert found.name == name
  assert repr(found) == repr(parse(f'--config={CONFIGS / name}.py'))


def test_fields_can_be_set_behind_a_name(parse):
  plain = parse('--config=demo')
  found = parse('--config=demo', '--config.model.batch_size=17',
                '--config.training.optimizer=SGD')
  assert (found.model.batch_size, found.training.optimizer) == (17, 'SGD')
  assert plain.model.batch_size != 17
  assert found.model.encoder == plain.model.encoder


def test_fields_can_be_set_by_older_names(parse, caplog):
  found = parse(
      '--config=transformer_flickr8k',
      '--config.model.lstm_dropout_keep_prob=0.25',
      '--config.model.max_caption_length=31',
      '--config.model.image_format=png',
      '--config.training.learning_rate_decay_factor=0.125')
  assert found.model.decoder_dropout_keep_prob == 0.25
  assert found.model.max_sequence_length == 31
  # It is a cosine.
  assert found.training.cosine_final_fraction == 0.125
  for name in ('decoder_dropout_keep_prob', 'max_sequence_length',
               'image_format', 'cosine_final_fraction'):
    assert name in caplog.text
  plain = parse('--config=transformer_flickr8k')
  assert plain.training.learning_rate_decay_factor == (
      found.training.learning_rate_decay_factor)


def test_a_file_with_older_names(parse, tmp_path):
  (tmp_path / 'old.py').write_text(
      'from im2txt import configuration\n\n\n'
      'def get_config():\n'
      '  return configuration.Config(\n'
      '      configuration.ModelConfig(\n'
      '          image_format="png", lstm_dropout_keep_prob=0.25),\n'
      '      configuration.TrainingConfig(\n'
      '          learning_rate_decay="cosine",\n'
      '          learning_rate_decay_factor=0.125))\n')
  found = parse('--config=old.py', '--config.model.lstm_dropout_keep_prob=0.5')
  assert found.model.decoder_dropout_keep_prob == 0.5
  assert found.training.cosine_final_fraction == 0.125


@pytest.mark.parametrize('field', [
    'model.batchsize=3', 'model.batch_size=3.5', 'model.seed=3',
    'training.max_caption_length=3'])
def test_a_field_that_cannot_be_set(parse, field):
  with pytest.raises((flags.Error, KeyError, ValueError),
                     match=field.partition('=')[0].split('.')[1]):
    parse('--config=demo', f'--config.{field}')


def test_a_name_may_also_be_a_folder_s(parse, tmp_path):
  (tmp_path / 'demo').mkdir()
  assert parse('--config=demo').name == 'demo'


def test_a_file_without_ending_is_a_path(parse, tmp_path):
  (tmp_path / 'demo').write_text(
      (CONFIGS / 'transformer.py').read_text('utf-8'))
  assert parse('--config=demo').model.decoder == 'transformer'


@pytest.mark.parametrize('name', ['show_and_tel', '__init__', 'os'])
def test_a_wrong_name_lists_the_names_there_are(parse, name):
  with pytest.raises(flags.IllegalFlagValueError) as error:
    parse(f'--config={name}')
  assert f'--config={name}' in str(error.value)
  assert all(known in str(error.value) for known in names())


@pytest.mark.parametrize('path', ['show_and_tel.py', './demo', 'demo/'])
def test_a_path_that_is_not_there(parse, path):
  with pytest.raises(flags.IllegalFlagValueError) as error:
    parse(f'--config={path}')
  assert path in str(error.value)
