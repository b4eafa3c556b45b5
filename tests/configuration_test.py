"""Records of numbers: im2txt's names and defaults, files, and mistakes."""

import dataclasses
import functools
import importlib.util
import pathlib
from typing import NamedTuple

import pytest
import tensorflow as tf
import tiny_encoder

from im2txt import configuration, decoders, encoders
from im2txt.checkpoints import run_folder
from im2txt.encoders import Encoding
from im2txt.models.captioner import make_decoder

tf1 = tf.compat.v1

TESTS = pathlib.Path(__file__).resolve().parent
CONFIGS = sorted((TESTS.parent / 'configs').glob('[!_]*.py'))

# im2txt/configuration.py as published, but for names in LEGACY_FIELDS.
IM2TXT_MODEL = {
    'input_file_pattern': None,
    'values_per_input_shard': 2300,
    'input_queue_capacity_factor': 2,
    'num_input_reader_threads': 1,
    'shard_queue_name': 'filename_queue',
    'image_feature_name': 'image/data',
    'caption_feature_name': 'image/caption_ids',
    'vocab_size': 12000,
    'num_preprocess_threads': 4,
    'batch_size': 32,
    'inception_checkpoint_file': None,
    'image_height': 299,
    'image_width': 299,
    'initializer_scale': 0.08,
    'embedding_size': 512,
    'num_lstm_units': 512,
}
IM2TXT_TRAINING = {
    'num_examples_per_epoch': 586363,
    'optimizer': 'SGD',
    'initial_learning_rate': 2.0,
    'learning_rate_decay_factor': 0.5,
    'num_epochs_per_decay': 8.0,
    'train_inception_learning_rate': 0.0005,
    'clip_gradients': 5.0,
    'max_checkpoints_to_keep': 5,
}


def get_config(path):
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config()


@pytest.mark.parametrize('record, golden', [
    (configuration.ModelConfig(), IM2TXT_MODEL),
    (configuration.TrainingConfig(), IM2TXT_TRAINING),
])
def test_names_and_defaults_are_those_of_im2txt(record, golden):
  ours = dataclasses.asdict(record)
  assert {name: ours.get(name, 'absent') for name in golden} == golden


def test_show_and_tell_is_the_default_system():
  assert get_config(TESTS.parent / 'configs/show_and_tell.py') == (
      configuration.Config())


def test_numbers_of_the_encoder_while_it_is_trained():
  config = configuration.ModelConfig()
  assert config.encoder_dropout_keep_prob == 0.8
  assert config.encoder_weight_decay == 4e-5


def test_nothing_changes_a_record():
  for section in (configuration.ModelConfig(), configuration.TrainingConfig(),
                  configuration.Config(), decoders.TransformerConfig()):
    for name in (dataclasses.fields(section)[0].name, 'batchsize'):
      with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(section, name, 3)


@pytest.fixture
def warned(caplog):
  """The warnings of a test."""
  return lambda: [record.getMessage() for record in caplog.records
                  if record.levelname == 'WARNING']


OLD_MODEL = {'image_format': 'png', 'lstm_dropout_keep_prob': 0.25,
             'max_caption_length': 31}


@pytest.mark.parametrize('make', [
    lambda fields: configuration.ModelConfig(**fields),
    lambda fields: decoders.TransformerConfig(**fields),
    lambda fields: configuration.fill(
        configuration.ModelConfig, fields, 'x.json'),
    lambda fields: configuration.override(
        decoders.CnnLstmConfig(), fields, '--config'),
    lambda fields: dataclasses.replace(configuration.ModelConfig(), **fields),
], ids=['constructor', 'of a decoder', 'file', 'flags', 'replace'])
def test_older_names_of_fields(make, warned):
  config = make(OLD_MODEL)
  assert config.decoder_dropout_keep_prob == 0.25
  assert config.max_sequence_length == 31
  assert not hasattr(config, 'image_format')
  [line] = warned()
  for name in (*OLD_MODEL, 'decoder_dropout_keep_prob',
               'max_sequence_length'):
    assert name in line


