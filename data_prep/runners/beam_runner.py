"""Run steps on Apache Beam, which has runners for many machines.

Items travel as files of JSON lines in a folder that all machines see: a
pipeline that held them would be too large for most runners. The pipeline has
only the names of these files. The results of a step come back in the same way.
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

# In this process and its workers: they log pages about each step and error.
logging.getLogger('apache_beam.runners').setLevel(logging.CRITICAL)

# In this process; Beam's own default would first look for a program to
# download.
_DEFAULT_OPTIONS = (
    '--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner',
    '--direct_running_mode=in_memory')

_MAX_LINES = 1000  # Of a file of items, which one worker goes through.
_MIN_FILES = 200   # Of many items, so that all workers are busy to the end.
_ERROR = 'error-'


def parse(options: Sequence[str]) -> PipelineOptions:
  """Parse Beam's own pipeline options; Beam warns of unknown ones.

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
  except SystemExit:  # Raised by argparse.
    raise ValueError('--beam_options: '
                     + complaint.getvalue().strip().splitlines()[-1]) from None
  return parsed


@contextlib.contextmanager
def beam_runner(options: PipelineOptions, scratch: str) -> Iterator[Runner]:
  """Make a runner.

  Args:
    options: Beam's own.
    scratch: existing folder for files of items, the same one on all machines.
      They are removed when the block ends; what a killed program left there is
      removed at its start.
  """
  for left in file_system.glob(
      os.path.join(glob.escape(scratch), 'beam-*.tmp')):
    file_system.remove_tree(left)
  with file_system.scratch_folder(scratch, 'beam-', '.tmp') as folder:
    yield _BeamRunner(options, folder)


class _BeamRunner(Runner):
  """Run each step as a pipeline."""

  def __init__(self, options: PipelineOptions, folder: str):
    self._options = options
    self._folder = folder

  def filter_map(
      self, function: Callable[[Any], Any], items: Sequence[Any], label: Label
  ) -> list[Any]:
    numbered = self._run(
        label, items, function,
        beam.Filter(lambda numbered: numbered[1] is not None))
    return [result for _, result in sorted(numbered, key=lambda pair: pair[0])]

  def count_words(
      self, function: Callable[[Any], Iterable[str]], items: Sequence[Any],
      label: Label,
  ) -> collections.Counter[str]:
    # Only the sums come back from the workers.
    return collections.Counter(dict(self._run(
        label, items, function,
        'words' >> beam.FlatMap(lambda numbered: numbered[1]),
        'count' >> beam.combiners.Count.PerElement())))

  def for_each(
      self, function: Callable[[Any], None], items: Sequence[Any],
      sizes: Sequence[int], label: Label,
  ) -> None:
    del sizes  # Beam shows no progress bar.
    self._run(label, items, function, beam.Filter(lambda _: False))

  def _run(
      self, label: Label, items: Sequence[Any], function: Callable[[Any], Any],
      *steps: beam.PTransform,
  ) -> list[tuple[Any, Any]]:
    """Run a pipeline.

    Args:
      label: of the step.
      items: each a line of a file.
      function: applied first to each item. The next step gets pairs of the
        item's number and the result.
      *steps: what follows. The last one returns pairs of a key, each only
        once, and a value that JSON has.

    Returns:
      The pairs, in any order.
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
      item_error = _read_item_error(folder)
      if item_error:
        raise item_error from None
      raise
    # A runner that retried a step may have written some results twice.
    found = dict(itertools.chain.from_iterable(map(
        _read_lines, file_system.glob(
            os.path.join(glob.escape(folder), 'results-*.jsonl')))))
    file_system.remove_tree(folder)
    return list(found.items())


class _WriteResults(beam.DoFn):
  """Write the values of each bundle into a file."""

  def __init__(self, folder: str):
    self._folder = folder
    self._values: list[Any] = []

  def start_bundle(self) -> None:
    self._values = []

  def process(self, value: Any) -> None:
    self._values.append(value)

  def finish_bundle(self) -> None:
    if self._values:
      _write_lines(os.path.join(
          self._folder, f'results-{uuid.uuid4().hex}.jsonl'), self._values)


def _write_items(items: Sequence[Any], folder: str) -> Iterator[str]:
  """Write items with their numbers, a line each; yield the files' paths."""
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
  """Apply the function; write what is wrong with the item into a file."""
  number, item = numbered
  try:
    return number, function(item)
  except (OSError, ValueError) as error:
    # Beam retries the item and then wraps its message in pages of others.
    _write_lines(os.path.join(folder, f'{_ERROR}{uuid.uuid4().hex}.json'),
                 [isinstance(error, ValueError), str(error)])
    raise


def _read_item_error(folder: str) -> Exception | None:
  """Return the error of an item; None if something else failed."""
  paths = file_system.glob(os.path.join(glob.escape(folder), f'{_ERROR}*.json'))
  if not paths:
    return None
  is_value, message = _read_lines(paths[0])
  return ValueError(message) if is_value else OSError(message)
