"""Records are shuffled, cut and written the same way each time."""

import glob
import io
import os

import pytest
import tensorflow as tf
from PIL import Image

from data_prep.datasets.captioned_images import CaptionedImage
from data_prep.images import stored_images
from data_prep.shards import shard_writer
from data_prep.shards.items import (
    Item,
    Recipe,
    Shard,
    assign_shards,
    count_records,
    list_items,
    shard_path,
    shard_pattern,
    split_evenly,
    temporary_pattern,
)
from im2txt.inputs import sequence_example
from im2txt.text import caption_styles, vocabulary

CAPTIONED = [
    CaptionedImage(i, f'{i}.jpg', [f'caption {i} {k}' for k in range(3)])
    for i in range(7)]


@pytest.fixture(params=['im2txt', 'image'])
def recipe(tmp_path, request):
  path = str(tmp_path / 'word_counts.txt')
  vocabulary.write_word_counts(path, [('<S>', 9), ('a', 5), ('</S>', 9)])
  return Recipe(
      request.param, stored_images.ImageFormat(), caption_styles.named('nltk'),
      vocabulary.Vocabulary(path, '<S>', '</S>', '<UNK>'))


def make_item(image_id, path, *captions):
  return Item(image_id, str(path), captions)


def write(shard, recipe):
  """Write a shard and return its examples, and records as parsed."""
  shard_writer.write_shard(shard, recipe)
  serialized = list(tf.data.TFRecordDataset(shard.path))
  return ([tf.train.SequenceExample.FromString(record.numpy())
           for record in serialized],
          [sequence_example.parse(record) for record in serialized])


def write_jpeg(path, kind='JPEG'):
  data = io.BytesIO()
  Image.new('RGB', (5, 3), 'red').save(data, kind)
  path.write_bytes(data.getvalue())
  return data.getvalue()


def test_pairs_have_each_caption_once_in_a_fixed_order():
  items = list_items(CAPTIONED, 'im2txt')
  assert items == list_items(CAPTIONED, 'im2txt')
  in_order = [Item(image.image_id, image.path, [caption])
              for image in CAPTIONED for caption in image.captions]
  assert items != in_order
  assert sorted(items) == in_order
  # Shards that were begun with another order could not be gone on with.
  assert [item.captions for item in items[:3]] == [
      ['caption 5 2'], ['caption 6 1'], ['caption 1 0']]
  assert len(items) == count_records(CAPTIONED, 'im2txt')


def test_images_have_all_captions_in_a_fixed_order():
  items = list_items(CAPTIONED, 'image')
  assert items == list_items(CAPTIONED, 'image')
  in_order = [Item(image.image_id, image.path, image.captions)
              for image in CAPTIONED]
  assert items != in_order
  assert sorted(items) == in_order
  assert [item.image_id for item in items] == [6, 4, 1, 2, 0, 5, 3]
  assert len(items) == count_records(CAPTIONED, 'image')


@pytest.mark.parametrize(('layout', 'sizes'), [
    ('im2txt', [5, 5, 5, 6]), ('image', [1, 2, 2, 2])])
def test_assign_shards_cuts_evenly(layout, sizes):
  items = list_items(CAPTIONED, layout)
  cut = assign_shards('out', 'val', items, 4)
  assert [shard.path for shard in cut] == [
      f'out/val-0000{i}-of-00004' for i in range(4)]
  assert [item for shard in cut for item in shard.items] == items
  assert sorted(len(shard.items) for shard in cut) == sizes


def test_write_shard_round_trip(tmp_path, recipe):
  plain = write_jpeg(tmp_path / 'a.jpg')
  write_jpeg(tmp_path / 'b.jpg', 'PNG')
  examples, records = write(
      Shard(str(tmp_path / 'train-00000-of-00001'), [
          make_item(2**40, tmp_path / 'a.jpg', 'a zebra'),
          make_item(-7, tmp_path / 'b.jpg', 'a')]),
      recipe)
  ids = [example.context.feature[sequence_example.IMAGE_ID].int64_list.value
         for example in examples]
  assert [list(value) for value in ids] == [[2**40], [-7]]
  assert sequence_example.captions_of(examples[0]) == [
      (['<S>', 'a', 'zebra', '</S>'], [0, 1, 3, 2], '')]
  images = [record.data[sequence_example.IMAGE_DATA] for record in records]
  assert images[0].numpy() == plain
  assert tf.io.decode_jpeg(images[1]).shape == (3, 5, 3)
  assert [record.captions.to_list() for record in records] == [
      [[0, 1, 3, 2]], [[0, 1, 2]]]