def test_names_of_today_are_no_reason_to_warn(warned):
  configuration.ModelConfig(decoder_dropout_keep_prob=0.25)
  configuration.TrainingConfig(
      learning_rate_decay='cosine', cosine_final_fraction=0.25)
  configuration.TrainingConfig(learning_rate_decay_factor=0.25)
  assert not warned()


@pytest.mark.parametrize('make', [
    lambda **fields: configuration.TrainingConfig(
        learning_rate_decay='cosine', **fields),
    lambda **fields: configuration.fill(
        configuration.TrainingConfig,
        {'learning_rate_decay': 'cosine', **fields}, 'x.json'),
    lambda **fields: configuration.override(
        configuration.TrainingConfig(learning_rate_decay='cosine'), fields,
        '--config'),
    lambda **fields: configuration.override(
        configuration.TrainingConfig(),
        {'learning_rate_decay': 'cosine', **fields}, '--config'),
], ids=['constructor', 'file', 'flag', 'two flags'])
def test_the_older_name_of_what_a_cosine_falls_to(make, warned):
  config = make(learning_rate_decay_factor=0.25)
  assert config.cosine_final_fraction == 0.25
  assert config.learning_rate_decay_factor == 0.5
  [line] = warned()
  assert 'cosine_final_fraction' in line


def test_every_number_has_a_limit_or_needs_none():
  without = {
      field.name
      for section in (
          configuration.ModelConfig, configuration.TrainingConfig,
          decoders.CnnLstmConfig, decoders.ShowAttendTellConfig,
          decoders.TransformerConfig)
      for field in dataclasses.fields(section)
      if field.type in (int, float) and 'limit' not in field.metadata}
  assert without == {
      'initializer_scale', 'encoder_weight_decay',
      'learning_rate_decay_factor'}


def test_resolve_gives_sizes_that_follow_from_others():
  config = configuration.Config(configuration.ModelConfig(
      image_height=0, image_width=139, vocab_size=0, embedding_size=0))
  final = configuration.resolve(
      config, 299, configuration.Markers('a', 'b', 'c'), 17, 11).model
  assert (final.image_height, final.image_width) == (299, 139)
  assert (final.vocab_size, final.embedding_size) == (17, 11)
  assert (final.start_word, final.end_word, final.unknown_word) == (
      'a', 'b', 'c')
  assert config.model.vocab_size == 0
  given = configuration.Config()
  assert configuration.resolve(given, 7, None, 17, 11) == given
  with pytest.raises(ValueError, match='^batch_size is 0; '):
    configuration.resolve(configuration.Config(
        configuration.ModelConfig(batch_size=0)), 7)


def test_fill_takes_the_given_fields_and_the_defaults():
  config = configuration.fill(
      configuration.ModelConfig,
      {'batch_size': 3, 'initializer_scale': 1, 'input_file_pattern': 'a'},
      'x.json')
  assert config == configuration.ModelConfig(
      batch_size=3, initializer_scale=1, input_file_pattern='a')


@pytest.mark.parametrize('field, value', [
    ('batch_size', 2.0),
    ('batch_size', '3'),
    ('batch_size', True),
    ('batch_size', None),
    ('initializer_scale', '0.1'),
    ('initializer_scale', False),
    ('encoder', 3),
    ('input_file_pattern', ['a']),
])
def test_fill_refuses_a_value_of_another_type(field, value):
  with pytest.raises(ValueError) as error:
    configuration.fill(configuration.ModelConfig, {field: value}, 'x.json')
  assert str(error.value).startswith(f'x.json: {field} must be ')
  assert repr(value) in str(error.value)


def test_fill_refuses_an_unknown_field():
  with pytest.raises(
      ValueError, match=r"^x\.json: ModelConfig has no field 'batchsize'$"):
    configuration.fill(
        configuration.ModelConfig, {'batchsize': 3}, 'x.json')


def odd_config():
  """A configuration of which every field differs from its default."""
  def changed(record):
    values = {}
    for field in dataclasses.fields(record):
      value = getattr(record, field.name)
      if isinstance(value, bool):
        value = not value
      elif value is None:
        value = 7 if field.name == 'seed' else 'ein Pfad/für_Käse'
      elif isinstance(value, str):
        value += 'x'
      else:
        value += 1
      values[field.name] = value
    return type(record)(**values)

  return configuration.Config(
      # The decoder chooses the record's class.
      dataclasses.replace(
          changed(configuration.ModelConfig()), decoder='show_and_tell'),
      changed(configuration.TrainingConfig()))


