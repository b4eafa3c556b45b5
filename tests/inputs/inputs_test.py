"""Both input pipelines, on the same small shards: one contract."""

import io
import operator

import numpy as np
import pytest
import tensorflow as tf
from batches import run
from PIL import Image

from im2txt import configuration
from im2txt.inputs import (
    bad_records,
    feature_cache,
    image_processing,
    sequence_example,
)
from im2txt.inputs import pipeline as inputs
from im2txt.inputs.batch import Batch
from im2txt.inputs.sequence_example import Caption
from im2txt.inputs.shards import Shards

tf1 = tf.compat.v1

HEIGHT, WIDTH = 13, 7
# Captions of 11 records, of 2 to 6 words with their markers 1 and 2; the word
# of no other caption, 10 + its number, says which one it is. 0 is a word too.
CAPTIONS = [[1, 10 + i, *([0] * (i % 5))[:-1], 2] if i % 5 else [1, 10 + i, 2]
            for i in range(11)]


@pytest.fixture(scope='module', params=['tf_data', 'queue'])
def pipeline(request):
  return request.param


@pytest.fixture(autouse=True)
def graph():
  with tf.Graph().as_default() as graph:
    tf1.set_random_seed(1)
    yield graph


def grey(level, size=(9, 11)):
  buffer = io.BytesIO()
  Image.new('RGB', size, (level,) * 3).save(buffer, 'JPEG')
  return buffer.getvalue()


def level_of(i):
  return 20 * i + 10


def record(i):
  return sequence_example.make_pair(
      i, grey(level_of(i)), Caption(
          [f'word{w}' for w in CAPTIONS[i]], CAPTIONS[i]))


def write(path, records):
  with tf.io.TFRecordWriter(str(path)) as writer:
    for r in records:
      writer.write(r if isinstance(r, bytes) else r.SerializeToString())


@pytest.fixture(scope='module')
def shards(tmp_path_factory):
  """Shards of 4, 4 and 3 records, and a pattern that matches them."""
  folder = tmp_path_factory.mktemp('shards')
  for shard in range(3):
    write(folder / f'train-{shard:05d}-of-00003',
          [record(i) for i in range(11)[4 * shard:4 * shard + 4]])
  return str(folder / 'train-?????-of-00003')


def make_config(pattern, pipeline='tf_data', **fields):
  return configuration.ModelConfig(**{
      'input_file_pattern': pattern, 'input_pipeline': pipeline,
      'batch_size': 4, 'values_per_input_shard': 3,
      'input_queue_capacity_factor': 2, 'num_preprocess_threads': 2,
      'image_height': HEIGHT, 'image_width': WIDTH} | fields)


def shards_of(config):
  """The shards that a configuration names."""
  return Shards.find(config.input_file_pattern, config.bad_records)


def batch_of(config, *arguments):
  """`make_batch` of the shards that a configuration names."""
  return inputs.make_batch(shards_of(config), config, *arguments)


def numbers(batches):
  """Which records the batches hold."""
  return [int(row[1]) - 10 if row[1] >= 10 else int(row[0]) - 10
          for batch in batches for row in batch.input_seqs]


def check(batch):
  """That a batch is what the pairs of its records make."""
  check_captions(batch)
  assert len(batch.images) == len(batch.input_seqs)
  assert batch.image_rows.tolist() == list(range(len(batch.images)))


def check_captions(batch):
  """That a batch is what the captions make that it has."""
  expected = [CAPTIONS[i] for i in numbers([batch])]
  length = max(len(caption) for caption in expected) - 1
  def padded(rows):
    return [row + [0] * (length - len(row)) for row in rows]
  assert batch.input_seqs.tolist() == padded([c[:-1] for c in expected])
  assert batch.target_seqs.tolist() == padded([c[1:] for c in expected])
  assert batch.input_mask.tolist() == padded(
      [[1] * (len(c) - 1) for c in expected])
  assert batch.images.shape[1:] == (HEIGHT, WIDTH, 3)
  assert batch.images.dtype == np.float32
  assert {x.dtype for x in batch[1:]} == {np.dtype('int32')}


def test_evaluation_is_one_pass_in_order(shards, pipeline):
  batches = run(batch_of(make_config(shards, pipeline), False))
  assert [len(batch.images) for batch in batches] == [4, 4, 3]
  assert numbers(batches) == list(range(11))
  for batch in batches:
    check(batch)
    for i, image in zip(numbers([batch]), batch.images, strict=True):
      np.testing.assert_allclose(
          image, level_of(i) / 127.5 - 1.0, atol=0.02)


