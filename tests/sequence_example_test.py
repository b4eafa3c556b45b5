"""The record: writer and parser, and records as im2txt wrote them."""

import pytest
import tensorflow as tf

from im2txt import sequence_example

tf1 = tf.compat.v1

WORDS = ['<S>', 'a', 'dog', 'übt', '.', '</S>']
IDS = [1, 0, 4711, 17, 3, 2]


@pytest.fixture(autouse=True)
def graph():
  with tf.Graph().as_default():
    yield


def parse(record, **keys):
  with tf1.Session() as session:
    return session.run(sequence_example.parse(tf.constant(record), **keys))


def int64(value):
  return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def text(value):
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def im2txt_record(data_key='image/data', ids_key='image/caption_ids'):
  """As build_mscoco_data.py's _to_sequence_example makes it."""
  return tf.train.SequenceExample(
      context=tf.train.Features(feature={
          'image/image_id': int64(391895),
          data_key: text(b'\xff\xd8 picture'),
      }),
      feature_lists=tf.train.FeatureLists(feature_list={
          'image/caption': tf.train.FeatureList(
              feature=[text(word.encode()) for word in WORDS]),
          ids_key: tf.train.FeatureList(feature=[int64(i) for i in IDS]),
      }))


def test_records_are_those_of_im2txt():
  ours = sequence_example.make(391895, b'\xff\xd8 picture', WORDS, IDS)
  assert ours == im2txt_record()


def message(*fields):
  """Bytes of a protocol buffer of (number, bytes) fields, all short."""
  return b''.join(bytes([number << 3 | 2, len(content)]) + content
                  for number, content in fields)


def test_bytes_of_a_record_are_golden():
  # The numbers are those of tensorflow/core/example/{example,feature}.proto.
  def entry(key, value):
    return 1, message((1, key), (2, value))

  text_a, seven, five = (message((1, message((1, b'a')))),
                         message((3, message((1, b'\x07')))),
                         message((3, message((1, b'\x05')))))
  record = message(
      (1, message(entry(b'image/data', message((1, message((1, b'JPEG'))))),
                  entry(b'image/image_id', five))),
      (2, message(entry(b'image/caption', message((1, text_a))),
                  entry(b'image/caption_ids', message((1, seven))))))
  ours = sequence_example.make(5, b'JPEG', ['a'], [7])
  assert tf.train.SequenceExample.FromString(record) == ours
  assert len(record) == ours.ByteSize()
  encoded_image, caption = parse(record)
  assert encoded_image == b'JPEG'
  assert caption.tolist() == [7]


def test_parser_reads_records_of_im2txt():
  encoded_image, caption = parse(im2txt_record().SerializeToString())
  assert encoded_image == b'\xff\xd8 picture'
  assert caption.dtype == 'int32'
  assert caption.tolist() == IDS


def test_parser_reads_what_the_writer_wrote():
  record = sequence_example.make(1, b'', ['<S>', '</S>'], [1, 2])
  encoded_image, caption = parse(record.SerializeToString())
  assert encoded_image == b''
  assert caption.tolist() == [1, 2]


def test_parser_takes_other_keys():
  record = im2txt_record('photo/jpeg', 'photo/ids').SerializeToString()
  encoded_image, caption = parse(
      record, image_feature='photo/jpeg', caption_feature='photo/ids')
  assert encoded_image == b'\xff\xd8 picture'
  assert caption.tolist() == IDS


def test_further_keys_do_not_matter():
  record = im2txt_record()
  record.context.feature['image/features'].CopyFrom(text(b'anything'))
  _, caption = parse(record.SerializeToString())
  assert caption.tolist() == IDS


@pytest.mark.parametrize('record', [
    im2txt_record(data_key='image/dada').SerializeToString(),
    im2txt_record(ids_key='image/captain_ids').SerializeToString(),
    b'no protocol buffer',
    b'',
])
def test_another_record_is_an_error(record):
  with pytest.raises(tf.errors.InvalidArgumentError):
    parse(record)