def test_a_run_folder_gives_back_every_field(tmp_path):
  folder = tmp_path / 'new' / 'folder'
  configuration.save(odd_config(), str(folder))
  assert run_folder.load_config(str(folder)) == odd_config()
  assert [f.name for f in folder.iterdir()] == ['config.json']


def test_defaults_survive_the_file_too(tmp_path):
  configuration.save(configuration.Config(), str(tmp_path))
  assert run_folder.load_config(str(tmp_path)) == configuration.Config()


def test_a_file_of_an_older_version_takes_new_fields_from_the_defaults(
    tmp_path):
  (tmp_path / 'config.json').write_text(
      '{"model": {"batch_size": 3}, "training": {}}')
  assert run_folder.load_config(str(tmp_path)) == configuration.Config(
      configuration.ModelConfig(batch_size=3))


def test_no_file_is_an_os_error(tmp_path):
  with pytest.raises(OSError, match=r'config\.json'):
    run_folder.load_config(str(tmp_path))


@pytest.mark.parametrize('content', [
    b'',
    b'{"model": {}',
    b'[]',
    b'{"model": {}}',
    b'{"model": {}, "training": {}, "more": {}}',
    b'{"model": [], "training": {}}',
    b'{"model": {}, "training": 3}',
    b'{"model": {"decoder": "none_such"}, "training": {}}',
    b'{"model": {"decoder": []}, "training": {}}',
    b'{"model": {"batch_size": "3"}, "training": {}}',
    b'{"model": {}, "training": {"sead": 3}}',
    b'{"model": {"encoder": "\xff"}, "training": {}}',
])
def test_a_damaged_file_is_one_line_that_names_it(tmp_path, content):
  (tmp_path / 'config.json').write_bytes(content)
  with pytest.raises(ValueError, match=r'config\.json') as error:
    run_folder.load_config(str(tmp_path))
  assert '\n' not in str(error.value)


def test_an_unknown_encoder_is_an_error_that_names_the_known_ones():
  config = configuration.ModelConfig(encoder='none_such')
  with pytest.raises(ValueError, match="'none_such'.*'inception_v3'"):
    encoders.make(config)


class BuiltEncoder(NamedTuple):
  """What is known of an encoder once its graph is built."""

  variables: list[str]
  channels: int
  num_regions: int


@functools.cache
def build_encoder(name, height, width):
  model = configuration.ModelConfig(
      encoder=name, image_height=height, image_width=width)
  with tf.Graph().as_default():
    encoding = encoders.make(model).encode(
        tf1.placeholder(tf.float32, [None, height, width, 3]), False, False)
    return BuiltEncoder(list_variables(), *encoding.regions.shape[:0:-1])


def list_variables():
  return [f'{v.op.name} {v.shape.as_list()}\n' for v in tf1.global_variables()]


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds_the_variables_of_its_golden_file(path, tmp_path):
  config = get_config(path)
  # What JSON cannot hold or load_config would refuse must not be in a config.
  configuration.save(config, str(tmp_path))
  assert run_folder.load_config(str(tmp_path)) == config
  model = configuration.resolve(
      config, encoders.make(config.model).image_side, vocab_size=101).model
  # That all of a graph's variables are these is a test of the models' own.
  encoder = build_encoder(
      model.encoder, model.image_height, model.image_width)
  with tf.Graph().as_default():
    tf1.train.get_or_create_global_step()
    decoder = make_decoder(model, training=True)
    memory = decoder.prepare(Encoding(
        tf1.placeholder(tf.float32, [None, encoder.channels]),
        tf1.placeholder(
            tf.float32, [None, encoder.num_regions, encoder.channels])))
    words = tf1.placeholder(tf.int32, [None, None])
    decoder.logits(decoder.unroll(memory, words, words)[:, 0])
    built = ''.join(sorted(encoder.variables + list_variables()))
  golden = TESTS / 'goldens' / f'{path.stem}.txt'
  fresh = tmp_path / golden.name
  fresh.write_text(built)
  assert golden.exists(), f'if {fresh} is as meant, make it {golden}'
  assert built == golden.read_text()


