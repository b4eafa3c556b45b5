"""Writes one shard; the only step that needs TensorFlow."""

import os

import tensorflow as tf

from data_prep import images
from data_prep.shards import Pair, Shard, Wording
from im2txt import sequence_example, vocabulary


def make_record(pair: Pair, wording: Wording) -> bytes:
  """Reads the picture and returns the pair's serialized SequenceExample."""
  words = vocabulary.tokenize(
      pair.caption, wording.start_word, wording.end_word)
  example = sequence_example.make(
      image_id=pair.image_id,
      encoded_image=images.read(pair.path, pair.reencode),
      words=words,
      ids=[wording.vocab.word_to_id(word) for word in words])
  # Maps are otherwise written in any order, and a rerun would differ.
  return example.SerializeToString(deterministic=True)


def write_shard(shard: Shard, wording: Wording) -> None:
  """Writes one shard whole or not at all.

  Args:
    shard: the file, which other processes may be writing, too.
    wording: turns its captions into words and ids.

  Raises:
    OSError: a picture cannot be read or the shard not written.
  """
  temporary = f'{shard.path}.{os.getpid()}.tmp'
  try:
    with tf.io.TFRecordWriter(temporary) as writer:
      for pair in shard.pairs:
        writer.write(make_record(pair, wording))
  except tf.errors.OpError as error:
    raise OSError(f'cannot write {shard.path}: {error.message}') from None
  os.replace(temporary, shard.path)
