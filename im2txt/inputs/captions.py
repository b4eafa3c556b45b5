"""The captions that shards hold, as text; for scoring, not for training."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import tensorflow as tf
import tqdm
from google.protobuf.message import DecodeError

from im2txt.inputs import sequence_example, tfrecords
from im2txt.inputs.shards import Shards
from im2txt.text import vocabulary


class ShardCaptions(NamedTuple):
  """The captions of shards, in their order.

  Attributes:
    of_images: captions of each image, in the order of their first records.
    first: of each record that is not left out beforehand, whether it is the
      first one of its image.
    words: captions of all images as a model reads them, where these are
      not all that people wrote.
    image_ids: of each image; two may have the same.
  """

  of_images: list[list[str]]
  first: list[bool]
  words: list[str]
  image_ids: list[int]

  def everything(self) -> list[str]:
    """Return all captions in either form."""
    return [caption for captions in (*self.of_images, self.words)
            for caption in captions]


def read(
    shards: Shards, left_out: Sequence[tfrecords.Fault] | None = None
) -> ShardCaptions:
  """Read all captions of shards of either layout.

  Args:
    shards: of either layout.
    left_out: of `bad_records.left_out`; records that lack the words of their
      captions are then left out too. None: they are errors.

  Raises:
    ValueError: a shard is damaged, or a record lacks the words of its
      captions.
  """
  of_image = {}
  first = []
  words = []
  image_ids = []
  wordless = []
  for file, number, record in _records(shards, left_out):
    try:
      example = tf.train.SequenceExample.FromString(record)
      captions = sequence_example.captions_of(example)
      image_id = sequence_example.image_id_of(example)
    except (DecodeError, ValueError) as error:
      fault = tfrecords.Fault(
          file, number, f'no image with captions in words: {error}')
      if left_out is None:
        raise fault.error() from None
      wordless.append(fault)
      first.append(False)
      continue
    image = _digest_of_image(example)
    first.append(image not in of_image)
    if first[-1]:
      image_ids.append(image_id)
    of_image.setdefault(image, []).extend(
        caption.text for caption in captions)
    words.extend(' '.join(caption.words[1:-1]) for caption in captions
                 if caption.raw)
  if wordless and not of_image:
    raise wordless[0].error()
  tfrecords.warn_of(wordless)
  return ShardCaptions(list(of_image.values()), first, words, image_ids)


def read_ids(
    shards: Shards, caption_feature: str,
    left_out: Sequence[tfrecords.Fault] | None = None,
) -> tuple[list[list[list[int]]], int]:
  """Read the captions of each image as word ids, markers included.

  Args:
    shards: of either layout.
    caption_feature: feature-list key of the captions' ids.
    left_out: of `bad_records.left_out`.

  Returns:
    The captions, and the number of records that they are in.

  Raises:
    ValueError: a shard is damaged, or a record has no ids.
  """
  of_image = {}
  num_records = 0
  for file, number, record in _records(shards, left_out):
    num_records += 1
    try:
      example = tf.train.SequenceExample.FromString(record)
      captions = sequence_example.ids_of(example, caption_feature)
    except (DecodeError, ValueError) as error:
      raise tfrecords.Fault(
          file, number, f'no image with captions: {error}').error() from None
    of_image.setdefault(_digest_of_image(example), []).extend(captions)
  return list(of_image.values()), num_records


def check_markers(
    shards: Shards, caption_feature: str, vocab: vocabulary.Vocabulary
) -> None:
  """Refuse shards whose captions are not between the markers.

  Only the first record is looked at, and one that cannot be read is left to
  who reads it.

  Args:
    shards: of either layout.
    caption_feature: feature-list key of the captions' ids.
    vocab: of their captions.

  Raises:
    ValueError: a caption does not begin with the start marker, or does not end
      with the end marker.
  """
  try:
    file, number, record = next(_records(shards, None))
    example = tf.train.SequenceExample.FromString(record)
    captions = sequence_example.ids_of(example, caption_feature)
  except (StopIteration, DecodeError, ValueError):
    return
  for ids in captions:
    problem = markers_problem(ids, vocab)
    if problem:
      raise tfrecords.Fault(file, number, problem).error()


def markers_problem(
    ids: Sequence[int], vocab: vocabulary.Vocabulary
) -> str | None:
  """Return what is wrong with the first or last id of a caption."""
  for word_id, marker, place in (
      (ids[0], vocab.start_id, 'begins'), (ids[-1], vocab.end_id, 'ends')):
    if word_id != marker:
      return (f'a caption {place} with word id {word_id} '
              f'({vocab.id_to_word(word_id)!r}), not with the marker '
              f'{vocab.id_to_word(marker)!r} ({marker}): shards of another '
              'vocabulary, or made without markers')
  return None


def _digest_of_image(example: tf.train.SequenceExample) -> bytes:
  # Two data sets may use the same ids.
  return hashlib.sha256(
      example.context.SerializeToString(deterministic=True)).digest()


def _records(
    shards: Shards, left_out: Sequence[tfrecords.Fault] | None
) -> Iterator[tuple[str, int, bytes]]:
  """Yield shard, number and bytes of each record."""
  for file in tqdm.tqdm(shards.files, unit='shard',
                        desc='reading captions', disable=None, leave=False):
    for number, record in tfrecords.read(file, left_out or ()):
      yield file, number, record
