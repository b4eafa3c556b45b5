"""TFRecord files: their records, and the bad ones among them.

A record is named by its shard and its number there, counted from 0. TensorFlow
says what is wrong with a record but not with which one. So the shards are
looked through only after something went wrong, and this costs nothing before.

Nothing is read after a record whose checksum is wrong: TensorFlow's readers of
a shard end there.
"""

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tqdm
from absl import logging

from im2txt.files import file_system
from im2txt.inputs import graph_errors, sequence_example

tf1 = tf.compat.v1

# What a bad record does: end the program, or nothing, for it is left out.
STOP, SKIP = 'stop', 'skip'

# Bytes before and after those of a record: its length, and checksums.
HEAD_SIZE, TAIL_SIZE = 12, 4


class Fault(NamedTuple):
  """What is wrong with a record."""

  file: str
  number: int  # Of the record in the shard, counted from 0.
  reason: str
  is_damage: bool = False  # Whether nothing can be read from there on.

  def __str__(self) -> str:
    where = f'{self.file}, record {self.number}'
    return (f'{where}: the shard is damaged from there on: {self.reason}'
            if self.is_damage else f'{where}: {self.reason}')

  def error(self) -> ValueError:
    """Return the error that ends a program, with what its user can do."""
    advice = ('A damaged shard is made again if it is deleted and its command '
              'run once more; train, evaluate and cache_features leave bad '
              f'records out if given --bad_records={SKIP}')
    if self.reason.startswith(sequence_example.UNKNOWN_ID):
      advice = ('The shards were built with a vocabulary of more words: give '
                'theirs as --vocab_file, or a greater '
                '--config.model.vocab_size')
    return ValueError(f'{self} (records count from 0). {advice}')


def look_through(
    files: Sequence[str], check: Callable[[tf.Tensor], Any]
) -> Iterator[Fault | None]:
  """Check every record of shards.

  Args:
    files: the shards.
    check: builds, of a serialized record, string [], a graph that fails with
      an InvalidArgumentError if the record is bad.

  Yields:
    Of each record in order what is wrong with it, if anything.

  Raises:
    ValueError: a shard cannot be read at all.
  """
  plain = tf.autograph.experimental.do_not_convert
  # Without a GPU, whose memory is training's.
  with tf.Graph().as_default(), tf1.Session(
      config=tf1.ConfigProto(device_count={'GPU': 0})) as session:
    file = tf1.placeholder(tf.string, [])
    count = tf1.placeholder(tf.int64, [])
    iterator = tf1.data.make_initializable_iterator(
        tf.data.TFRecordDataset(file).take(count).map(
            plain(check), num_parallel_calls=tf.data.AUTOTUNE))
    run_check = session.make_callable(tf.nest.flatten(iterator.get_next()))
    for path in tqdm.tqdm(files, unit='shard', desc='checking records',
                          disable=None, leave=False):
      number, cut_off = _count_whole(path)
      session.run(iterator.initializer, {file: path, count: number})
      yield from _look_through_one(path, run_check, cut_off)


def _look_through_one(
    path: str, run_check: Callable[[], Any], cut_off: Fault | None
) -> Iterator[Fault | None]:
  number = 0
  try:
    while True:
      try:
        run_check()
        yield None
      except tf.errors.InvalidArgumentError as error:
        yield Fault(path, number, graph_errors.reason(error))
      number += 1
  except tf.errors.OutOfRangeError:
    if cut_off:
      yield cut_off
  except tf.errors.DataLossError as error:
    yield Fault(path, number, graph_errors.reason(error), is_damage=True)
  except tf.errors.OpError as error:
    raise ValueError(f'{path}: {graph_errors.reason(error)}') from None


def warn_of(faults: Sequence[Fault]) -> None:
  """Log what is left out."""
  for fault in faults:
    logging.warning('left out: %s', fault)
  damaged = sum(fault.is_damage for fault in faults)
  if faults:
    logging.warning(
        'left out in all: %d bad records%s', len(faults),
        f' and what follows {damaged} of them' if damaged else '')


def dataset(file: tf.Tensor, faults: Sequence[Fault]) -> tf.data.Dataset:
  """Return the records of a shard, string [] each, without the bad ones.

  Args:
    file: string [], the shard.
    faults: of any shards.
  """
  records = tf.data.TFRecordDataset(file)
  if not faults:
    return records
  here = tf.equal([fault.file for fault in faults], file)
  numbers = tf.constant([fault.number for fault in faults], tf.int64)
  bad = tf.boolean_mask(numbers, here)
  damage = tf.boolean_mask(
      numbers, here & [fault.is_damage for fault in faults])
  plain = tf.autograph.experimental.do_not_convert
  # The least of none is more than any shard has.
  return records.take(tf.reduce_min(damage)).enumerate().filter(
      plain(lambda number, _: tf.reduce_all(tf.not_equal(number, bad)))).map(
          plain(lambda _, record: record))


def read(
    file: str, faults: Sequence[Fault] = ()
) -> Iterator[tuple[int, bytes]]:
  """Yield number and bytes of each record of a shard, without the bad ones.

  Args:
    file: the shard.
    faults: of any shards.

  Raises:
    ValueError: the shard is damaged, and that is none of the faults.
  """
  known = {fault.number: fault for fault in faults if fault.file == file}
  number = 0
  try:
    whole, damage = _count_whole(file)
    for record in tf.data.TFRecordDataset(file).take(min(
        (fault.number for fault in known.values() if fault.is_damage),
        default=whole)).as_numpy_iterator():
      if number not in known:
        yield number, record
      number += 1
  except tf.errors.DataLossError as error:
    damage = Fault(file, number, graph_errors.reason(error), is_damage=True)
  except tf.errors.OpError as error:
    raise ValueError(f'{file}: {graph_errors.reason(error)}') from None
  if damage and number not in known:
    raise damage.error()


def _count_whole(path: str) -> tuple[int, Fault | None]:
  """Count a shard's records by their lengths, up to one that is cut off.

  TensorFlow takes a part of a length for the end of the file, and allocates as
  many bytes as a length says, whatever the file has.
  """
  number = 0
  try:
    left = file_system.size(path)
    with file_system.open(path, 'rb') as f:
      while left:
        head = f.read(HEAD_SIZE)
        size = HEAD_SIZE + TAIL_SIZE + (
            struct.unpack_from('<Q', head)[0] if len(head) == HEAD_SIZE else 0)
        if left < size:
          return number, Fault(
              path, number, 'truncated record, or a wrong length', True)
        f.seek(size - HEAD_SIZE, os.SEEK_CUR)
        left -= size
        number += 1
  except OSError as error:
    raise ValueError(f'{path}: {error.strerror or error}') from None
  return number, None
