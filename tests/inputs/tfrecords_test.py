"""Bad records: each kind is found, named by shard and number, or left out."""

import dataclasses
import io
import shutil

import numpy as np
import pytest
import tensorflow as tf
from batches import run
from command_runner import NO_JAVA
from PIL import Image
from tiny_task import make_pair

from im2txt import configuration
from im2txt.decoders import transformer
from im2txt.inputs import (
    bad_records,
    feature_cache,
    image_processing,
    sequence_example,
    tfrecords,
)
from im2txt.inputs import captions as shard_captions
from im2txt.inputs import pipeline as inputs
from im2txt.inputs.sequence_example import Caption
from im2txt.inputs.shards import Shards

tf1 = tf.compat.v1

HEIGHT, WIDTH = 13, 7
VOCAB_SIZE = 50


def image():
  buffer = io.BytesIO()
  Image.new('RGB', (9, 11), 'grey').save(buffer, 'JPEG')
  return buffer.getvalue()


def int64(*values):
  return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def text(value):
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def captioned(*captions, data=None):
  """An image with captions of these ids."""
  return sequence_example.make_image(
      7, data or {'image/data': image()},
      [Caption([f'word{i}' for i in ids], ids) for ids in captions])


def good(number, **options):
  """A record whose caption says its number."""
  return captioned([1, 10 + number, 2], **options)


def with_context(key, feature):
  record = good(0)
  record.context.feature[key].CopyFrom(feature)
  return record


def without(key):
  record = good(0)
  record.context.feature.pop(key, None)
  record.feature_lists.feature_list.pop(key, None)
  return record


def captions_as(feature):
  record = good(0)
  record.feature_lists.feature_list['image/caption_ids'].feature[0].CopyFrom(
      feature)
  return record


# What is said of each.
BAD = {
    'no image': (
        lambda: without('image/data'), 'no feature image/data'),
    'image of numbers': (
        lambda: with_context('image/data', int64(1)), "Data types don't match"),
    'no file of an image': (
        lambda: with_context('image/data', text(b'no image')),
        'Unknown image file format'),
    'half an image': (
        lambda: with_context('image/data', text(image()[:-100])), 'JPEG'),
    'no captions': (
        lambda: without('image/caption_ids'),
        'no word in feature list image/caption_ids'),
    'no words': (lambda: captioned([]), 'no word in feature list'),
    'captions of bytes': (
        lambda: captions_as(text(b'dog')), "Data types don't match"),
    'a caption without words': (
        lambda: captioned([1, 5, 2], []), 'a caption has 0 words'),
    'a single marker': (lambda: captioned([1]), 'a caption has 1 words'),
    'id above': (
        lambda: captioned([1, 50, 2]), 'word id = 50 is not in [0, 50)'),
    'id below': (
        lambda: captioned([1, 5, 2], [1, -1, 2]),
        'word id = -1 is not in [0, 50)'),
    'id of 64 bits': (
        lambda: captioned([1, 2**32 + 5, 2]),
        'word id = 4294967301 is not in [0, 50)'),
    'a thousand words': (
        lambda: captioned([1, *([5] * 998), 2]),
        'a caption has 1000 words, both markers counted, and must have 2 to '
        '500 (max_sequence_length'),
    'no protocol buffer': (lambda: b'no record', 'Invalid protocol message'),
    'nothing': (lambda: b'', 'no feature image/data'),
}
# Legal, if odd: only markers, as many words as there may be, id 0 and the last.
ODD = ([1, 2], [1, *([5] * 498), 2], [0, 49])


def flip(position):
  return lambda content: (content[:position]
                          + bytes([content[position] ^ 4])
                          + content[position + 1:])


# Of 3 records of `size` bytes: what is done to the shard, the first record that
# cannot be read, and what is said.
DAMAGE = {
    'last byte': (lambda size: lambda c: c[:-1], 2, 'truncated record'),
    'cut behind a length': (
        lambda size: lambda c: c[:size + 12], 1, 'truncated record'),
    'cut in a length': (
        lambda size: lambda c: c[:2 * size + 5], 2, 'truncated record'),
    'bit of a record': (
        lambda size: flip(size + 40), 1, 'corrupted record'),
    'bit of a length': (lambda size: flip(2 * size), 2, 'record'),
    'bit of a checksum': (lambda size: flip(size - 1), 0, 'corrupted record'),
}


def serialized(record):
  return record if isinstance(record, bytes) else record.SerializeToString()


def write(path, records):
  with tf.io.TFRecordWriter(str(path)) as writer:
    for record in records:
      writer.write(serialized(record))


def size_of(record):
  return len(serialized(record)) + 16


