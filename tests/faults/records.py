"""Shards with records that cannot be used, under training and evaluation."""

import pathlib
import shutil
from collections.abc import Callable

import tensorflow as tf
from bench import Row, Workplace, error_of, tail
from tasks import Task

from im2txt.inputs import sequence_example, tfrecords

_BAD = 1  # The record that is made a bad one, counted from 0.


def _cut(shard: pathlib.Path) -> None:
  shard.write_bytes(shard.read_bytes()[:_start(shard) + 9])


def _flip(shard: pathlib.Path) -> None:
  content = bytearray(shard.read_bytes())
  content[_start(shard) + 9] ^= 4
  shard.write_bytes(content)


def _start(shard: pathlib.Path) -> int:
  return tfrecords.HEAD_SIZE + sum(
      tfrecords.HEAD_SIZE + len(record) + tfrecords.TAIL_SIZE
      for number, record in tfrecords.read(str(shard)) if number < _BAD)


def _with(
    change: Callable[[tf.train.SequenceExample], None]
) -> Callable[[pathlib.Path], None]:
  def apply(shard: pathlib.Path) -> None:
    records = [record for _, record in tfrecords.read(str(shard))]
    example = tf.train.SequenceExample.FromString(records[_BAD])
    change(example)
    records[_BAD] = example.SerializeToString()
    sequence_example.write_records(str(shard), records)
  return apply


def _set_ids(example: tf.train.SequenceExample, ids: list[int]) -> None:
  features = example.feature_lists.feature_list[sequence_example.CAPTION_IDS]
  del features.feature[:]
  for word_id in ids:
    features.feature.add().int64_list.value.append(word_id)


_FAULTS = {
    'truncated': _cut,
    'a flipped bit in a record': _flip,
    'a word id outside the vocabulary': _with(
        lambda example: _set_ids(example, [0, 99, 1])),
    'a caption of length 0': _with(lambda example: _set_ids(example, [])),
    'a caption of length 1,000': _with(
        lambda example: _set_ids(example, [0, *[2] * 998, 1])),
    'a missing feature': _with(
        lambda example: example.context.feature.pop(
            sequence_example.IMAGE_DATA)),
}
_REST = ('truncated', 'a flipped bit in a record')


def bench(
    run: pathlib.Path, shards: pathlib.Path, training: Callable[[
        pathlib.Path], Task], place: Workplace,
) -> list[Row]:
  """Give each command each shard, to stop at and to skip.

  Args:
    run: a run folder.
    shards: the folder of the shards.
    training: makes the task of training on a folder of shards.
    place: where to do it.
  """
  rows = []
  for fault, break_it in _FAULTS.items():
    row = Row(f'a shard: {fault}',
              lost='it' + ' and those behind it' * (fault in _REST)
              + ', with --bad_records=skip')
    rows.append(row)
    for split in ('train', 'val'):
      shard, command = _broken(split, break_it, run, shards, training, place)
      stopped = place.run(command)
      skipped = place.run([*command, '--bad_records=skip'])
      row.tried += 2
      name = f'{shard}, record {_BAD}: '
      row.message = error_of(stopped)
      if name not in row.message:
        row.mistakes.append(tail(stopped))
      if skipped.returncode or f'left out: {name}' not in skipped.stderr:
        row.mistakes.append(tail(skipped))
  row = Row('a shard: empty')
  for split in ('train', 'val'):
    shard, command = _broken(split, lambda path: path.write_bytes(b''),
                             run, shards, training, place)
    finished = place.run(command)
    row.tried += 1
    said = [line for line in finished.lines if 'hold no record' in line]
    row.message = ''.join(said).partition(' ')[2]
    if finished.returncode or len(said) != 1 or str(shard) not in said[0]:
      row.mistakes.append(tail(finished))
  return [*rows, row]


def _broken(
    split: str, break_it: Callable[[pathlib.Path], None], run: pathlib.Path,
    shards: pathlib.Path, training: Callable[[pathlib.Path], Task],
    place: Workplace,
) -> tuple[pathlib.Path, list[str]]:
  """A shard that is broken, and a command that reads it."""
  copy, out = place.new('shards'), place.new()
  shutil.copytree(shards, copy)
  shard = min(copy.glob(f'{split}-*'))
  break_it(shard)
  if split == 'train':
    return shard, training(copy).command(out)
  shutil.copytree(run, out)
  return shard, ['im2txt.evaluate', f'--checkpoint_dir={out}', '--run_once',
                 f'--input_file_pattern={copy}/val-*-of-?????']
