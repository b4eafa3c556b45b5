"""Readers of configurations, weights, records: the same, or one clear line."""

import dataclasses
import io
import os
import sys
import typing
import zipfile

import h5py
import numpy as np
import pytest
import pytorch_files
import tensorflow as tf
from absl import flags
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import (
    changed_json,
    damaged,
    read_or_refuse,
    texts,
    whole_texts,
)

from im2txt import configuration
from im2txt.checkpoints import packed_model, run_folder
from im2txt.checkpoints.reader import Reader
from im2txt.decoders import DECODERS
from im2txt.encoders import keras_weights, pytorch_weights
from im2txt.flags.config import ConfigFlag
from im2txt.inputs import (
    bad_records,
    feature_cache,
    sequence_example,
    tfrecords,
)
from im2txt.inputs import captions as shard_captions
from im2txt.inputs.shards import Shards

tf1 = tf.compat.v1


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return str(tmp_path_factory.mktemp('models'))


# Configurations.


VALUES = {int: st.integers(), float: st.floats(allow_nan=False),
          str: texts(), bool: st.booleans(), type(None): st.none()}


def values_of(kind):
  return st.one_of([VALUES[part] for part in typing.get_args(kind) or [kind]])


def records(record_class):
  return st.builds(record_class, **{
      field.name: values_of(field.type)
      for field in dataclasses.fields(record_class)})


@st.composite
def configs(draw):
  name = draw(st.sampled_from(list(DECODERS)))
  model = dataclasses.replace(
      draw(records(DECODERS[name].config_class)), decoder=name)
  return configuration.Config(
      model, draw(records(configuration.TrainingConfig)), draw(texts()))


@given(config=configs())
def test_configurations_are_read_as_they_were_written(folder, config):
  configuration.save(config, folder)
  assert run_folder.load_config(folder) == config


CONFIG = dataclasses.asdict(configuration.Config())


def load_and_check(path):
  config = run_folder.load_config(os.path.dirname(path))
  try:
    configuration.check(config)
  except ValueError as error:  # It names the field.
    assert str(error)
  return config


@given(content=changed_json(CONFIG).flatmap(damaged))
def test_configurations(folder, content):
  config = read_or_refuse(
      load_and_check, f'{folder}/{configuration.CONFIG_FILE}', content)
  if config:
    configuration.save(config, folder)
    assert repr(run_folder.load_config(folder)) == repr(config)


@pytest.fixture(scope='module')
def parse_config(tmp_path_factory):
  """Read `--config` and what overrides its fields, as commands do."""
  file = tmp_path_factory.mktemp('flags') / 'plain.py'
  file.write_text('from im2txt import configuration\n\n\n'
                  'def get_config():\n  return configuration.Config()\n')

  def parse(field, value):
    arguments = ['test', f'--config={file}', f'--config.{field}={value}']
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(sys, 'argv', arguments)  # ml_collections looks there.
      values = flags.FlagValues()
      config_flag = ConfigFlag(values)
      values(arguments)
      return config_flag.value()

  return parse


FIELDS = [(section, field) for section, record in (
    ('model', configuration.ModelConfig),
    ('training', configuration.TrainingConfig))
          for field in dataclasses.fields(record)]


@given(field=st.sampled_from(FIELDS), value=st.one_of(
    texts(), st.integers().map(str), st.floats().map(str),
    st.sampled_from(['', 'None', 'true', '1e400', '9' * 5000, '[', "'a'"])))
def test_overrides(parse_config, field, value):
  section, field = field
  try:
    config = parse_config(f'{section}.{field.name}', value)
    configuration.check(config)
  # What `command_line` makes one line of.
  except (flags.Error, LookupError, TypeError, ValueError) as error:
    assert str(error)
    assert not isinstance(error, flags.UnrecognizedFlagError)
  else:
    assert isinstance(getattr(getattr(config, section), field.name),
                      field.type)


@given(data=st.data(), field=st.sampled_from(FIELDS))
def test_overrides_are_read_as_they_were_written(parse_config, data, field):
  section, field = field
  value = data.draw(values_of(field.type))
  assume(value is not None)
  config = parse_config(f'{section}.{field.name}', value)
  assert getattr(getattr(config, section), field.name) == value


# Features.


