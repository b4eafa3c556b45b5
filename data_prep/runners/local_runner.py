"""Run steps on this machine: in worker processes, or in this one."""

import collections
import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

from absl import logging
from tqdm import tqdm

from data_prep.runners import worker_pool
from data_prep.runners.runner import Label, Runner

# Workers start when there are more items, or images in shards; until then the
# work is done sooner than they import what they need, some four seconds.
FEW = 50
_TEXTS_AN_IMAGE = 40  # So many texts take as long as an image.
_MAX_CHUNK = 200  # Items that a worker is sent at a time.
_MIN_CHUNKS = 50  # Of many items, so that all workers are busy to the end.

_T = TypeVar('_T')


@contextlib.contextmanager
def local_runner(max_workers: int, few: int = FEW) -> Iterator[Runner]:
  """Make a runner of worker processes, which end with the `with` block.

  Args:
    max_workers: at most so many, and at most one a CPU.
    few: work of so many images, or fewer, is done in this process.

  Raises:
    ChildProcessError: a worker died.
  """
  workers = min(max_workers, worker_pool.available_cpus())

  def start() -> ProcessPoolExecutor:
    logging.info('%d worker processes', workers)
    # Each worker would import them for itself, and nltk takes a second.
    return stack.enter_context(worker_pool.worker_pool(workers, [
        'data_prep.shards.shard_writer', 'data_prep.shards.build', 'nltk']))

  with contextlib.ExitStack() as stack:
    yield _LazyRunner(start, few)


@contextlib.contextmanager
def in_this_process() -> Iterator[Runner]:
  """Make a runner for steps each of which keeps all CPUs busy."""
  yield _SerialRunner()


class _LazyRunner(Runner):
  """Do little work in this process; start workers for more."""

  def __init__(self, start: Callable[[], ProcessPoolExecutor], few: int):
    """Remember how to start the workers, and what is done without them."""
    self._workers = functools.cache(lambda: _LocalRunner(start()))
    self._few = few

  def _choose(self, images: float) -> Runner:
    return _SerialRunner() if images <= self._few else self._workers()

  def filter_map(
      self, function: Callable[[Any], Any], items: Sequence[Any], label: Label
  ) -> list[Any]:
    return self._choose(len(items)).filter_map(function, items, label)

  def count_words(
      self, function: Callable[[Any], Iterable[str]], items: Sequence[Any],
      label: Label,
  ) -> collections.Counter[str]:
    return self._choose(len(items) / _TEXTS_AN_IMAGE).count_words(
        function, items, label)

  def for_each(
      self, function: Callable[[Any], None], items: Sequence[Any],
      sizes: Sequence[int], label: Label,
  ) -> None:
    self._choose(sum(sizes)).for_each(function, items, sizes, label)


class _LocalRunner(Runner):
  """Give the items to worker processes; the first exception ends the work."""

  def __init__(self, pool: ProcessPoolExecutor):
    self._pool = pool

  def filter_map(
      self, function: Callable[[Any], Any], items: Sequence[Any], label: Label
  ) -> list[Any]:
    return [result
            for results in self._map_chunks(_filter_map, function, items, label)
            for result in results]

  def count_words(
      self, function: Callable[[Any], Iterable[str]], items: Sequence[Any],
      label: Label,
  ) -> collections.Counter[str]:
    counts: collections.Counter[str] = collections.Counter()
    for counted in self._map_chunks(_count_words, function, items, label):
      counts.update(counted)
    return counts

  def for_each(
      self, function: Callable[[Any], None], items: Sequence[Any],
      sizes: Sequence[int], label: Label,
  ) -> None:
    jobs = {self._pool.submit(function, item): size
            for item, size in zip(items, sizes, strict=True)}
    with _progress_bar(label, sum(sizes)) as bar:
      for job in as_completed(jobs):
        job.result()
        bar.update(jobs[job])

  def _map_chunks(
      self,
      work: Callable[[Callable[[Any], Any], Sequence[Any]], _T],
      function: Callable[[Any], Any],
      items: Sequence[Any],
      label: Label,
  ) -> Iterator[_T]:
    """Yield `work(function, chunk)` of each chunk of the items, in order.

    `pool.map` would cancel the chunks left over at an exception. A pool whose
    workers are then killed fails on cancelled jobs.
    """
    size = min(_MAX_CHUNK, max(1, len(items) // _MIN_CHUNKS))
    chunks = [items[i:i + size] for i in range(0, len(items), size)]
    jobs = [self._pool.submit(work, function, chunk) for chunk in chunks]
    jobs.reverse()
    with _progress_bar(label, len(items)) as bar:
      for chunk in chunks:
        yield jobs.pop().result()
        bar.update(len(chunk))


class _SerialRunner(Runner):
  """Do one item after the other in this process."""

  def filter_map(
      self, function: Callable[[Any], Any], items: Sequence[Any], label: Label
  ) -> list[Any]:
    with _progress_bar(label, len(items)) as bar:
      return _filter_map(_advancing(bar, function), items)

  def count_words(
      self, function: Callable[[Any], Iterable[str]], items: Sequence[Any],
      label: Label,
  ) -> collections.Counter[str]:
    with _progress_bar(label, len(items)) as bar:
      return _count_words(_advancing(bar, function), items)

  def for_each(
      self, function: Callable[[Any], None], items: Sequence[Any],
      sizes: Sequence[int], label: Label,
  ) -> None:
    total = sum(sizes)
    done = 0
    with _progress_bar(label, total) as bar:
      for item, size in zip(items, sizes, strict=True):
        function(item)
        done += size
        bar.update(size)
        if bar.disable:  # No terminal.
          logging.info('%s: %d of %d %ss', label.doing, done, total,
                       label.unit)


def _advancing(
    bar: 'tqdm[Any]', function: Callable[[Any], _T]
) -> Callable[[Any], _T]:
  """Return the function; each call of it also moves the bar by one."""
  def advance(item: Any) -> _T:
    result = function(item)
    bar.update()
    return result

  return advance


def _filter_map(
    function: Callable[[Any], Any], items: Sequence[Any]
) -> list[Any]:
  return [result for result in map(function, items) if result is not None]


def _count_words(
    function: Callable[[Any], Iterable[str]], items: Sequence[Any]
) -> collections.Counter[str]:
  counts: collections.Counter[str] = collections.Counter()
  for words in map(function, items):
    counts.update(words)
  return counts


def _progress_bar(label: Label, total: int) -> 'tqdm[Any]':
  return tqdm(desc=label.doing, total=total, unit=label.unit, disable=None)