@pytest.mark.parametrize('fields, said', [
    ({'label_smoothing': 1.0}, 'label_smoothing is 1.0; it must be a share'),
    ({'ema_decay': -0.1}, 'ema_decay is -0.1; it must be a share'),
    ({'scheduled_sampling': 2.0}, 'scheduled_sampling is 2.0; it must be a'),
    ({'loss_scale': 0.0}, 'loss_scale is 0.0; it must be above 0'),
    ({'scheduled_sampling_epochs': -1.0}, 'scheduled_sampling_epochs is -1.0'),
    ({'warmup_steps': -1}, 'warmup_steps is -1; it must be at least 0'),
    ({'num_examples_per_epoch': 0}, 'num_examples_per_epoch is 0; it must be'),
    ({'clip_gradients': 0.0}, 'clip_gradients is 0.0; it must be above 0'),
    ({'num_epochs_per_decay': 0.0}, 'num_epochs_per_decay is 0.0; it must be'),
    ({'initial_learning_rate': -1.0}, 'initial_learning_rate is -1.0; it'),
    ({'self_critical_samples': 1}, 'self_critical_samples is 1; it must be'),
    ({'weight_decay': 0.1}, 'weight_decay needs optimizer AdamW, not SGD'),
])
def test_numbers_that_nothing_can_be_built_with(fields, said):
  configuration.check(configuration.Config())
  with pytest.raises(ValueError, match=f'^{said}'):
    configuration.check(configuration.Config(
        training=configuration.TrainingConfig(**fields)))


def test_a_tied_embedding_is_trained():
  config = configuration.Config(configuration.ModelConfig(
      tie_embeddings=True, train_word_vectors=False))
  with pytest.raises(ValueError, match='^tie_embeddings trains the word emb'):
    configuration.check(config)


@pytest.mark.parametrize('value', [0.0, 1.5])
def test_shares_that_nothing_can_be_kept_of(value):
  config = configuration.Config(
      configuration.ModelConfig(decoder_dropout_keep_prob=value))
  with pytest.raises(ValueError, match='^decoder_dropout_keep_prob is '):
    configuration.check(config)


def test_images_can_be_cropped_but_not_padded():
  def config_of(ratio):
    return configuration.Config(configuration.ModelConfig(resize_ratio=ratio))

  configuration.check(config_of(1.0))
  for value in (0.99, 0.0, -1.0, float('nan')):
    with pytest.raises(
        ValueError, match=f'^resize_ratio is {value}; it must be at least 1$'):
      configuration.check(config_of(value))


SIDES = {
    'inception_v3': 299, 'efficientnet_lite0': 224, 'efficientnet_lite2': 260,
    'resnet_v1_50': 224, 'resnet_v1_101': 224, 'resnet_v1_152': 224,
    'mobilenet_v3_small': 224}


def test_every_encoder_has_its_side():
  assert encoders.ENCODERS.keys() - {tiny_encoder.NAME} == SIDES.keys()


@pytest.mark.parametrize('encoder, side', SIDES.items())
def test_images_are_of_the_side_that_the_encoder_was_made_for(encoder, side):
  config = configuration.ModelConfig(encoder=encoder)
  assert encoders.make(config).image_side == side


@pytest.mark.parametrize(('factor', 'left'), [(-1.0, 0.0), (0.25, 0.25)])
def test_an_older_cosine_falls_as_far_as_before(factor, left):
  found = configuration.fill(configuration.TrainingConfig, {
      'learning_rate_decay': 'cosine',
      'learning_rate_decay_factor': factor}, 'config.json')
  assert found.cosine_final_fraction == left
  configuration.check(configuration.Config(training=found))


def test_a_cosine_without_a_number_leaves_as_much_as_before():
  assert configuration.TrainingConfig(
      learning_rate_decay='cosine').cosine_final_fraction == 0.5