@pytest.fixture(scope='module')
def bad_shards(tmp_path_factory):
  """Shards with every fault, and a healthy one between; good records 0 to 18.

  The first has a good record, then a bad one, and so on.
  """
  folder = tmp_path_factory.mktemp('bad')
  records = []
  for number, (make, _) in enumerate(BAD.values()):
    records += [good(number), make()]
  write(folder / 'train-0', [*records, *map(captioned, ODD)])
  numbers = iter(range(len(BAD), 100))
  write(folder / 'train-1', [good(next(numbers))])
  for name, (damage, bad, _) in DAMAGE.items():
    path = folder / f'train-{name}'
    own = [good(next(numbers) if i < bad else 0) for i in range(3)]
    write(path, own)
    path.write_bytes(damage(size_of(own[0]))(path.read_bytes()))
  (folder / 'train-empty').touch()
  return folder


NUM_GOOD = len(BAD) + 1 + sum(bad for _, bad, _ in DAMAGE.values())


def make_config(pattern, config_class=configuration.ModelConfig, **fields):
  return config_class(**{
      'input_file_pattern': str(pattern), 'batch_size': 3,
      'vocab_size': VOCAB_SIZE, 'values_per_input_shard': 3,
      'num_preprocess_threads': 2,
      'image_height': HEIGHT, 'image_width': WIDTH} | fields)


def shards_of(config):
  """The shards that a configuration names."""
  return Shards.find(config.input_file_pattern, config.bad_records)


def batch_of(config, *arguments):
  """`make_batch` of the shards that a configuration names."""
  return inputs.make_batch(shards_of(config), config, *arguments)


def faults_of(config):
  return list(filter(None, bad_records.look_through(shards_of(config), config)))


def numbers_in(batches):
  """Numbers of good records in batches; odd ones left out."""
  return [row[1] - 10 for batch in batches
          for row, mask in zip(batch.input_seqs, batch.input_mask, strict=True)
          if mask.sum() == 2 and row[1] >= 10]


def test_every_fault_is_named(bad_shards):
  faults = faults_of(make_config(bad_shards / 'train-*'))
  first = [fault for fault in faults if fault.file.endswith('/train-0')]
  assert [fault.number for fault in first] == list(range(1, 2 * len(BAD), 2))
  for fault, (_, reason) in zip(first, BAD.values(), strict=True):
    assert reason in fault.reason, fault
    assert not fault.is_damage
    assert str(fault).startswith(f'{bad_shards}/train-0, record ')
    assert '\n' not in str(fault) and '{{' not in str(fault)
  others = {fault.file.rsplit('train-')[-1]: fault
            for fault in faults[len(first):]}
  assert others.keys() == DAMAGE.keys() and len(faults) == len(first) + len(
      others)
  for name, (_, number, reason) in DAMAGE.items():
    assert others[name].is_damage and reason in others[name].reason
    assert others[name].number == number, name


def crc(data):
  """The checksum of a TFRecord's length or bytes: CRC-32C, masked."""
  value = 0xffffffff
  for byte in data:
    value ^= byte
    for _ in range(8):
      value = value >> 1 ^ 0x82f63b78 * (value & 1)
  value ^= 0xffffffff
  return ((value >> 15 | value << 17) + 0xa282ead8) % 2**32


def test_a_length_beyond_the_file_is_no_memory(tmp_path):
  write(tmp_path / 'a', [good(0)])
  content = (tmp_path / 'a').read_bytes()
  assert content[8:12] == crc(content[:8]).to_bytes(4, 'little')
  length = (2**60).to_bytes(8, 'little')
  (tmp_path / 'a').write_bytes(
      content + length + crc(length).to_bytes(4, 'little') + content)
  [fault] = faults_of(make_config(tmp_path / 'a'))
  assert fault.is_damage and fault.number == 1
  with pytest.raises(ValueError, match='record 1: .* or a wrong length'):
    list(tfrecords.read(str(tmp_path / 'a')))


def test_a_bad_record_and_a_cut_length_in_one_shard(tmp_path):
  path = tmp_path / 'a'
  records = [good(0), BAD['id above'][0](), good(1), good(2)]
  write(path, records)
  path.write_bytes(path.read_bytes()[:-size_of(records[-1]) + 5])
  faults = faults_of(make_config(path))
  assert [(fault.number, fault.is_damage) for fault in faults] == [
      (1, False), (3, True)]
  assert [number for number, _ in tfrecords.read(str(path), faults)] == [0, 2]


