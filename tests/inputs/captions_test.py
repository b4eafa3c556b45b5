"""The captions of shards: of either layout, in order, and of broken shards."""

import pytest
import tensorflow as tf

from im2txt import configuration
from im2txt.inputs import bad_records, sequence_example
from im2txt.inputs import captions as shard_captions
from im2txt.inputs.sequence_example import Caption
from im2txt.inputs.shards import Shards
from im2txt.text import vocabulary


def caption(text):
  words = ['<S>', *text.split(), '</S>']
  return Caption(words, list(range(len(words))))


def pair(image_id, text, raw=''):
  return sequence_example.make_pair(
      image_id, b'JPEG', caption(text)._replace(raw=raw))


def image(image_id, *texts):
  return sequence_example.make_image(
      image_id, {'image/pooled': b'1234'}, list(map(caption, texts)))


def image_with_raw(image_id, **raw_of):
  """Captions of one word each and what a person wrote."""
  return sequence_example.make_image(image_id, {'image/pooled': b'1234'}, [
      caption(text)._replace(raw=raw) for text, raw in raw_of.items()])


@pytest.fixture
def write(tmp_path):
  """Write shards, each of some records; return them all."""
  def write(*shards):
    for i, records in enumerate(shards):
      path = tmp_path / f'val-{i:05}-of-{len(shards):05}'
      with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
          writer.write(record if isinstance(record, bytes)
                       else record.SerializeToString())
    return Shards.find(f'{tmp_path}/val-?????-of-?????')
  return write


def test_pairs(write):
  found = shard_captions.read(write([
      pair(7, 'a dög .'), pair(3, 'a cat'), pair(7, 'the <S> dog'),
      pair(-1, '')]))
  assert found.of_images == [['a dög .', 'the <S> dog'], ['a cat'], ['']]
  assert found.first == [True, True, False, True]


def test_ids_of_either_layout(write):
  shards = write([pair(7, 'a dog .'), pair(3, 'a cat'), pair(7, 'dogs')],
                  [image(5, 'a b', 'c')])
  assert shard_captions.read_ids(shards, 'image/caption_ids') == ([
      [[0, 1, 2, 3, 4], [0, 1, 2]], [[0, 1, 2, 3]], [[0, 1, 2, 3], [0, 1, 2]]
  ], 4)
  with pytest.raises(ValueError, match='val-00000-of-00002, record 0: no '
                     'image with captions: no word in feature list x '
                     r'\(records count from 0\)'):
    shard_captions.read_ids(shards, 'x')


def test_images_with_all_their_captions(write):
  found = shard_captions.read(write(
      [image(2**40, 'a dog', 'dogs .', ''), image(5, 'a cat')]))
  assert found == (
      [['a dog', 'dogs .', ''], ['a cat']], [True, True], [], [2**40, 5])
  assert found.everything() == ['a dog', 'dogs .', '', 'a cat']


def test_images_of_the_same_id_are_told_apart(write):
  # As where two data sets of one's own are evaluated at once.
  other = sequence_example.make_pair(7, b'another JPEG', caption('a bus'))
  found = shard_captions.read(write(
      [pair(7, 'a dog')], [other, pair(7, 'the dog')]))
  assert found == (
      [['a dog', 'the dog'], ['a bus']], [True, True, False], [], [7, 7])


def test_shards_are_read_in_their_order(write):
  shards = write(
      [pair(9, 'a'), image(8, 'b', 'c')], [],
      [pair(1, 'd'), pair(9, 'e'), image(8, 'f'), pair(9, 'g')])
  found = shard_captions.read(shards)
  assert found == ([['a', 'e', 'g'], ['b', 'c', 'f'], ['d']],
                   [True, True, True, False, False, False], [], [9, 8, 1])


def test_patterns_are_read_in_their_order(write, tmp_path):
  write([pair(1, 'a')], [pair(2, 'b')])
  pattern = ','.join(f'{tmp_path}/val-0000{i}-*' for i in (1, 0))
  found = shard_captions.read(Shards.find(pattern))
  assert found.of_images == [['b'], ['a']]


def test_what_people_wrote_is_what_captions_are_compared_with(write):
  found = shard_captions.read(write(
      [pair(7, 'dog', 'A 1 dog!'), pair(3, '', 'x y z'),
       pair(7, 'brown dög', 'The BROWN dög.')],
      [image_with_raw(8, cat='A cat.', cats='"Cats"')]))
  assert found.of_images == [
      ['A 1 dog!', 'The BROWN dög.'], ['x y z'], ['A cat.', '"Cats"']]
  assert found.first == [True, True, False, True]
  # What a model that was trained on them may say again, word for word.
  assert found.words == ['dog', '', 'brown dög', 'cat', 'cats']
  assert found.everything() == [
      'A 1 dog!', 'The BROWN dög.', 'x y z', 'A cat.', '"Cats"', 'dog', '',
      'brown dög', 'cat', 'cats']


def test_shards_of_different_styles_go_together(write):
  found = shard_captions.read(write(
      [pair(7, 'a dog .')], [pair(7, 'dog', 'A dog!'), image(3, 'a cat')]))
  assert found == ([['a dog .', 'A dog!'], ['a cat']], [True, False, True],
                   ['dog'], [7, 3])


@pytest.mark.parametrize('layout', [pair, image])
def test_captions_are_found_without_their_image(write, layout):
  record = layout(7, 'a dog')
  for key in ('image/data', 'image/pooled'):
    record.context.feature.pop(key, None)
  assert shard_captions.read(write([record])).of_images == [['a dog']]


