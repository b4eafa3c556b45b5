"""Feature shards as bytes, and what training and evaluation make of them."""

import dataclasses
import json
import math
import re
import shutil
import struct

import fresh_session
import numpy as np
import pytest
import tensorflow as tf
import tiny_encoder

from im2txt import configuration, encoders
from im2txt.inputs import feature_cache, image_processing, sequence_example
from im2txt.inputs import pipeline as inputs
from im2txt.inputs.shards import Shards

tf1 = tf.compat.v1

DESCRIPTION = feature_cache.Description(
    encoder='efficientnet_lite0', weights='0123456789abcdef', image_height=13,
    image_width=7, preprocessing=image_processing.describe(
        configuration.ModelConfig(), 2),
    precision='float16', augmentations=2,
    shapes={'features/pooled': [3], 'features/regions': [5, 3]},
    source='of one set of shards')


def change(**fields):
  return dataclasses.replace(DESCRIPTION, **fields)


def run(tensor):
  with fresh_session.make() as session:
    return session.run(tensor)


@pytest.mark.parametrize('precision, letter', [
    ('float16', 'e'), ('float32', 'f')])
def test_packed_as_plain_little_endian_numbers(precision, letter):
  packed = change(precision=precision).pack(
      np.array([[0.5, -1.25, 65504.0]], np.float32))
  assert packed == struct.pack(f'<3{letter}', 0.5, -1.25, 65504.0)


@pytest.mark.parametrize('precision', ['float16', 'float32'])
def test_each_version_is_unpacked_as_it_was_packed(precision):
  description = change(precision=precision)
  key, features = 'features/regions', np.random.default_rng(1).normal(
      size=[3, 5, 3]).astype(np.float32)
  packed = description.pack(features)
  with tf.Graph().as_default():
    versions = tf.stack([description.version(
        key, tf.constant(packed), tf.constant(number)) for number in (2, 0)])
    unpacked = description.unpack(key, versions)
    assert unpacked.shape[1:] == [5, 3] and unpacked.dtype == tf.float32
    np.testing.assert_array_equal(
        run(unpacked), features[[2, 0]].astype(precision))


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('value', [1e5, math.inf, math.nan])
def test_what_does_not_fit_is_refused(value):
  features = np.array([1.0, value], np.float32)
  with pytest.raises(ValueError, match='finite as float16; use --precision='):
    DESCRIPTION.pack(features)


@pytest.mark.filterwarnings('error')
def test_float32_takes_what_float16_cannot():
  packed = change(precision='float32').pack(np.array([1e5], np.float32))
  assert packed == struct.pack('<f', 1e5)


def test_the_model_must_be_as_the_features_were_made():
  config = configuration.ModelConfig(
      encoder='efficientnet_lite0', image_height=13, image_width=7)
  DESCRIPTION.check(config, 'folder')
  for field, value, wanted in (
      ('encoder', 'inception_v3', 'efficientnet_lite0'),
      ('image_height', 14, 13), ('image_width', 14, 7),
      ('preprocessing', 'another', DESCRIPTION.preprocessing)):
    with pytest.raises(ValueError) as error:
      change(**{field: value}).check(config, 'folder')
    assert str(error.value).startswith(
        f'folder: these features were made with {field} {value!r}, but the '
        f'model has {wanted!r}')


def test_weights_must_be_those_of_the_model():
  DESCRIPTION.check_weights('0123456789abcdef', 'folder')
  with pytest.raises(ValueError, match='^folder: .*0123456789abcdef.*5555'):
    DESCRIPTION.check_weights('5555', 'folder')


def test_what_was_encoded_is_no_part_of_how():
  assert change(source='of others') == DESCRIPTION
  for fields in ({'weights': 'x'}, {'augmentations': 3},
                 {'precision': 'float32', 'shapes': {'features/pooled': [3]}}):
    other = change(**fields)
    assert other != DESCRIPTION
    assert other.difference(DESCRIPTION) == ', '.join(fields)


def test_read_as_written(tmp_path):
  assert feature_cache.read(str(tmp_path)) is None
  feature_cache.write(str(tmp_path), DESCRIPTION)
  found = feature_cache.read(str(tmp_path))
  assert dataclasses.asdict(found) == dataclasses.asdict(DESCRIPTION)


def fields_with(**changes):
  return json.dumps(dataclasses.asdict(DESCRIPTION) | changes).encode()