sizes = st.integers(1, 2**31 - 1)
descriptions = st.builds(
    feature_cache.Description, texts(), texts(), st.integers(), st.integers(),
    texts(), st.sampled_from(feature_cache.PRECISIONS), st.integers(0, 99),
    st.dictionaries(
        st.sampled_from([feature_cache.POOLED, feature_cache.REGIONS]),
        st.lists(sizes, max_size=3), min_size=1), texts())


@given(description=descriptions)
def test_descriptions_are_read_as_they_were_written(folder, description):
  feature_cache.write(folder, description)
  read = feature_cache.read(folder)
  assert dataclasses.asdict(read) == dataclasses.asdict(description)


@given(content=changed_json(dataclasses.asdict(feature_cache.Description(
    'inception_v3', 'x', 299, 299, 'im2txt', 'float16', 0,
    {feature_cache.POOLED: [4]}, 'y'))).flatmap(damaged))
def test_descriptions(folder, content):
  description = read_or_refuse(
      lambda path: feature_cache.read(folder),
      f'{folder}/{feature_cache.FILE_NAME}', content)
  if description:
    with pytest.raises(ValueError, match='these features were made with'):
      description.check(configuration.ModelConfig(encoder='none'), folder)
    for key, shape in description.shapes.items():
      with tf.Graph().as_default():
        packed = description.unpack(key, tf1.placeholder(tf.string, [None]))
      assert packed.shape[1:] == shape


# Weights.


@pytest.fixture(scope='module')
def packed_bytes():
  file = io.BytesIO()
  np.savez_compressed(file, **{
      'seq_embedding/map': np.arange(12, dtype=np.float16).reshape(4, 3),
      'global_step': np.int64(7), 'text': np.array('digest')})
  return file.getvalue()


def check_arrays(arrays):
  assert all(isinstance(value, np.ndarray) for value in arrays.values())


@given(data=st.data())
def test_packed_models(folder, packed_bytes, data):
  configuration.save(configuration.Config(), folder)
  content = data.draw(st.one_of(
      damaged(packed_bytes), damaged(packed_bytes[:120]), st.just(_plain()),
      st.builds(_zipped, st.sampled_from(
          ['a', 'a.npy', '../a.npy']), st.binary(max_size=9))))
  found = read_or_refuse(packed_model.Reader, f'{folder}/weights.npz', content)
  if found:
    check_arrays({name: found.value(name) for name in found.shapes})


def _plain():
  file = io.BytesIO()
  np.save(file, np.arange(3))
  return file.getvalue()


def _zipped(name, content):
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w') as archive:
    archive.writestr(name, content)
  return file.getvalue()


PYTORCH = pytorch_files.legacy_file(
    pytorch_files.dictionary(
        a=pytorch_files.tensor('1', (2, 3), (3, 1)),
        b=pytorch_files.tensor('2', (2,), (1,), 1, 'HalfStorage')),
    **{'1': np.arange(6, dtype='<f4'), '2': np.arange(3, dtype='<f2')})


@given(content=damaged(PYTORCH))
def test_pytorch_weights(folder, content):
  found = read_or_refuse(pytorch_weights.read, f'{folder}/w.pth', content)
  check_arrays(found or {})


@pytest.fixture(scope='module')
def keras_bytes():
  file = io.BytesIO()
  with h5py.File(file, 'w') as f:
    for name, arrays in (
        ('conv2d_1', {'kernel:0': np.ones((1, 1, 3, 2), 'f4')}),
        ('batch_normalization_1', {
            name: np.ones(2, 'f4')
            for name in ('beta:0', 'moving_mean:0', 'moving_variance:0')})):
      for array, value in arrays.items():
        f[f'{name}/{name}/{array}'] = value
      f[name].attrs['weight_names'] = [f'{name}/{array}' for array in arrays]
    f.attrs['layer_names'] = ['conv2d_1', 'batch_normalization_1']
  return file.getvalue()


@given(data=st.data())
def test_keras_weights(folder, keras_bytes, data):
  content = data.draw(damaged(keras_bytes))
  path = f'{folder}/weights.h5'
  check_arrays(read_or_refuse(
      lambda path: keras_weights.read(path, ['Net']), path, content) or {})
  check_arrays(read_or_refuse(
      lambda path: keras_weights.read_in_order(
          path, {'Net/weights': (1, 1, 3, 2)}), path, content) or {})