def without(key):
  record = pair(7, 'a dog')
  record.context.feature.pop(key, None)
  record.feature_lists.feature_list.pop(key, None)
  return record


def with_raw(record, *raw):
  for text in raw:
    feature = record.feature_lists.feature_list[
        'image/raw_caption'].feature.add()
    feature.bytes_list.value.append(text)
  return record


@pytest.mark.parametrize('record', [
    with_raw(pair(7, 'a dog'), b'A dog.', b'Dogs.'),
    with_raw(pair(7, 'a dog', 'A dog!'), b'A dog.'),
    with_raw(image(7, 'a dog', 'the dog'), b'A dog.'),
    with_raw(image(7, 'a dog'), b'A dog.', b'Dogs.'),
], ids=['pair of two', 'pair of two more', 'one of two', 'two of one'])
def test_raw_captions_of_another_number_are_one_line(write, tmp_path, record):
  shards = write([pair(1, 'a'), record])
  with pytest.raises(ValueError, match='image/raw_caption') as refused:
    shard_captions.read(shards)
  assert str(refused.value).startswith(
      f'{tmp_path}/val-00000-of-00001, record 1: ')
  assert '\n' not in str(refused.value)


@pytest.mark.parametrize('record', [
    without('image/caption'), without('image/caption_ids'),
    without('image/image_id'),
    image(7), tf.train.SequenceExample(), b'no protocol buffer',
], ids=['no words', 'no ids of words', 'no id', 'no captions', 'empty',
        'no record'])
def test_a_record_without_its_captions_is_one_line(write, tmp_path, record):
  shards = write([pair(1, 'a')], [pair(2, 'b'), record, pair(3, 'c')])
  with pytest.raises(ValueError, match='no image with captions') as refused:
    shard_captions.read(shards)
  assert str(refused.value).startswith(
      f'{tmp_path}/val-00001-of-00002, record 1: ')
  assert '\n' not in str(refused.value)


@pytest.mark.parametrize('damage, number', [
    (lambda shard: shard[:-1], 1),
    (lambda shard: shard[:len(shard) // 4], 0),
    (lambda shard: shard[:20] + b'\xff\xff\xff' + shard[23:], 0),
    (lambda shard: b'no shard at all', 0),
    # TensorFlow itself takes it for the end.
    (lambda shard: shard + shard[:5], 2),
], ids=['last byte', 'first record', 'three bytes', 'text', 'length cut'])
def test_a_damaged_shard_is_one_line(write, tmp_path, damage, number):
  shards = write([pair(1, 'a')], [pair(2, 'b'), pair(3, 'c')])
  path = tmp_path / 'val-00001-of-00002'
  path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(ValueError, match='is damaged') as refused:
    shard_captions.read(shards)
  assert str(refused.value).startswith(
      f'{path}, record {number}: the shard is damaged')
  assert '\n' not in str(refused.value)


def test_no_such_shards(tmp_path):
  with pytest.raises(ValueError, match='none-') as refused:
    shard_captions.read(Shards.find(f'{tmp_path}/none-*'))
  assert '\n' not in str(refused.value)


def test_shards_without_a_record(write):
  with pytest.raises(ValueError, match='hold no captions'):
    shard_captions.read(write([], []))


@pytest.fixture
def vocab(tmp_path):
  path = tmp_path / 'words.txt'
  path.write_text('<S> 3\n</S> 3\na 2\ndog 1\n')
  return vocabulary.Vocabulary(str(path))


def with_ids(*ids):
  """A record of a caption of these ids, with an image that can be read."""
  encoded = tf.io.encode_jpeg(tf.zeros([5, 7, 3], tf.uint8)).numpy()
  return sequence_example.make_pair(
      7, encoded, Caption(list(map(str, ids)), list(ids)))


MARKED, UNMARKED, PADDED = (0, 2, 3, 1), (2, 3, 1), (0, 2, 3, 1, 0)


@pytest.mark.parametrize(('ids', 'said'), [
    (UNMARKED, "begins with word id 2 ('a'), not with the marker '<S>' (0)"),
    (PADDED, "ends with word id 0 ('<S>'), not with the marker '</S>' (1)")])
def test_captions_without_markers_are_refused_at_once(write, vocab, ids, said):
  feature = sequence_example.CAPTION_IDS
  shard_captions.check_markers(write([with_ids(*MARKED)]), feature, vocab)
  shards = write([with_ids(*ids)])
  with pytest.raises(ValueError) as refused:
    shard_captions.check_markers(shards, feature, vocab)
  assert str(refused.value).startswith(f'{shards.files[0]}, record 0: ')
  assert said in str(refused.value)
  # What cannot be read is left to who reads all.
  shard_captions.check_markers(write([b'no record']), feature, vocab)


def test_the_check_names_captions_without_markers(write, vocab):
  shards = write([with_ids(*MARKED), with_ids(*UNMARKED), with_ids(*PADDED)])
  config = configuration.ModelConfig(
      image_height=9, image_width=9, vocab_size=5)
  assert list(bad_records.look_through(shards, config)) == [None] * 3
  good, *faults = bad_records.look_through(shards, config, vocab)
  assert good is None and [fault.number for fault in faults] == [1, 2]
  assert 'begins with word id 2 not with the marker <S>' in faults[0].reason
  assert 'ends with word id 0 not with the marker </S>' in faults[1].reason
