"""The record: how an image and its captions lie on disk.

A record is a serialized tf.SequenceExample with im2txt's keys, so that shards
written by im2txt are read here and the other way round:

  context:        image/image_id     int64   the image's id
                  image/data         bytes   the encoded image
  feature lists:  image/caption      bytes   the caption's words, with markers
                  image/caption_ids  int64   the same as ids
                  image/raw_caption  bytes   what a person wrote, where the
                                             words say less; an entry a caption

In im2txt's layout each entry of a feature list is one word, and the record one
image-caption pair. In the layout `image` each entry is one whole caption, and
the record one image with all its captions; a feature cache is of this form,
with encoder outputs in place of `image/data`.

Writer and parser stand side by side so that they cannot drift apart.
"""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from im2txt.files import atomic_files
from im2txt.inputs import graph_errors

IMAGE_ID = 'image/image_id'
IMAGE_DATA = 'image/data'
CAPTION = 'image/caption'
CAPTION_IDS = 'image/caption_ids'
RAW_CAPTION = 'image/raw_caption'
# How the fault begins of an id that the model has no output for.
UNKNOWN_ID = 'word id ='


class Caption(NamedTuple):
  """A caption of a record."""

  words: Sequence[str]  # Markers included.
  ids: Sequence[int]
  raw: str = ''         # What a person wrote, where the words say less.

  @property
  def text(self) -> str:
    """The caption as people wrote it, or else its words."""
    return self.raw or ' '.join(self.words[1:-1])


class Record(NamedTuple):
  """A parsed record; n captions, one in im2txt's layout."""

  data: dict[str, tf.Tensor]  # string [], by context key
  captions: tf.RaggedTensor   # int32 [n, None], ids, markers included


def make_pair(
    image_id: int, encoded_image: bytes, caption: Caption
) -> tf.train.SequenceExample:
  """Make the record of one image-caption pair, in im2txt's layout.

  Args:
    image_id: the image's id.
    encoded_image: its file's bytes (JPEG).
    caption: its words and their ids.
  """
  return _make(
      image_id, {IMAGE_DATA: encoded_image},
      [_bytes([word]) for word in caption.words],
      [_int64([word_id]) for word_id in caption.ids],
      [caption.raw])


def make_image(
    image_id: int, data: Mapping[str, bytes], captions: Sequence[Caption]
) -> tf.train.SequenceExample:
  """Make the record of one image with all its captions.

  Args:
    image_id: the image's id.
    data: by context key; `IMAGE_DATA` or what stands in its place.
    captions: of at least two words each, as markers see to.
  """
  return _make(
      image_id, data,
      [_bytes(caption.words) for caption in captions],
      [_int64(caption.ids) for caption in captions],
      [caption.raw for caption in captions])


def write_records(file: str, records: Iterable[bytes]) -> None:
  """Write a shard whole or not at all; other processes may write it, too.

  Args:
    file: the shard.
    records: serialized, as with `deterministic=True`; maps are otherwise
      written in any order, and a rerun would differ.

  Raises:
    OSError: it cannot be written.
  """
  with atomic_files.replacing(file, shared=True) as temporary:
    with _explained(file):
      writer = tf.io.TFRecordWriter(temporary)
    try:
      for record in records:
        with _explained(file):
          writer.write(record)
    finally:
      with _explained(file):
        writer.close()


@contextlib.contextmanager
def _explained(file: str) -> Iterator[None]:
  """Turn TensorFlow's error about a file into one line."""
  try:
    yield
  except tf.errors.OpError as error:
    raise OSError(f'cannot write {file}: {graph_errors.reason(error)}'
                  ) from None


def captions_of(example: tf.train.SequenceExample) -> list[Caption]:
  """Return the captions of a record of either layout.

  Raises:
    ValueError: it has none, or not as many words as ids.
  """
  lists = example.feature_lists.feature_list
  words = _whole([[word.decode(errors='surrogateescape')
                   for word in feature.bytes_list.value]
                  for feature in lists[CAPTION].feature])
  ids = ids_of(example)
  if [len(x) for x in words] != [len(x) for x in ids]:
    raise ValueError(f'{CAPTION} and {CAPTION_IDS} do not hold the same words')
  raw = len(ids) * ['']
  if RAW_CAPTION in lists:  # Looking for it would put it there.
    raw = [text.decode(errors='surrogateescape')
           for feature in lists[RAW_CAPTION].feature
           for text in feature.bytes_list.value]
  if len(raw) != len(ids):
    raise ValueError(f'{RAW_CAPTION} holds {len(raw)} captions, {CAPTION} '
                     f'{len(ids)}')
  return list(map(Caption, words, ids, raw))


