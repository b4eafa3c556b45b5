"""Runs steps on this machine: in worker processes, or in this one."""

import collections
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from absl import logging
from tqdm import tqdm

from data_prep.runners import worker_pool
from data_prep.runners.runner import Label, Runner

_MAX_CHUNK = 200  # Items that a worker is sent at a time.
_MIN_CHUNKS = 50  # Of many items, so that all workers have some to the end.


@contextlib.contextmanager
def local_runner(max_workers: int) -> Iterator[Runner]:
  """Starts worker processes, which end with the block.

  Args:
    max_workers: at most, and at most one a CPU.

  Raises:
    ChildProcessError: a worker died.
  """
  workers = min(max_workers, worker_pool.available_cpus())
  logging.info('%d worker processes', workers)
  with worker_pool.worker_pool(
      workers, ['data_prep.shards.shard_writer']) as pool:
    yield _LocalRunner(pool)


@contextlib.contextmanager
def in_this_process() -> Iterator[Runner]:
  """Makes a runner for steps each of which keeps all CPUs busy."""
  yield _SerialRunner()


class _LocalRunner(Runner):
  """See the base class; what a step raises ends the work."""

  def __init__(self, pool: ProcessPoolExecutor):
    self._pool = pool

  def find(
      self, function: Callable[[Any], Any], items: Sequence[Any], label: Label
  ) -> list[Any]:
    """See the base class."""
    return [value for values in self._in_chunks(_find, function, items, label)
            for value in values]

  def count(
      self, function: Callable[[Any], Iterable[str]], items: Sequence[Any],
      label: Label, at_least: int,
  ) -> collections.Counter[str]:
    """See the base class."""
    counts = collections.Counter()
    for found in self._in_chunks(_count, function, items, label):
      counts.update(found)
    return _frequent(counts, at_least)

  def do(
      self, function: Callable[[Any], None], items: Sequence[Any],
      sizes: Sequence[int], label: Label,
  ) -> None:
    """See the base class."""
    jobs = {self._pool.submit(function, item): size
            for item, size in zip(items, sizes, strict=True)}
    with _bar(label, sum(sizes)) as bar:
      for job in as_completed(jobs):
        job.result()
        bar.update(jobs[job])

  def _in_chunks(
      self, work: Callable, function: Callable, items: Sequence[Any],
      label: Label,
  ) -> Iterator[Any]:
    """As pool.map does, but that cancels what is left to do at an exception.

    A pool whose workers are then ended fails over what is cancelled.
    """
    size = min(_MAX_CHUNK, max(1, len(items) // _MIN_CHUNKS))
    chunks = [items[i:i + size] for i in range(0, len(items), size)]
    jobs = [self._pool.submit(work, function, chunk) for chunk in chunks]
    jobs.reverse()
    with _bar(label, len(items)) as bar:
      for chunk in chunks:
        yield jobs.pop().result()
        bar.update(len(chunk))


class _SerialRunner(Runner):
  """See the base class; one item after the other."""

  def find(
      self, function: Callable[[Any], Any], items: Sequence[Any], label: Label
  ) -> list[Any]:
    """See the base class."""
    with _bar(label, len(items)) as bar:
      return [value for item in items
              if (value := _told(bar, function(item))) is not None]

  def count(
      self, function: Callable[[Any], Iterable[str]], items: Sequence[Any],
      label: Label, at_least: int,
  ) -> collections.Counter[str]:
    """See the base class."""
    with _bar(label, len(items)) as bar:
      counts = _count(lambda item: _told(bar, function(item)), items)
    return _frequent(counts, at_least)

  def do(
      self, function: Callable[[Any], None], items: Sequence[Any],
      sizes: Sequence[int], label: Label,
  ) -> None:
    """See the base class; where no bar can be shown, the log says how far."""
    total = sum(sizes)
    done = 0
    with _bar(label, total) as bar:
      for item, size in zip(items, sizes, strict=True):
        function(item)
        done += size
        bar.update(size)
        if bar.disable:
          logging.info('%s: %d of %d %ss', label.doing, done, total,
                       label.unit)


def _told(bar: tqdm, value: Any) -> Any:
  """Moves the bar by one and passes the value on."""
  bar.update()
  return value


def _frequent(
    counts: collections.Counter[str], at_least: int
) -> collections.Counter[str]:
  return collections.Counter({
      word: count for word, count in counts.items() if count >= at_least})


def _find(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
  return [value for value in map(function, items) if value is not None]


def _count(
    function: Callable[[Any], Iterable[str]], items: Sequence[Any]
) -> collections.Counter[str]:
  counts = collections.Counter()
  for words in map(function, items):
    counts.update(words)
  return counts


def _bar(label: Label, total: int) -> tqdm:
  return tqdm(desc=label.doing, total=total, unit=label.unit, disable=None)
