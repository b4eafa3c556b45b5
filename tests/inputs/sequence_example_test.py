"""The record: writer and parser, and records as im2txt wrote them."""

import pytest
import tensorflow as tf

from im2txt.inputs import sequence_example
from im2txt.inputs.sequence_example import IMAGE_DATA, Caption

tf1 = tf.compat.v1

WORDS = ['<S>', 'a', 'dog', 'übt', '.', '</S>']
IDS = [1, 0, 4711, 17, 3, 2]


@pytest.fixture(autouse=True)
def graph():
  with tf.Graph().as_default():
    yield


def parse(record, **keys):
  """Return the data by key and a list of captions."""
  with tf1.Session() as session:
    data, captions = session.run(
        sequence_example.parse(tf.constant(record), **keys))
  assert captions.values.dtype == 'int32'
  return data, captions.to_list()


def int64(value):
  return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def text(value):
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def im2txt_record(data_key='image/data', ids_key='image/caption_ids'):
  """As build_mscoco_data.py's _to_sequence_example makes it."""
  return tf.train.SequenceExample(
      context=tf.train.Features(feature={
          'image/image_id': int64(391895),
          data_key: text(b'\xff\xd8 image'),
      }),
      feature_lists=tf.train.FeatureLists(feature_list={
          'image/caption': tf.train.FeatureList(
              feature=[text(word.encode()) for word in WORDS]),
          ids_key: tf.train.FeatureList(feature=[int64(i) for i in IDS]),
      }))


def test_records_are_those_of_im2txt():
  ours = sequence_example.make_pair(
      391895, b'\xff\xd8 image', Caption(WORDS, IDS))
  assert ours == im2txt_record()


def message(*fields):
  """Bytes of a protocol buffer of (number, bytes) fields, all short."""
  return b''.join(bytes([number << 3 | 2, len(content)]) + content
                  for number, content in fields)


def golden_record(words, ids):
  """A record of image 5, from features' bytes."""
  # The numbers are those of tensorflow/core/example/{example,feature}.proto.
  def entry(key, value):
    return 1, message((1, key), (2, value))

  return message(
      (1, message(entry(b'image/data', message((1, message((1, b'JPEG'))))),
                  entry(b'image/image_id',
                        message((3, message((1, b'\x05'))))))),
      (2, message(
          entry(b'image/caption', message(*(
              (1, message((1, feature))) for feature in words))),
          entry(b'image/caption_ids', message(*(
              (1, message((3, feature))) for feature in ids))))))


def assert_same(ours, record):
  # Maps may be written in any order.
  assert tf.train.SequenceExample.FromString(record) == ours
  assert len(record) == ours.ByteSize()


def test_bytes_of_a_pair_are_golden():
  record = golden_record(
      [message((1, b'a')), message((1, b'b'))],
      [message((1, b'\x07')), message((1, b'\x08'))])
  ours = sequence_example.make_pair(5, b'JPEG', Caption(['a', 'b'], [7, 8]))
  assert_same(ours, record)
  assert parse(record) == ({IMAGE_DATA: b'JPEG'}, [[7, 8]])


def test_bytes_of_an_image_are_golden():
  record = golden_record(
      [message((1, b'a'), (1, b'b')), message((1, b'c'), (1, b'b'))],
      [message((1, b'\x07\x08')), message((1, b'\x09\x08'))])
  captions = [Caption(['a', 'b'], [7, 8]), Caption(['c', 'b'], [9, 8])]
  ours = sequence_example.make_image(5, {IMAGE_DATA: b'JPEG'}, captions)
  assert_same(ours, record)
  assert parse(record) == ({IMAGE_DATA: b'JPEG'}, [[7, 8], [9, 8]])


def test_parser_reads_records_of_im2txt():
  assert parse(im2txt_record().SerializeToString()) == (
      {IMAGE_DATA: b'\xff\xd8 image'}, [IDS])


def test_bytes_of_raw_captions_are_golden():
  def feature_list(key, *features):
    return 1, message((1, key), (2, message(*((1, x) for x in features))))

  words, ids = message((1, b'a'), (1, b'b')), message((1, b'\x07\x08'))
  record = message(
      (1, message((1, message((1, b'image/image_id'), (2, message(
          (3, message((1, b'\x05'))))))))),
      (2, message(
          feature_list(b'image/caption', *2 * [message((1, words))]),
          feature_list(b'image/caption_ids', *2 * [message((3, ids))]),
          feature_list(b'image/raw_caption',
                       *(message((1, message((1, text.encode()))))
                         for text in ('Ä, B!', ''))))))
  captions = [Caption(['a', 'b'], [7, 8], raw) for raw in ('Ä, B!', '')]
  assert_same(sequence_example.make_image(5, {}, captions), record)