def test_every_record_is_judged(bad_shards):
  judged = list(bad_records.look_through(
      Shards.find(f'{bad_shards}/train-*'), make_config('')))
  assert judged.count(None) == NUM_GOOD + len(ODD)
  assert len(judged) == judged.count(None) + len(BAD) + len(DAMAGE)


@pytest.mark.parametrize('pipeline', ['tf_data', 'queue'])
@pytest.mark.parametrize('training', [False, True])
def test_bad_records_are_left_out(bad_shards, pipeline, training, caplog):
  config = make_config(
      bad_shards / 'train-*', input_pipeline=pipeline, bad_records='skip',
      bucket_by_length=False)
  with tf.Graph().as_default(), caplog.at_level('INFO', 'absl'):
    batches = run(batch_of(config, training), training and 60 or None)
  seen = numbers_in(batches)
  if training:
    assert set(seen) == set(range(NUM_GOOD))
  else:
    assert sorted(seen) == list(range(NUM_GOOD))
    assert sum(len(batch.images) for batch in batches) == NUM_GOOD + len(ODD)
  for number, (_, reason) in enumerate(BAD.values()):
    [said] = [line for line in caplog.messages if line.startswith(
        f'left out: {bad_shards}/train-0, record {2 * number + 1}: ')]
    assert reason in said
  assert caplog.messages.count(
      f'left out in all: {len(BAD) + len(DAMAGE)} bad records and what follows '
      f'{len(DAMAGE)} of them') == 1
  assert ('1 of 9 shards hold no record; the first is '
          f'{bad_shards}/train-empty') in caplog.messages


@pytest.mark.parametrize('pipeline', ['tf_data', 'queue'])
@pytest.mark.parametrize('name', [
    'no image', 'id above', 'a thousand words'])
def test_a_bad_record_stops_training_by_its_name(name, pipeline, tmp_path):
  make, reason = BAD[name]
  write(tmp_path / 'a', [good(0)])
  write(tmp_path / 'b', [good(1), good(2), make(), good(3)])
  config = make_config(f'{tmp_path}/?', input_pipeline=pipeline)
  with (tf.Graph().as_default(), pytest.raises(ValueError) as error,
        bad_records.explained_errors(shards_of(config), config)):
    run(batch_of(config, True), 30)
  line = str(error.value)
  assert line.startswith(f'{tmp_path}/b, record 2: ') and reason in line
  assert '(records count from 0)' in line
  assert ('--vocab_file' if name == 'id above' else
          '--bad_records=skip') in line
  assert '\n' not in line


def test_a_decoder_says_how_long_a_caption_may_be(tmp_path):
  write(tmp_path / 'x', [captioned([1] * n) for n in (2, 22, 23, 2)])
  config = make_config(tmp_path / 'x', transformer.TransformerConfig,
                       decoder='transformer', max_positions=21)
  [fault] = faults_of(config)
  assert fault.number == 2
  assert 'a caption has 23 words' in fault.reason and '2 to 22 (' in str(fault)
  for longest, bad in ((0, [2]), (5, [1, 2])):
    assert bad == [fault.number for fault in faults_of(dataclasses.replace(
        config, max_sequence_length=longest))]
  plain = make_config(tmp_path / 'x', max_sequence_length=0)
  assert not faults_of(plain)


@pytest.mark.parametrize('choice, said', [
    ('skip', '/x, one of 1 shards: none has a record that can be used; .*/x, '
     'record 0: '),
    ('maybe', "bad_records is 'maybe'; it must be one of 'stop', 'skip'")])
def test_what_cannot_be_done(tmp_path, choice, said):
  write(tmp_path / 'x', [b'', b''])
  with tf.Graph().as_default(), pytest.raises(ValueError, match=said):
    batch_of(make_config(tmp_path / 'x', bad_records=choice), True)


def test_a_shard_that_cannot_be_read_is_no_bad_record(tmp_path):
  with pytest.raises(ValueError, match=f'{tmp_path}/x: '):
    list(tfrecords.look_through([f'{tmp_path}/x'], tf.identity))
  with pytest.raises(ValueError, match=f'{tmp_path}/x: '):
    list(tfrecords.read(f'{tmp_path}/x'))


def test_shards_are_looked_through_once(bad_shards, monkeypatch):
  looked = []
  real = bad_records.look_through
  monkeypatch.setattr(
      bad_records, 'look_through',
      lambda shards, config: looked.append(shards) or real(shards, config))
  config = make_config('')
  shards = Shards.find(f'{bad_shards}/train-1', 'skip')
  assert bad_records.left_out(shards, config) == ()
  assert bad_records.left_out(shards, config) == ()
  assert len(looked) == 1
  # Of 10 + the number of the record.
  smaller = dataclasses.replace(config, vocab_size=11)
  with pytest.raises(ValueError, match='can be used'):
    bad_records.left_out(shards, smaller)
  assert len(looked) == 2
  empty = Shards('x', (str(bad_shards / 'train-empty'),), bad_records='skip')
  with pytest.raises(ValueError, match='train-empty, one of .* used$'):
    bad_records.left_out(empty, config)
  assert len(looked) == 3
  stopping = Shards.find(f'{bad_shards}/train-1')
  assert bad_records.left_out(stopping, config) is None
  assert len(looked) == 3


