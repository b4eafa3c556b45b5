"""Pairs are shuffled, cut and written the same way each time."""

import glob
import io
import os

import pytest
import tensorflow as tf
from PIL import Image

from data_prep import shard_writer, shards
from data_prep.captioned_images import CaptionedImage
from im2txt import sequence_example, vocabulary

CAPTIONED = [
    CaptionedImage(i, f'{i}.jpg', [f'caption {i} {k}' for k in range(3)])
    for i in range(7)]


@pytest.fixture
def wording(tmp_path):
  path = str(tmp_path / 'word_counts.txt')
  vocabulary.write_word_counts(path, [('<S>', 9), ('a', 5), ('</S>', 9)])
  return shards.Wording(vocabulary.Vocabulary(path), '<S>', '</S>')


def write_jpeg(path, kind='JPEG'):
  data = io.BytesIO()
  Image.new('RGB', (5, 3), 'red').save(data, kind)
  path.write_bytes(data.getvalue())
  return data.getvalue()


def test_list_pairs_has_each_caption_once_in_a_fixed_order():
  pairs = shards.list_pairs(CAPTIONED, {'4.jpg'})
  assert pairs == shards.list_pairs(CAPTIONED, {'4.jpg'})
  in_order = [shards.Pair(image.image_id, image.path, image.image_id == 4,
                          caption)
              for image in CAPTIONED for caption in image.captions]
  assert pairs != in_order
  assert sorted(pairs) == in_order


def test_assign_shards_cuts_evenly():
  pairs = shards.list_pairs(CAPTIONED, ())
  cut = shards.assign_shards('out', 'val', pairs, 4)
  assert [shard.path for shard in cut] == [
      f'out/val-0000{i}-of-00004' for i in range(4)]
  assert [pair for shard in cut for pair in shard.pairs] == pairs
  assert sorted(len(shard.pairs) for shard in cut) == [5, 5, 5, 6]


def test_write_shard_round_trip(tmp_path, wording):
  plain = write_jpeg(tmp_path / 'a.jpg')
  write_jpeg(tmp_path / 'b.jpg', 'PNG')
  shard = shards.Shard(str(tmp_path / 'train-00000-of-00001'), [
      shards.Pair(2**40, str(tmp_path / 'a.jpg'), False, 'A zebra'),
      shards.Pair(-7, str(tmp_path / 'b.jpg'), True, 'a')])
  shard_writer.write_shard(shard, wording)
  serialized = list(tf.data.TFRecordDataset(shard.path))
  examples = [tf.train.SequenceExample.FromString(record.numpy())
              for record in serialized]
  ids = [example.context.feature[sequence_example.IMAGE_ID].int64_list.value
         for example in examples]
  assert [list(value) for value in ids] == [[2**40], [-7]]
  words = examples[0].feature_lists.feature_list[sequence_example.CAPTION]
  assert [feature.bytes_list.value[0] for feature in words.feature] == [
      b'<S>', b'a', b'zebra', b'</S>']
  image, caption = sequence_example.parse(serialized[0])
  assert image.numpy() == plain
  assert caption.numpy().tolist() == [0, 1, 3, 2]
  image, caption = sequence_example.parse(serialized[1])
  assert tf.io.decode_jpeg(image).shape == (3, 5, 3)
  assert caption.numpy().tolist() == [0, 1, 2]


def test_write_shard_writes_the_same_bytes_each_time(tmp_path, wording):
  write_jpeg(tmp_path / 'b.jpg', 'PNG')
  pairs = [shards.Pair(1, str(tmp_path / 'b.jpg'), True, 'a')] * 3
  for name in ('one', 'two'):
    shard_writer.write_shard(shards.Shard(str(tmp_path / name), pairs), wording)
  assert (tmp_path / 'one').read_bytes() == (tmp_path / 'two').read_bytes()


def test_write_shard_leaves_no_half_shard(tmp_path, wording):
  write_jpeg(tmp_path / 'a.jpg')
  path = str(tmp_path / 'val-00000-of-00001')
  pairs = [shards.Pair(1, str(tmp_path / 'a.jpg'), False, 'a'),
           shards.Pair(2, str(tmp_path / 'gone.jpg'), False, 'a')]
  with pytest.raises(OSError, match='gone.jpg'):
    shard_writer.write_shard(shards.Shard(path, pairs), wording)
  assert not os.path.exists(path)


def test_write_shard_names_the_file_it_cannot_write(tmp_path, wording):
  write_jpeg(tmp_path / 'a.jpg')
  path = str(tmp_path / 'no folder' / 'val-00000-of-00001')
  pairs = [shards.Pair(1, str(tmp_path / 'a.jpg'), False, 'a')]
  with pytest.raises(OSError, match='no folder'):
    shard_writer.write_shard(shards.Shard(path, pairs), wording)


def test_patterns_match_what_they_are_for(tmp_path):
  odd = tmp_path / 'out [1]'  # Brackets mean something to glob.
  odd.mkdir()
  path = shards.shard_path(str(odd), 'train', 3, 12)
  assert os.path.basename(path) == 'train-00003-of-00012'
  for name in (path, f'{path}.77.tmp'):
    with open(name, 'w'):
      pass
  assert glob.glob(shards.shard_pattern(str(odd), 'train')) == [path]
  assert glob.glob(shards.temporary_pattern(str(odd), 'train')) == [
      f'{path}.77.tmp']
