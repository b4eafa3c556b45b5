"""Runs steps on Apache Beam, which has runners for many machines.

Items travel as files, lines of JSON in a folder that all machines see, for a
pipeline that held them would be too large for most runners. Only the files'
names are dealt out. What a step finds comes back in the same way.
"""

import collections
import contextlib
import functools
import glob
import io
import itertools
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from absl import logging as absl_logging
from apache_beam.options.pipeline_options import PipelineOptions

from data_prep.runners.runner import Label, Runner
from im2txt.files import atomic_files, file_system

# Here and in its workers, which tell pages of each step and of each mistake.
logging.getLogger('apache_beam.runners').setLevel(logging.CRITICAL)

# In this process; Beam's own default would first look for a program to
# download.
_DEFAULT_OPTIONS = (
    '--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner',
    '--direct_running_mode=in_memory')

_MAX_LINES = 1000  # Of a file of items, which one worker goes through.
_MIN_FILES = 200   # Of many items, so that all workers have some to the end.
_ERROR = 'error-'


def parse(options: Sequence[str]) -> PipelineOptions:
  """Reads Beam's own pipeline options; it warns of those it does not know.

  Args:
    options: for example `--runner=FlinkRunner`; without any, everything runs
      in this process.

  Raises:
    ValueError: an option has no such value.
  """
  complaint = io.StringIO()
  try:
    with contextlib.redirect_stderr(complaint):
      parsed = PipelineOptions([*_DEFAULT_OPTIONS, *options])
      parsed.get_all_options(display_warnings=True)
  except SystemExit:  # So argparse ends a program.
    raise ValueError('--beam_options: '
                     + complaint.getvalue().strip().splitlines()[-1]) from None
  return parsed


@contextlib.contextmanager
def beam_runner(options: PipelineOptions, scratch: str) -> Iterator[Runner]:
  """Makes a runner.

  Args:
    options: Beam's own.
    scratch: existing folder for files of items, the same one on all machines;
      they are removed with the block, those of a killed program before it.
  """
  for left in file_system.glob(
      os.path.join(glob.escape(scratch), 'beam-*.tmp')):
    file_system.remove_tree(left)
  with file_system.scratch_folder(scratch, 'beam-', '.tmp') as folder:
    yield _BeamRunner(options, folder)


class _BeamRunner(Runner):
  """See the base class; each step is a pipeline."""

  def __init__(self, options: PipelineOptions, folder: str):
    self._options = options
    self._folder = folder

  def find(
      self, function: Callable[[Any], Any], items: Sequence[Any], label: Label
  ) -> list[Any]:
    """See the base class."""
    found = self._run(
        label, items, function,
        beam.Filter(lambda found: found[1] is not None))
    return [value for _, value in sorted(found, key=lambda found: found[0])]

  def count(
      self, function: Callable[[Any], Iterable[str]], items: Sequence[Any],
      label: Label, at_least: int,
  ) -> collections.Counter[str]:
    """See the base class; nothing but the sums comes back."""
    return collections.Counter(dict(self._run(
        label, items, function,
        'words' >> beam.FlatMap(lambda found: found[1]),
        'count' >> beam.combiners.Count.PerElement(),
        'frequent' >> beam.Filter(lambda counted: counted[1] >= at_least))))

  def do(
      self, function: Callable[[Any], None], items: Sequence[Any],
      sizes: Sequence[int], label: Label,
  ) -> None:
    """See the base class."""
    del sizes
    self._run(label, items, function, beam.Filter(lambda _: False))

  def _run(
      self, label: Label, items: Sequence[Any], function: Callable[[Any], Any],
      *steps: beam.PTransform,
  ) -> list[tuple[Any, Any]]:
    """Runs a pipeline.

    Args:
      label: of the step.
      items: each a line of a file.
      function: applied to each first; gives (its number, the result).
      *steps: what follows; gives pairs of a key, each but once, and a value
        that JSON has.

    Returns:
      These, in any order.
    """
    absl_logging.info('%s: %d', label.doing, len(items))
    folder = os.path.join(self._folder, uuid.uuid4().hex)
    file_system.makedirs(folder)
    try:
      with beam.Pipeline(options=self._options) as pipeline:
        values = (
            pipeline
            | 'files' >> beam.Create(list(_write_items(items, folder)))
            | 'spread' >> beam.Reshuffle()
            | 'items' >> beam.FlatMap(_read_lines)
            | 'apply' >> beam.Map(functools.partial(_apply, function, folder)))
        for step in steps:
          values |= step
        _ = values | 'write' >> beam.ParDo(_WriteResults(folder))
    except Exception as error:
      if 'KeyboardInterrupt' in str(error):  # Wrapped by Beam.
        raise KeyboardInterrupt from None
      noted = _noted(folder)
      if noted:
        raise noted from None
      raise
    # A runner that tried again may have written some twice.
    found = dict(itertools.chain.from_iterable(map(
        _read_lines, file_system.glob(
            os.path.join(glob.escape(folder), 'results-*.jsonl')))))
    file_system.remove_tree(folder)
    return list(found.items())


class _WriteResults(beam.DoFn):
  """Writes what comes into files, one a bundle."""

  def __init__(self, folder: str):
    self._folder = folder
    self._values = []

  def start_bundle(self) -> None:
    self._values = []

  def process(self, value: Any) -> None:
    self._values.append(value)

  def finish_bundle(self) -> None:
    if self._values:
      _write_lines(os.path.join(
          self._folder, f'results-{uuid.uuid4().hex}.jsonl'), self._values)


def _write_items(items: Sequence[Any], folder: str) -> Iterator[str]:
  """Writes items with their numbers, a line each; yields the files."""
  lines = min(_MAX_LINES, max(1, len(items) // _MIN_FILES))
  for first in range(0, len(items), lines):
    path = os.path.join(folder, f'items-{first:09d}.jsonl')
    _write_lines(path, enumerate(items[first:first + lines], first))
    yield path


def _write_lines(path: str, values: Iterable[Any]) -> None:
  with atomic_files.write(path) as f:
    f.writelines(f'{json.dumps(value)}\n' for value in values)


def _read_lines(path: str) -> Iterator[Any]:
  with file_system.open(path, encoding='utf-8') as f:
    yield from map(json.loads, f)


def _apply(
    function: Callable[[Any], Any], folder: str, numbered: tuple[int, Any]
) -> tuple[int, Any]:
  """Applies the function; leaves a note of what is wrong with the item."""
  number, item = numbered
  try:
    return number, function(item)
  except (OSError, ValueError) as error:
    # A runner tries again and then says it in pages.
    _write_lines(os.path.join(folder, f'{_ERROR}{uuid.uuid4().hex}.json'),
                 [isinstance(error, ValueError), str(error)])
    raise


def _noted(folder: str) -> Exception | None:
  """What an item was wrong with; None: it is something else that failed."""
  notes = file_system.glob(os.path.join(glob.escape(folder), f'{_ERROR}*.json'))
  if not notes:
    return None
  is_value, message = _read_lines(notes[0])
  return ValueError(message) if is_value else OSError(message)