@pytest.mark.parametrize('recipe', ['image'], indirect=True)
def test_image_record_holds_the_image_once(tmp_path, recipe):
  plain = write_jpeg(tmp_path / 'a.jpg')
  [example], [record] = write(
      Shard(str(tmp_path / 'val-00000-of-00001'), [
          make_item(3, tmp_path / 'a.jpg', 'a',
                    'a zebra a', '')]),
      recipe)
  assert example.SerializeToString().count(plain) == 1
  assert sequence_example.captions_of(example) == [
      (['<S>', 'a', '</S>'], [0, 1, 2], ''),
      (['<S>', 'a', 'zebra', 'a', '</S>'], [0, 1, 3, 1, 2], ''),
      (['<S>', '</S>'], [0, 2], '')]
  assert record.captions.to_list() == [[0, 1, 2], [0, 1, 3, 1, 2], [0, 2]]


@pytest.mark.parametrize('recipe', ['im2txt'], indirect=True)
def test_pair_is_im2txts_record(tmp_path, recipe):
  plain = write_jpeg(tmp_path / 'a.jpg')
  [example], _ = write(
      Shard(str(tmp_path / 'val-00000-of-00001'), [
          make_item(3, tmp_path / 'a.jpg', 'a')]),
      recipe)
  lists = example.feature_lists.feature_list
  assert set(lists) == {'image/caption', 'image/caption_ids'}
  assert [list(feature.bytes_list.value) for feature in
          lists['image/caption'].feature] == [[b'<S>'], [b'a'], [b'</S>']]
  assert [list(feature.int64_list.value) for feature in
          lists['image/caption_ids'].feature] == [[0], [1], [2]]
  assert example.context.feature['image/data'].bytes_list.value == [plain]


def test_raw_captions_stand_beside_the_words(tmp_path, recipe):
  write_jpeg(tmp_path / 'a.jpg')
  raw = ['A, a: "zebra"!\t', 'ÄH?'][:1 if recipe.layout == 'im2txt' else 2]
  item = make_item(3, tmp_path / 'a.jpg', *raw)
  recipe = recipe._replace(
      style=caption_styles.named('keras', '<S>', '</S>', '<UNK>'))
  [example], [record] = write(
      Shard(str(tmp_path / 'val-00000-of-00001'), [item]), recipe)
  assert [caption.raw for caption in sequence_example.captions_of(example)
          ] == raw
  # What training reads is as it is without them.
  assert record.captions.to_list() == [[0, 1, 1, 3, 2], [0, 3, 2]][:len(raw)]


def test_write_shard_shrinks(tmp_path, recipe):
  Image.new('RGB', (50, 30), 'red').save(tmp_path / 'large.jpg')
  small = write_jpeg(tmp_path / 'small.jpg')
  recipe = recipe._replace(image_format=stored_images.ImageFormat(max_side=20))
  _, records = write(Shard(str(tmp_path / 'val-00000-of-00001'), [
      make_item(1, tmp_path / 'large.jpg', 'a'),
      make_item(2, tmp_path / 'small.jpg', 'a')]),
                     recipe)
  large, kept = (record.data[sequence_example.IMAGE_DATA]
                 for record in records)
  assert tf.io.decode_jpeg(large).shape == (12, 20, 3)
  assert kept.numpy() == small


def test_write_shard_writes_the_same_bytes_each_time(tmp_path, recipe):
  write_jpeg(tmp_path / 'b.jpg', 'PNG')
  items = 3 * [make_item(1, tmp_path / 'b.jpg', 'a')]
  for name in ('one', 'two'):
    shard_writer.write_shard(Shard(str(tmp_path / name), items), recipe)
  assert (tmp_path / 'one').read_bytes() == (tmp_path / 'two').read_bytes()


def test_write_shard_leaves_no_half_shard(tmp_path, recipe):
  write_jpeg(tmp_path / 'a.jpg')
  path = str(tmp_path / 'val-00000-of-00001')
  items = [make_item(1, tmp_path / 'a.jpg', 'a'),
           make_item(2, tmp_path / 'gone.jpg', 'a')]
  with pytest.raises(OSError, match='gone.jpg'):
    shard_writer.write_shard(Shard(path, items), recipe)
  assert not os.path.exists(path)


def test_write_shard_names_the_file_it_cannot_write(tmp_path, recipe):
  write_jpeg(tmp_path / 'a.jpg')
  path = str(tmp_path / 'no folder' / 'val-00000-of-00001')
  items = [make_item(1, tmp_path / 'a.jpg', 'a')]
  with pytest.raises(OSError, match='no folder'):
    shard_writer.write_shard(Shard(path, items), recipe)


def test_patterns_match_what_they_are_for(tmp_path):
  odd = tmp_path / 'out [1]'  # Brackets mean something to glob.
  odd.mkdir()
  path = shard_path(str(odd), 'train', 3, 12)
  assert os.path.basename(path) == 'train-00003-of-00012'
  for name in (path, f'{path}.77.tmp'):
    with open(name, 'w'):
      pass
  assert glob.glob(shard_pattern(str(odd), 'train')) == [path]
  assert glob.glob(temporary_pattern(str(odd), 'train')) == [
      f'{path}.77.tmp']


def test_items_are_split_where_earlier_builds_split_them():
  # A shard's bytes depend on it.
  parts = split_evenly(range(7), 3)
  assert [list(part) for part in parts] == [[0, 1], [2, 3], [4, 5, 6]]