def test_captions_of_looks_and_leaves_the_record_as_it_is():
  # The digest of a feature cache's images is of what is left.
  example = im2txt_record()
  assert sequence_example.captions_of(example) == [Caption(WORDS, IDS, '')]
  assert example == im2txt_record()
  assert len(example.SerializeToString()) == len(
      im2txt_record().SerializeToString())


def test_text_is_what_a_person_wrote_or_else_the_words():
  assert Caption(WORDS, IDS).text == 'a dog übt .'
  assert Caption(WORDS, IDS, 'A dog, übt!').text == 'A dog, übt!'
  assert Caption(['<S>', '</S>'], [1, 2]).text == ''
  assert Caption(['<S>', '</S>'], [1, 2], 'x').text == 'x'


@pytest.mark.parametrize('captions', [
    [Caption(['<S>', '</S>'], [1, 2])],
    [Caption(WORDS, IDS), Caption(['<S>', '</S>'], [1, 2]),
     Caption(WORDS[::-1], IDS[::-1])],
    [Caption(WORDS, IDS, 'A "dog" übt.\n')],
    [Caption(WORDS, IDS, 'One'), Caption(['<S>', '</S>'], [1, 2], '2'),
     Caption(WORDS[::-1], IDS[::-1], 'Odd: \udcff\0')],
    [Caption(WORDS, IDS), Caption(WORDS, IDS, 'of another style')],
], ids=['one', 'three', 'one raw', 'three raw', 'some raw'])
def test_records_are_read_as_they_were_written(captions):
  image = sequence_example.make_image(1, {IMAGE_DATA: b''}, captions)
  assert sequence_example.captions_of(image) == captions
  assert parse(image.SerializeToString()) == (
      {IMAGE_DATA: b''}, [caption.ids for caption in captions])
  pair = sequence_example.make_pair(1, b'', captions[0])
  assert sequence_example.captions_of(pair) == captions[:1]
  assert parse(pair.SerializeToString()) == (
      {IMAGE_DATA: b''}, [captions[0].ids])


@pytest.mark.parametrize('captions', [
    [], [Caption(['a'], [])], [Caption(['a', 'b'], [1, 2]), Caption(['a'], [])],
], ids=['none', 'no ids', 'one without ids'])
def test_captions_that_do_not_fit_their_ids_are_an_error(captions):
  image = sequence_example.make_image(1, {}, captions)
  with pytest.raises(ValueError, match='image/caption_ids'):
    sequence_example.captions_of(image)


@pytest.mark.parametrize('raw', [[b'x', b'y', b'z'], [b'x'], [b'']])
def test_raw_captions_of_another_number_are_an_error(raw):
  image = sequence_example.make_image(
      1, {}, [Caption(['a', 'b'], [1, 2]), Caption(['c', 'd'], [3, 4])])
  image.feature_lists.feature_list['image/raw_caption'].feature.extend(
      map(text, raw))
  with pytest.raises(ValueError, match=(
      f'image/raw_caption holds {len(raw)} captions, image/caption 2')):
    sequence_example.captions_of(image)


def test_parser_takes_other_keys():
  record = im2txt_record('photo/jpeg', 'photo/ids').SerializeToString()
  assert parse(record, data_features=['photo/jpeg'],
               caption_feature='photo/ids') == (
      {'photo/jpeg': b'\xff\xd8 image'}, [IDS])


def test_parser_takes_what_stands_in_the_place_of_the_image():
  data = {'image/pooled': b'123', 'image/regions': b'45678'}
  record = sequence_example.make_image(
      1, data, [Caption(WORDS, IDS)]).SerializeToString()
  assert parse(record, data_features=list(data)) == (data, [IDS])


def test_further_keys_do_not_matter():
  record = im2txt_record()
  record.context.feature['image/features'].CopyFrom(text(b'anything'))
  _, captions = parse(record.SerializeToString())
  assert captions == [IDS]


@pytest.mark.parametrize('record', [
    sequence_example.make_image(1, {IMAGE_DATA: b''}, []).SerializeToString(),
    im2txt_record(data_key='image/dada').SerializeToString(),
    im2txt_record(ids_key='image/captain_ids').SerializeToString(),
    b'no protocol buffer',
    b'',
], ids=['no caption', 'no image', 'no ids', 'no record', 'empty'])
def test_another_record_is_an_error(record):
  with pytest.raises(tf.errors.InvalidArgumentError):
    parse(record)