def test_readers_do_not_change_the_order_of_evaluation(shards, pipeline):
  config = make_config(shards, pipeline, num_input_reader_threads=3)
  assert numbers(run(batch_of(config, False))) == list(range(11))


@pytest.fixture(scope='module')
def training_batches(shards, pipeline):
  with tf.Graph().as_default():
    tf1.set_random_seed(1)
    return run(batch_of(make_config(shards, pipeline), True), 66)


def test_training_never_ends_and_shuffles(training_batches):
  assert len(training_batches) == 66
  for batch in training_batches:
    assert len(batch.images) == 4
    check(batch)
  seen = numbers(training_batches)
  counts = np.bincount(seen, minlength=11)
  # Of 24 each. A queue that is filled faster than it is emptied mixes many
  # epochs: the deviation is 4.7 then.
  assert counts.min() >= 5 and counts.max() <= 45
  assert seen[:11] != seen[11:22] or seen[22:33] != seen[33:44]
  # One shard after the other would give batches of neighbours only.
  assert any(len({i // 4 for i in numbers([batch])}) > 2
             for batch in training_batches)


def test_training_distorts_and_keeps_image_and_caption_together(
    training_batches):
  levels = {}
  for batch in training_batches:
    assert batch.images.min() >= -1.0 and batch.images.max() <= 1.0
    for i, image in zip(numbers([batch]), batch.images, strict=True):
      levels.setdefault(i, []).append((image.mean() + 1.0) * 127.5)
  # Of a grey image nothing but brightness can change, by 32 at the most.
  for i, drawn in levels.items():
    assert max(abs(level - level_of(i)) for level in drawn) < 35
  assert any(np.ptp(drawn) > 5 for drawn in levels.values())


@pytest.mark.parametrize('training', [False, True])
def test_shapes_that_a_graph_can_rely_on(shards, pipeline, training):
  batch = batch_of(make_config(shards, pipeline), training)
  assert batch.images.shape[1:] == [HEIGHT, WIDTH, 3]
  for sequence in batch[1:4]:
    assert len(sequence.shape) == 2 and sequence.dtype == tf.int32
  assert len(batch.image_rows.shape) == 1
  assert batch.image_rows.dtype == tf.int32
  assert batch.images.dtype == tf.float32


def test_every_pattern_is_read(shards, pipeline):
  second, third = (shards.replace('?????', f'0000{i}') for i in (1, 2))
  config = make_config(f'{third},{second}', pipeline)
  assert numbers(run(batch_of(config, False))) == [
      8, 9, 10, 4, 5, 6, 7]


def test_replicas_read_parts_of_their_own(shards, pipeline):
  config = make_config(shards, pipeline)
  parts = []
  for replica in range(2):
    with tf.Graph().as_default():
      parts.append(numbers(run(
          batch_of(config, False, replica, 2))))
  # Of three shards of 4, 4 and 3 records.
  assert parts == [[0, 1, 2, 3, 8, 9, 10], [4, 5, 6, 7]]


def test_more_replicas_than_shards_are_refused(shards, pipeline):
  with pytest.raises(ValueError, match='4 replicas need a shard each.* are 3'):
    batch_of(make_config(shards, pipeline), True, 1, 4)


@pytest.mark.parametrize('training', [False, True])
def test_a_pattern_without_files_is_an_error(shards, pipeline, training):
  config = make_config(f'{shards},{shards}x', pipeline)
  with pytest.raises(ValueError, match='no file matches .*00003x$'):
    batch_of(config, training)


def test_another_pipeline_is_refused(shards):
  with pytest.raises(ValueError, match="'tfdata'.*'tf_data', 'queue'"):
    batch_of(make_config(shards, 'tfdata'), True)


def int64(value):
  return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def text(value):
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def im2txt_record(words, ids, encoded_image):
  """As build_mscoco_data.py made it, without our writer."""
  return tf.train.SequenceExample(
      context=tf.train.Features(feature={
          'image/image_id': int64(7), 'image/data': text(encoded_image)}),
      feature_lists=tf.train.FeatureLists(feature_list={
          'image/caption': tf.train.FeatureList(
              feature=[text(word) for word in words]),
          'image/caption_ids': tf.train.FeatureList(
              feature=[int64(i) for i in ids])}))


def test_records_of_im2txt_are_read(tmp_path, pipeline):
  write(tmp_path / 'val-00000-of-00001', [
      im2txt_record([b'<S>', b'a', b'dog', b'</S>'], [1, 0, 46, 2], grey(9)),
      im2txt_record([b'<S>', b'</S>'], [1, 2], grey(99))])
  config = make_config(str(tmp_path / 'val-*'), pipeline)
  [batch] = run(batch_of(config, False))
  assert batch.input_seqs.tolist() == [[1, 0, 46], [1, 0, 0]]
  assert batch.target_seqs.tolist() == [[0, 46, 2], [2, 0, 0]]
  assert batch.input_mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_other_keys_and_formats(tmp_path, pipeline):
  example = record(3)
  context, lists = example.context.feature, example.feature_lists.feature_list
  buffer = io.BytesIO()
  Image.new('L', (4, 4), 255).save(buffer, 'PNG')
  context['image'].CopyFrom(text(buffer.getvalue()))
  lists['ids'].CopyFrom(lists['image/caption_ids'])
  del context['image/data'], lists['image/caption_ids']
  write(tmp_path / 'x', [example])
  config = make_config(
      str(tmp_path / 'x'), pipeline, image_feature_name='image',
      caption_feature_name='ids')
  [batch] = run(batch_of(config, False))
  assert batch.input_seqs.tolist() == [CAPTIONS[3][:-1]]
  assert (batch.images > 0.999).all()


def summaries(batch):
  """Values by tag, after a batch."""
  merged = tf1.summary.merge_all()
  [(_, serialized)] = run((batch, merged), 1)
  return {value.tag: value.simple_value
          for value in tf1.Summary.FromString(serialized).value}


@pytest.mark.parametrize('training', [False, True])
def test_caption_lengths_are_summarised(shards, pipeline, training):
  config = make_config(shards, pipeline)
  batch = batch_of(config, training)
  merged = tf1.summary.merge_all()
  [(values, serialized)] = run((batch, merged), 1)
  found = {value.tag: value.simple_value
           for value in tf1.Summary.FromString(serialized).value}
  lengths = values.input_mask.sum(1) + 1  # Both markers.
  assert found['caption_length/batch_min'] == lengths.min()
  assert found['caption_length/batch_max'] == lengths.max()
  assert found['caption_length/batch_mean'] == pytest.approx(lengths.mean())


@pytest.mark.parametrize('training, tag', [
    # Capacities of im2txt: 2 * 3 + 100 * 4, and 3 + 3 * 4.
    (True, 'queue/random_input_queue/fraction_of_406_full'),
    (False, 'queue/fifo_input_queue/fraction_of_15_full'),
])
def test_fullness_of_queues_is_summarised_under_tags_of_im2txt(
    shards, training, tag):
  found = summaries(
      batch_of(make_config(shards, 'queue'), training))
  assert 0.0 <= found[tag] <= 1.0
  assert any('filename_queue' in name for name in found)
  assert any('batch_and_pad' in name for name in found)


def test_queue_of_im2txt_by_its_own_numbers(shards, graph):
  config = configuration.ModelConfig(
      input_file_pattern=shards, input_pipeline='queue')
  batch_of(config, True)
  [queue] = [op for op in graph.get_operations()
             if op.type == 'RandomShuffleQueueV2']
  assert queue.get_attr('min_after_dequeue') == 4600
  assert queue.get_attr('capacity') == 4600 + 100 * 32
  [join] = [op for op in graph.get_operations()
            if op.type == 'PaddingFIFOQueueV2']
  assert join.get_attr('capacity') == 2 * 4 * 32
  threads = [op for op in graph.get_operations()
             if op.type == 'QueueEnqueueV2' and 'batch_and_pad' in op.name]
  assert len(threads) == 4


def test_without_a_pattern_the_batch_is_fed():
  batch = inputs.make_batch(None, make_config(None), True)
  arrays = Batch(
      np.zeros([3, HEIGHT, WIDTH, 3]), *np.arange(45).reshape(3, 3, 5),
      np.array([2, 0, 1]))
  with tf1.Session() as session:
    fed = session.run(batch, dict(zip(batch, arrays, strict=True)))
  for given, got in zip(arrays, fed, strict=True):
    np.testing.assert_array_equal(given, got)
  assert batch.input_seqs.dtype == tf.int32


def bad_image():
  return sequence_example.make_pair(
      1, b'no image', Caption(['a', 'b'], [1, 2]))


def no_captions():
  example = record(1)
  del example.feature_lists.feature_list['image/caption_ids']
  return example


@pytest.mark.parametrize('make, reason', [
    (bad_image, 'Unknown image file format'),
    (no_captions, 'image/caption_ids'),
    (lambda: b'no record', 'invalid protocol message'),
])
def test_a_bad_record_is_one_line_about_the_shards(
    tmp_path, pipeline, make, reason):
  write(tmp_path / 'x', [record(0), make()])
  config = make_config(str(tmp_path / 'x'), pipeline)
  batch = batch_of(config, False)
  with (pytest.raises(ValueError) as error,
        bad_records.explained_errors(shards_of(config), config)):
    run(batch)
  line = str(error.value)
  assert line.startswith(f'{tmp_path}/x, record 1: ')
  assert reason.lower() in line.lower()
  assert '\n' not in line and '{{' not in line and 'Graph exec' not in line


@pytest.mark.parametrize('damage, number', [
    (lambda content: content[:-5], 4),
    (lambda content: content[:50] + b'x' + content[51:], 0),
    (lambda content: b'this is no shard at all' * 10, 0),
])
def test_a_damaged_shard_is_one_line(tmp_path, pipeline, damage, number):
  path = tmp_path / 'x'
  write(path, [record(i) for i in range(5)])
  path.write_bytes(damage(path.read_bytes()))
  config = make_config(str(path), pipeline)
  batch = batch_of(config, False)
  with (pytest.raises(ValueError) as error,
        bad_records.explained_errors(shards_of(config), config)):
    run(batch)
  line = str(error.value)
  assert line.startswith(
      f'{path}, record {number}: the shard is damaged from there on: ')
  assert '\n' not in line and '{{' not in line and 'Graph exec' not in line


def test_what_is_no_fault_of_a_record_is_not_explained_away():
  with (pytest.raises(tf.errors.ResourceExhaustedError),
        bad_records.explained_errors(Shards('x', ('x',)), make_config('x'))):
    raise tf.errors.ResourceExhaustedError(None, None, 'no memory')


# Shards of layout `image`: 5 images with 1, 3, 2, 1 and 4 captions.
WHOLE = [[0], [1, 2, 3], [4, 5], [6], [7, 8, 9, 10]]


@pytest.fixture(scope='module')
def whole_shards(tmp_path_factory):
  folder = tmp_path_factory.mktemp('whole')
  records = [sequence_example.make_image(
      i, {sequence_example.IMAGE_DATA: grey(level_of(i))},
      [Caption([f'word{w}' for w in CAPTIONS[k]], CAPTIONS[k]) for k in own])
             for i, own in enumerate(WHOLE)]
  write(folder / 'train-00000-of-00002', records[:3])
  write(folder / 'train-00001-of-00002', records[3:])
  return str(folder / 'train-?????-of-00002')


def check_whole(batch, tolerance):
  """That each caption is of the image that its row says."""
  check_captions(batch)
  levels = (batch.images.mean(axis=(1, 2, 3)) + 1.0) * 127.5
  assert sorted(set(batch.image_rows)) == list(range(len(batch.images)))
  for row, number in zip(batch.image_rows, numbers([batch]), strict=True):
    [image] = [i for i, own in enumerate(WHOLE) if number in own]
    assert abs(levels[row] - level_of(image)) < tolerance


def test_evaluation_has_all_captions_of_each_image(whole_shards, pipeline):
  batches = run(batch_of(make_config(whole_shards, pipeline), False))
  assert [len(batch.images) for batch in batches] == [4, 1]
  assert [len(batch.input_seqs) for batch in batches] == [7, 4]
  assert numbers(batches) == list(range(11))
  for batch in batches:
    check_whole(batch, 3)


def test_training_has_a_caption_of_an_image_at_a_time(whole_shards, pipeline):
  batches = run(batch_of(make_config(whole_shards, pipeline), True),
                90)
  for batch in batches:
    assert len(batch.images) == len(batch.input_seqs) == 4
    check_whole(batch, 35)
  assert set(numbers(batches)) == set(range(11))


def test_training_on_all_captions_encodes_an_image_once(
    whole_shards, pipeline):
  config = make_config(whole_shards, pipeline, all_captions=True)
  batches = run(batch_of(config, True), 12)
  for batch in batches:
    assert len(batch.images) == 4
    check_whole(batch, 35)
    images = [own for own in WHOLE
                for _ in range(numbers([batch]).count(own[0]))]
    assert sorted(numbers([batch])) == sorted(sum(images, []))


def test_all_captions_of_pairs_are_the_pairs(shards, pipeline):
  config = make_config(shards, pipeline, all_captions=True)
  for batch in run(batch_of(config, True), 5):
    check(batch)


@pytest.fixture(scope='module')
def long_and_short(tmp_path_factory):
  """Captions of 9 to 24 words, markers included."""
  random = np.random.default_rng(1)
  path = tmp_path_factory.mktemp('lengths') / 'train'
  write(path, [
      sequence_example.make_pair(i, grey(100), Caption(['word'] * n, [1] * n))
      for i, n in enumerate(random.integers(9, 25, 90))])
  return str(path)


def padding(batches):
  return 1.0 - (sum(batch.input_mask.sum() for batch in batches)
                / sum(batch.input_mask.size for batch in batches))


def test_buckets_leave_little_padding(long_and_short):
  found = {}
  for bucket_by_length in (False, True):
    config = make_config(long_and_short, bucket_by_length=bucket_by_length)
    with tf.Graph().as_default():
      tf1.set_random_seed(1)
      found[bucket_by_length] = run(batch_of(config, True), 60)
    for batch in found[bucket_by_length]:
      assert len(batch.input_seqs) == 4
      assert batch.input_mask.sum(1).max() == batch.input_mask.shape[1]
  assert padding(found[False]) > 0.2
  assert padding(found[True]) < 0.05
  # Every length has its turn.
  lengths = np.concatenate([batch.input_mask.sum(1) for batch in found[True]])
  assert lengths.min() < 10 and lengths.max() > 21


@pytest.fixture(scope='module')
def distorted_features(tmp_path_factory):
  """Features of 3 images in a plain and 7 distorted versions."""
  folder = tmp_path_factory.mktemp('features')
  description = feature_cache.Description(
      'inception_v3', 'x', HEIGHT, WIDTH, image_processing.describe(
          configuration.ModelConfig(), 7),
      'float32', 7, {feature_cache.POOLED: [2]}, '')
  feature_cache.write(str(folder), description)
  write(folder / 'train', [sequence_example.make_image(
      i, {feature_cache.POOLED: description.pack(np.stack(
          [np.full(8, i), np.arange(8)], axis=1))},
      [Caption(['word'] * 3, [1, 10 + i, 2])] * 4) for i in range(3)])
  return str(folder / 'train')


@pytest.mark.parametrize('all_captions', [False, True])
def test_training_draws_a_version_each_time(
    distorted_features, pipeline, all_captions):
  config = make_config(
      distorted_features, pipeline, all_captions=all_captions)
  seen = {}
  batch = batch_of(config, True)
  assert batch.images.regions is None
  for found in run(batch._replace(images=batch.images.pooled), 150):
    assert found.images[found.image_rows, 0].tolist() == numbers([found])
    for image, version in found.images.astype(int).tolist():
      seen.setdefault(image, []).append(version)
  assert seen.keys() == {0, 1, 2}
  for versions in seen.values():
    assert set(versions) == set(range(1, 8))
    # Each of an image's captions has its own draw: one in seven is like the
    # one before it.
    repeated = sum(map(operator.eq, versions, versions[1:]))
    assert repeated < len(versions) / 2, versions


def test_a_seed_says_how_images_are_distorted(shards):
  def pixels(seed, threads):
    config = make_config(
        shards, 'tf_data', num_preprocess_threads=threads)
    with tf.Graph().as_default():
      tf1.set_random_seed(seed)
      return np.concatenate([
          batch.images for batch in run(batch_of(config, True), 20)])

  first = pixels(5, 4)
  # An image is another one each time that it comes, unless all is clipped.
  assert len({image.tobytes() for image in first}) > 0.9 * len(first)
  np.testing.assert_array_equal(pixels(5, 1), first)
  assert np.any(pixels(6, 1) != first)


def test_evaluation_sees_the_plain_version(distorted_features, pipeline):
  batch = batch_of(make_config(distorted_features, pipeline), False)
  [batch] = run(batch._replace(images=batch.images.pooled))
  assert batch.images.tolist() == [[0, 0], [1, 0], [2, 0]]
  assert batch.image_rows.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_shards_without_any_record_are_refused(tmp_path):
  for i in range(3):
    (tmp_path / f'train-{i}').touch()
  write = tf.io.TFRecordWriter(str(tmp_path / 'train-1'))
  write.write(b'')
  write.close()
  config = make_config(f'{tmp_path}/train-?')
  with tf.Graph().as_default():
    batch_of(config, True, 1, 2)
    with pytest.raises(ValueError, match='train-0 and all other shards to be '
                                         'read here hold no record'):
      batch_of(config, True, 0, 2)