BROKEN = {
    'nothing': b'', 'half': fields_with()[:-9], 'list': b'[1, 2]',
    'no UTF-8': b'{"encoder": "\xff"}', 'fewer': b'{"encoder": "x"}',
    'more': fields_with(colour='red'),
    'precision': fields_with(precision='int7'),
    'augmentations': fields_with(augmentations='many'),
    'shapes': fields_with(shapes=None),
    'shape': fields_with(shapes={'features/pooled': 'large'}),
    'no shapes': fields_with(shapes={}),
}


@pytest.mark.parametrize('content', BROKEN.values(), ids=BROKEN)
def test_a_broken_description_is_refused(content, tmp_path):
  path = tmp_path / 'features.json'
  path.write_bytes(content)
  with pytest.raises(ValueError, match=re.escape(str(path))):
    feature_cache.read(str(tmp_path))


def test_shards_are_all_of_one_kind(tmp_path):
  shards = {}
  for name, description in (
      ('features', DESCRIPTION), ('of others', change(source='other')),
      ('distorted', change(augmentations=5)), ('images', None)):
    (tmp_path / name).mkdir()
    if description:
      feature_cache.write(str(tmp_path / name), description)
    shards[name] = f'{tmp_path}/{name}/train-00000-of-00001'
    (tmp_path / name / 'train-00000-of-00001').touch()
  assert feature_cache.find([shards['images']]) is None
  assert feature_cache.find(
      [shards['features'], shards['of others']]) == DESCRIPTION
  for other in ('distorted', 'images'):
    with pytest.raises(ValueError, match='train on one kind') as error:
      feature_cache.find([shards['features'], shards[other]])
    assert f'{tmp_path}/{other}' in str(error.value)


@pytest.mark.parametrize('training, drawn', [(True, {1, 2}), (False, {0})])
@pytest.mark.parametrize('pipeline', ['tf_data', 'queue'])
def test_one_version_of_all_that_is_kept_of_an_image(
    pipeline, training, drawn, tmp_path):
  rng = np.random.default_rng(3)
  features = [{key: rng.normal(size=[3, *shape]).astype(np.float16)
               for key, shape in DESCRIPTION.shapes.items()}
              for _ in range(4)]
  feature_cache.write(str(tmp_path), DESCRIPTION)
  with tf.io.TFRecordWriter(str(tmp_path / 'x')) as writer:
    for i, of_one in enumerate(features):
      writer.write(sequence_example.make_image(
          i, {key: DESCRIPTION.pack(array) for key, array in of_one.items()},
          [sequence_example.Caption(['<S>', f'{i}', '</S>'], [9, i, 8])] * 2,
      ).SerializeToString())
  seen = set()
  with tf.Graph().as_default():
    tf1.set_random_seed(1)
    fetches = inputs.make_batch(
        Shards.find(f'{tmp_path}/x'), configuration.ModelConfig(
            input_pipeline=pipeline,
            encoder='efficientnet_lite0', image_height=13, image_width=7,
            batch_size=4, values_per_input_shard=2), training)
    with tf1.train.MonitoredSession() as session:
      for _ in range(7 if training else 1):
        batch = session.run(fetches)
        for (_, number), row in zip(
            batch.input_seqs, batch.image_rows, strict=True):
          versions = features[number]
          [version] = np.flatnonzero((
              versions['features/pooled'] == batch.images.pooled[row]).all(1))
          np.testing.assert_array_equal(
              versions['features/regions'][version],
              batch.images.regions[row])
          seen.add(int(version))
  assert seen == drawn


@pytest.fixture(scope='module')
def features(task, launch, tmp_path_factory):
  """Exact features of the task's images."""
  folder = tmp_path_factory.mktemp('features') / 'made'
  finished = launch(
      'data_prep.cache_features', f'--config={task.config_file}',
      f'--input_file_pattern={task.train_pattern},{task.val_pattern}',
      f'--output_dir={folder}', '--precision=float32')
  assert finished.returncode == 0, finished.stderr
  return folder


@pytest.fixture(scope='module')
def run_on_features(task, features, launch, tmp_path_factory):
  """Three steps of training on the features."""
  folder = tmp_path_factory.mktemp('runs') / 'on_features'
  finished = launch(
      'im2txt.train', f'--config={task.config_file}',
      f'--input_file_pattern={features}/train-*', f'--train_dir={folder}',
      '--number_of_steps=3')
  assert finished.returncode == 0, finished.stderr
  return folder


