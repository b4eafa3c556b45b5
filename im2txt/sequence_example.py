"""The record: how one picture and one of its captions lie on disk.

A record is a serialized tf.SequenceExample with im2txt's keys, so that shards
written by im2txt are read here and the other way round:

  context:        image/image_id     int64   the picture's id
                  image/data         bytes   the encoded picture
  feature lists:  image/caption      bytes   the caption's words, with markers
                  image/caption_ids  int64   the same as ids

Writer and parser stand side by side so that they cannot drift apart.
"""

import tensorflow as tf

IMAGE_ID = 'image/image_id'
IMAGE_DATA = 'image/data'
CAPTION = 'image/caption'
CAPTION_IDS = 'image/caption_ids'


def make(
    image_id: int, encoded_image: bytes, words: list[str], ids: list[int]
) -> tf.train.SequenceExample:
  """Makes the record of one image-caption pair.

  Args:
    image_id: the picture's id.
    encoded_image: its file's bytes (JPEG).
    words: the caption's words, markers included.
    ids: the same words' ids.
  """
  def int64(*values: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

  def text(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

  return tf.train.SequenceExample(
      context=tf.train.Features(feature={
          IMAGE_ID: int64(image_id),
          IMAGE_DATA: text(encoded_image),
      }),
      feature_lists=tf.train.FeatureLists(feature_list={
          CAPTION: tf.train.FeatureList(
              feature=[text(word.encode()) for word in words]),
          CAPTION_IDS: tf.train.FeatureList(
              feature=[int64(word_id) for word_id in ids]),
      }),
  )


def parse(
    serialized: tf.Tensor,
    image_feature: str = IMAGE_DATA,
    caption_feature: str = CAPTION_IDS,
) -> tuple[tf.Tensor, tf.Tensor]:
  """Parses one record in the graph.

  Args:
    serialized: string []; one serialized SequenceExample.
    image_feature: context key of the encoded picture.
    caption_feature: feature-list key of the caption's ids.

  Returns:
    encoded_image: string [].
    caption: int32 [T+1], markers included.
  """
  context, sequence = tf.io.parse_single_sequence_example(
      serialized,
      context_features={image_feature: tf.io.FixedLenFeature([], tf.string)},
      sequence_features={
          caption_feature: tf.io.FixedLenSequenceFeature([], tf.int64)},
  )
  return (context[image_feature],
          tf.cast(sequence[caption_feature], tf.int32))