# Features of 2 versions, 3 + 2 * 4 numbers of 2 bytes each.
SHAPES = {feature_cache.POOLED: [3], feature_cache.REGIONS: [2, 4]}


@pytest.fixture(scope='module')
def bad_features(tmp_path_factory):
  folder = tmp_path_factory.mktemp('features')
  description = feature_cache.Description(
      'inception_v3', 'x', HEIGHT, WIDTH,
      image_processing.describe(configuration.ModelConfig(), 1),
      'float16', 1, SHAPES, '')
  feature_cache.write(str(folder), description)

  def record(number, **sizes):
    data = {key: description.pack(np.ones([2, *shape]))
            for key, shape in SHAPES.items()}
    for name, size in sizes.items():
      data[f'features/{name}'] = b'0' * size
    return good(number, data={key: x for key, x in data.items() if x})

  write(folder / 'train', [
      record(0), record(1, pooled=0), record(1), record(2, pooled=11),
      record(2, regions=16), record(2, regions=64), record(2)])
  return folder / 'train'


@pytest.mark.parametrize('pipeline', ['tf_data', 'queue'])
def test_features_of_another_size(bad_features, pipeline):
  config = make_config(bad_features, input_pipeline=pipeline)
  reasons = [
      'no feature features/pooled', 'features/pooled has 11 bytes, not 12',
      'features/regions has 16 bytes, not 32',
      'features/regions has 64 bytes, not 32']
  faults = faults_of(config)
  assert [fault.number for fault in faults] == [1, 3, 4, 5]
  for fault, reason in zip(faults, reasons, strict=True):
    assert reason in fault.reason
  with (tf.Graph().as_default(), pytest.raises(ValueError, match=reasons[0]),
        bad_records.explained_errors(shards_of(config), config)):
    run(batch_of(config, True)[1:], 9)
  with tf.Graph().as_default():
    batch = batch_of(
        dataclasses.replace(config, bad_records='skip'), False)
    batches = run(batch._replace(images=batch.images.pooled))
  assert numbers_in(batches) == [0, 1, 2]
  assert np.concatenate([batch.images for batch in batches]).tolist() == (
      [[1.0, 1.0, 1.0]] * 3)


def test_what_is_scored_is_what_can_be_read(bad_shards):
  """Captions and images stay side by side."""
  config = make_config(bad_shards / 'train-*', bad_records='skip')
  shards = shards_of(config)
  with pytest.raises(ValueError, match='train-0, record 9: no image with '
                     'captions in words: '):
    shard_captions.read(shards)
  found = shard_captions.read(shards, bad_records.left_out(shards, config))
  assert len(found.first) == NUM_GOOD + len(ODD)
  # All but the captions is the same in every image.
  assert sum(found.first) == 1
  with tf.Graph().as_default():
    images = run(inputs.make_images(
        shards, config, [True] * len(found.first)))
  assert sum(map(len, images)) == len(found.first)
  ids, number = shard_captions.read_ids(
      shards, 'image/caption_ids', bad_records.left_out(shards, config))
  assert number == len(found.first)
  assert sorted(ids[0][:len(BAD)]) == [[1, 10 + i, 2] for i in range(len(BAD))]


def test_a_record_without_words_is_not_scored(tmp_path, caplog):
  wordless = good(1)
  del wordless.feature_lists.feature_list['image/caption']
  write(tmp_path / 'x', [good(0), wordless, captioned([1, 30, 2], data={
      'image/data': b'another'})])
  path = str(tmp_path / 'x')
  with caplog.at_level('INFO', 'absl'):
    found = shard_captions.read(Shards.find(path), ())
  assert found.of_images == [['word10'], ['word30']]
  assert found.first == [True, False, True]
  assert f'left out: {path}, record 1: no image with captions in words: ' in (
      caplog.text)
  write(tmp_path / 'x', [wordless])
  with pytest.raises(ValueError, match=f'{path}, record 0: '):
    shard_captions.read(Shards.find(path), ())


# The command lines.