def test_perplexity_is_the_same_on_features_and_on_images(
    run_on_features, features, task, start, tmp_path):
  patterns = {'features': f'{features}/val-*', 'images': task.val_pattern}
  commands = [start(
      'im2txt.evaluate', f'--checkpoint_dir={run_on_features}', '--run_once',
      f'--eval_dir={tmp_path / name}', f'--input_file_pattern={pattern}')
              for name, pattern in patterns.items()]
  results = []
  for name, command in zip(patterns, commands, strict=True):
    finished = command.finish()
    assert finished.returncode == 0, finished.stderr
    results.append(json.loads((tmp_path / name / 'metrics.jsonl').read_text()))
  of_features, of_images = results
  assert of_features['num_examples'] == of_images['num_examples'] == 7
  assert of_features['global_step'] == 3
  assert of_features['perplexity'] == pytest.approx(
      of_images['perplexity'], rel=1e-4)


def test_a_run_on_features_captions_images(
    run_on_features, features, task, caption):
  vocabulary = (run_on_features / 'word_counts.txt').read_text()
  assert vocabulary == task.vocab_file.read_text()
  finished = caption(run_on_features, task.images[0])
  assert finished.returncode == 0, finished.stderr
  assert finished.stdout.startswith('Captions for image red.jpg:\n  0) ')


@pytest.fixture(scope='module')
def refused(task, features, start, write_checkpoint, tmp_path_factory):
  """What `train` says to features that it cannot take, by case."""
  folder = tmp_path_factory.mktemp('refused')
  config = configuration.ModelConfig(encoder=tiny_encoder.NAME)
  encoder = encoders.make(config)
  weights = encoder.read_weights(encoder.default_weights())
  gamma = 'TinyEncoder/Head/BatchNorm/gamma'
  weights[gamma] = weights[gamma].copy()
  weights[gamma][3] *= 1.001
  write_checkpoint(folder / 'other.ckpt', weights)
  shutil.copytree(features, folder / 'broken')
  (folder / 'broken' / 'features.json').write_text('{"encoder": ')
  pattern = f'{features}/train-*'
  commands = {name: start(
      'im2txt.train', f'--config={task.config_file}',
      f'--train_dir={folder / name}', '--number_of_steps=1',
      f'--input_file_pattern={pattern}', *flags) for name, *flags in (
          ('weights', f'--inception_checkpoint_file={folder}/other.ckpt'),
          ('phase 2', '--train_inception'),
          ('encoder', '--config.model.encoder=inception_v3',
           '--allow_random_encoder'),
          ('size', '--config.model.image_width=33'),
          ('mix', f'--input_file_pattern={pattern},{task.train_pattern}'),
          ('broken json', f'--input_file_pattern={folder}/broken/train-*'))}
  return {name: command.finish() for name, command in commands.items()}


@pytest.mark.parametrize('name, said', [
    ('weights', '/made/train-*: these features were made with other weights'),
    ('phase 2', 'the encoder cannot be trained on a feature cache'),
    ('encoder', "/made: these features were made with encoder "
     "'tiny', but the model has 'inception_v3'"),
    ('size', '/made: these features were made with image_width 32, but the '
     'model has 33'),
    ('mix', 'hold features of different kinds, or one of them images'),
    ('broken json', '/broken/features.json does not describe features'),
])
def test_training_refuses_in_one_line(refused, name, said):
  finished = refused[name]
  assert finished.returncode == 1
  assert finished.lines[-1].startswith('train: error: ')
  assert said in finished.lines[-1]
  if name == 'weights':  # The table of variables stands above.
    assert 'Traceback' not in finished.stderr
  else:
    assert finished.error


def test_what_is_not_complete_is_refused(tmp_path):
  feature_cache.write(str(tmp_path), DESCRIPTION)
  shards = [tmp_path / f'train-{i:05d}-of-00003' for i in range(3)]
  other = tmp_path / 'all'
  for path in (*shards, other):
    path.touch()
  # Some of the shards are fine, so long as all are there.
  assert feature_cache.find([str(shards[1]), str(other)]) == DESCRIPTION
  shards[2].unlink()
  with pytest.raises(ValueError, match=(
      r'train-\*-of-00003: only 2 of 3 shards are there')):
    feature_cache.find([str(shards[1])])
