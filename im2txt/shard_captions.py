"""The captions that shards hold, as text; for scoring, not for training."""

from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf
import tqdm
from google.protobuf.message import DecodeError

from im2txt import inputs, sequence_example


class ShardCaptions(NamedTuple):
  """What shards hold, in their order.

  Attributes:
    of_image: captions by picture's id, in the order of their first records.
    first: of each record, whether it is the first one of its picture.
  """

  of_image: dict[int, list[str]]
  first: list[bool]


def read(pattern: str) -> ShardCaptions:
  """Reads all captions of shards of either layout.

  Args:
    pattern: comma-separated patterns of shards.

  Raises:
    ValueError: no shard matches, one is damaged, or a record lacks the words
      of its captions or its picture's id.
  """
  found = ShardCaptions({}, [])
  for where, record in _records(pattern):
    try:
      example = tf.train.SequenceExample.FromString(record)
      image_ids = example.context.feature[
          sequence_example.IMAGE_ID].int64_list.value
      if len(image_ids) != 1:
        raise ValueError(f'no {sequence_example.IMAGE_ID}')
      captions = sequence_example.captions_of(example)
    except (DecodeError, ValueError) as error:
      raise ValueError(f'{where}: no picture with captions in words: {error}'
                       ) from None
    image_id = image_ids[0]
    found.first.append(image_id not in found.of_image)
    found.of_image.setdefault(image_id, []).extend(
        ' '.join(caption.words[1:-1]) for caption in captions)
  return found


def _records(pattern: str) -> Iterator[tuple[str, bytes]]:
  """Yields SHARD, record NUMBER and the record."""
  for file in tqdm.tqdm(inputs.find_shards(pattern), unit='shard',
                        desc='reading captions', disable=None, leave=False):
    try:
      records = tf.data.TFRecordDataset(file).as_numpy_iterator()
      for number, record in enumerate(records):
        yield f'{file}, record {number}', record
    except tf.errors.OpError as error:
      raise ValueError(f'{file} is damaged: {error.message}') from None