def damaged_copy(task, folder, split):
  """A copy of the task's shards with bad records in a split's.

  The first shard has a word id that is none in record 1, and no image in
  record 2; the last record of the second is cut.
  """
  folder.mkdir()
  for path in task.folder.glob('*-of-*'):
    shutil.copy(path, folder)
  shutil.copy(task.vocab_file, folder)
  shard, other = sorted(folder.glob(f'{split}-*'))
  records = [tf.train.SequenceExample.FromString(record)
             for _, record in tfrecords.read(str(shard))]
  encoded_image, words, _ = make_pair('red square')
  records[1] = sequence_example.make_pair(
      1, encoded_image, Caption(words, [0, 4, 99, 1]))
  records[2].context.feature['image/data'].CopyFrom(text(b'no image'))
  write(shard, records)
  other.write_bytes(other.read_bytes()[:-10])
  return shard, other


def assert_said(finished, shard, other, last):
  said = [line[9:] for line in finished.lines if ' left out' in line
          and 'METEOR' not in line]
  assert [line.split(': ')[1] for line in said[:3]] == [
      f'{shard}, record 1', f'{shard}, record 2', f'{other}, record {last}']
  assert said[3:] == [
      'left out in all: 3 bad records and what follows 1 of them']


@pytest.mark.long
def test_training(task, launch, tmp_path):
  shard, other = damaged_copy(task, tmp_path / 'shards', 'train')
  finished = launch(
      'im2txt.train', f'--config={task.config_file}',
      f'--input_file_pattern={tmp_path}/shards/train-*',
      f'--train_dir={tmp_path}/run', '--number_of_steps=4',
      '--bad_records=skip')
  assert finished.returncode == 0, finished.stderr
  assert_said(finished, shard, other, 1)
  assert (tmp_path / 'run' / 'model.ckpt-4.index').exists()


@pytest.mark.long
def test_evaluation(task, trained, launch, tmp_path):
  shard, other = damaged_copy(task, tmp_path / 'shards', 'val')
  command = ['im2txt.evaluate', f'--checkpoint_dir={trained.folder}',
             f'--eval_dir={tmp_path}/eval', '--run_once',
             f'--input_file_pattern={tmp_path}/shards/val-*']
  finished = launch(*command)
  assert finished.returncode == 1
  assert f'error: {shard}, record 1: word id = 99' in finished.lines[-1]
  finished = launch(*command, '--metrics', '--bad_records=skip',
                    environment=NO_JAVA)
  assert finished.returncode == 0, finished.stderr
  assert_said(finished, shard, other, 2)
  assert 'over 4 pairs' in finished.stderr
  assert 'captioning 4 images' in finished.stderr


@pytest.mark.long
def test_features(task, launch, tmp_path):
  shard, other = damaged_copy(task, tmp_path / 'shards', 'val')
  command = ['data_prep.cache_features', f'--config={task.config_file}',
             '--config.model.vocab_size=17',
             '--config.model.max_sequence_length=3',
             f'--input_file_pattern={tmp_path}/shards/val-*',
             f'--output_dir={tmp_path}/features']
  cut = other.read_bytes()
  shutil.copy(task.folder / other.name, other)
  finished = launch(*command)
  assert finished.returncode == 1
  assert f'error: {shard}, record 2: Unknown image file format' in (
      finished.lines[-1])
  shutil.rmtree(tmp_path / 'features')
  other.write_bytes(cut)
  finished = launch(*command, '--bad_records=skip')
  assert finished.returncode == 0, finished.stderr
  # Which words a caption has is no matter of its image.
  assert [line.split(': ')[1] for line in finished.lines
          if 'left out: ' in line] == [
              f'{shard}, record 2', f'{other}, record 2']
  assert sum(1 for path in sorted((tmp_path / 'features').glob('*-of-*'))
             for _ in tfrecords.read(str(path))) == 4


def test_the_check(task, launch, tmp_path):
  shard, other = damaged_copy(task, tmp_path / 'shards', 'train')
  command = ['im2txt.check_shards', f'--config={task.config_file}']
  finished = launch(*command, f'--input_file_pattern={tmp_path}/shards/*-of-*')
  assert finished.returncode == 1
  first, second, third = finished.stdout.splitlines()
  # The configuration leaves the number of words to the vocabulary.
  assert first == f'{shard}, record 1: word id = 99 is not in [0, 17)'
  assert second.startswith(f'{shard}, record 2: Unknown image file format')
  assert third.startswith(f'{other}, record 1: the shard is damaged from there '
                          'on: truncated record')
  assert '13 records, 3 of them bad' in finished.stderr
  finished = launch(*command, f'--input_file_pattern={tmp_path}/shards/val-*')
  assert finished.returncode == 0 and not finished.stdout