def ids_of(
    example: tf.train.SequenceExample, caption_feature: str = CAPTION_IDS
) -> list[list[int]]:
  """Return the word ids of each caption of a record of either layout.

  Raises:
    ValueError: it has none.
  """
  ids = [list(feature.int64_list.value) for feature
         in example.feature_lists.feature_list[caption_feature].feature]
  if not any(ids):
    raise ValueError(f'no word in feature list {caption_feature}')
  return _whole(ids)


def _whole(entries: list[list]) -> list[list]:
  """Return whole captions; entries of one word, im2txt's, are one together."""
  if max(map(len, entries), default=0) > 1:
    return entries
  return [list(itertools.chain.from_iterable(entries))]


def image_id_of(example: tf.train.SequenceExample) -> int:
  """Return the id of a record's image.

  Raises:
    ValueError: it has none.
  """
  ids = example.context.feature[IMAGE_ID].int64_list.value
  if len(ids) != 1:
    raise ValueError(f'no {IMAGE_ID}')
  return ids[0]


def parse(
    serialized: tf.Tensor,
    data_features: Sequence[str] = (IMAGE_DATA,),
    caption_feature: str = CAPTION_IDS,
    vocab_size: int = 0,
    longest: int = 0,
) -> Record:
  """Parse one record of either layout in the graph.

  That fails with an InvalidArgumentError if it is none, or if a caption is less
  than its markers.

  Args:
    serialized: string []; one serialized SequenceExample.
    data_features: context keys to read.
    caption_feature: feature-list key of the captions' ids.
    vocab_size: ids must be below this; 0: they may be any.
    longest: most ids of a caption; 0: any number.
  """
  data, sequence = tf.io.parse_single_sequence_example(
      serialized,
      context_features={key: tf.io.FixedLenFeature([], tf.string)
                        for key in data_features},
      sequence_features={caption_feature: tf.io.RaggedFeature(tf.int64)})
  entries = sequence[caption_feature]
  splits = entries.row_splits
  # Entries of one word are im2txt's: together they are one caption.
  one = tf.reduce_max(splits[1:] - splits[:-1]) <= 1
  splits = tf.cond(one, lambda: tf.stack([0, splits[-1]]), lambda: splits)
  ids = entries.flat_values
  lengths = splits[1:] - splits[:-1]
  with tf.control_dependencies([
      tf.debugging.Assert(
          tf.size(ids) > 0, [f'no word in feature list {caption_feature}']),
      _assert_within(
          lengths, 2, longest or lengths.dtype.max, 'a caption has',
          'words, both markers counted, and must have 2' + (
              f' to {longest} (max_sequence_length, and what the decoder '
              'can read)' if longest else '')),
      _assert_within(
          ids, 0, vocab_size - 1 if vocab_size else ids.dtype.max, UNKNOWN_ID,
          f'is not in [0, {vocab_size or "..."})')]):
    ids = tf.cast(ids, tf.int32)
  return Record(data, tf.RaggedTensor.from_row_splits(
      ids, splits, validate=False))


def _assert_within(
    values: tf.Tensor, least: int, most: int, before: str, after: str
) -> tf.Operation:
  """Assert the bounds of integers [.]; the error has one that is outside."""
  low, high = tf.reduce_min(values), tf.reduce_max(values)
  return tf.debugging.Assert(
      tf.reduce_all((values >= least) & (values <= most)),
      [before, tf.where(low < least, low, high), after])


def _make(image_id, data, words, ids, raw) -> tf.train.SequenceExample:
  lists = {CAPTION: words, CAPTION_IDS: ids}
  if any(raw):
    lists[RAW_CAPTION] = [_bytes([text]) for text in raw]
  return tf.train.SequenceExample(
      context=tf.train.Features(feature={
          IMAGE_ID: _int64([image_id]),
          **{key: _bytes([value]) for key, value in data.items()}}),
      feature_lists=tf.train.FeatureLists(feature_list={
          key: tf.train.FeatureList(feature=features)
          for key, features in lists.items()}))


def _int64(values: Sequence[int]) -> tf.train.Feature:
  return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _bytes(values: Sequence[str | bytes]) -> tf.train.Feature:
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=[
      value.encode(errors='surrogateescape') if isinstance(value, str)
      else value
      for value in values]))