@pytest.fixture(scope='module')
def checkpoint_bytes(folder, write_checkpoint):
  write_checkpoint(f'{folder}/whole', {
      'global_step': np.int64(7), 'logits/biases': np.ones(5, np.float32)})
  return {ending: open(f'{folder}/whole{ending}', 'rb').read()
          for ending in ('.index', '.data-00000-of-00001')}


def read_checkpoint(prefix):
  reader = Reader(prefix)
  return {name: np.asarray(reader.value(name)) for name in reader.shapes}


@given(data=st.data())
def test_checkpoints(folder, checkpoint_bytes, data):
  prefix = f'{folder}/model.ckpt-7'
  for ending, whole in checkpoint_bytes.items():
    with open(prefix + ending, 'wb') as f:
      f.write(data.draw(damaged(whole)))
  try:
    check_arrays(read_checkpoint(prefix))
  except ValueError as error:
    assert prefix in str(error)


# Records.


caption = st.lists(whole_texts(), min_size=2, max_size=5).flatmap(
    lambda words: st.builds(
        sequence_example.Caption, st.just(words),
        st.lists(st.integers(0, 2**31 - 1), min_size=len(words),
                 max_size=len(words)), whole_texts()))
pairs = st.builds(
    sequence_example.make_pair, st.integers(-2**63, 2**63 - 1), st.binary(),
    caption)
images = st.builds(
    sequence_example.make_image, st.integers(-2**63, 2**63 - 1),
    st.fixed_dictionaries({sequence_example.IMAGE_DATA: st.binary()}),
    st.lists(caption, min_size=1, max_size=3))


@given(captions=st.lists(caption, min_size=1, max_size=3),
       image_id=st.integers(-2**63, 2**63 - 1), data=st.binary())
def test_records_are_read_as_they_were_written(captions, image_id, data):
  for given_captions, example in (
      (captions, sequence_example.make_image(
          image_id, {sequence_example.IMAGE_DATA: data}, captions)),
      (captions[:1], sequence_example.make_pair(
          image_id, data, captions[0]))):
    again = tf.train.SequenceExample.FromString(example.SerializeToString())
    assert sequence_example.image_id_of(again) == image_id
    assert sequence_example.captions_of(again) == given_captions
    assert sequence_example.ids_of(again) == [c.ids for c in given_captions]
    parsed = sequence_example.parse(example.SerializeToString())
    assert parsed.data[sequence_example.IMAGE_DATA].numpy() == data
    assert parsed.captions.to_list() == [c.ids for c in given_captions]


def read_shard(path):
  """Read a shard as text, as ids and as graphs do."""
  shards = Shards.find(path)
  found = shard_captions.read(shards)
  ids, num_records = shard_captions.read_ids(
      shards, sequence_example.CAPTION_IDS)
  assert num_records == len(found.first) and len(ids) == sum(found.first)
  with bad_records.explained_errors(shards, configuration.ModelConfig()):
    for _, serialized in tfrecords.read(path):
      sequence_example.parse(serialized)
  return found


@pytest.fixture(scope='module')
def shard_folder(tmp_path_factory):
  """A folder without a description of features."""
  return tmp_path_factory.mktemp('shards')


@given(record=(pairs | images).flatmap(
    lambda example: damaged(example.SerializeToString())))
def test_records(shard_folder, record):
  with tf.io.TFRecordWriter(f'{shard_folder}/whole') as writer:
    writer.write(record)
  with open(f'{shard_folder}/whole', 'rb') as f:
    read_or_refuse(read_shard, f'{shard_folder}/record', f.read())


@pytest.fixture(scope='module')
def shard_bytes(shard_folder):
  with tf.io.TFRecordWriter(f'{shard_folder}/whole') as writer:
    for i in range(3):
      writer.write(sequence_example.make_pair(
          i, b'x', sequence_example.Caption(['<S>', 'a', '</S>'], [0, 2, 1])
          ).SerializeToString())
  with open(f'{shard_folder}/whole', 'rb') as f:
    return f.read()


@given(data=st.data())
def test_shards(shard_folder, shard_bytes, data):
  content = data.draw(damaged(shard_bytes))
  assume(content)
  found = read_or_refuse(read_shard, f'{shard_folder}/shard', content)
  if found:  # Whole records, then: some of those, some of them twice.
    assert set(map(tuple, found.of_images)) <= {('a',), ('a', 'a'),
                                                ('a', 'a', 'a')}
