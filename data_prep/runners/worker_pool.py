"""A pool of worker processes that all end with the work, however it ends."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, process
from multiprocessing import forkserver


def available_cpus() -> int:
  """Return the number of CPUs that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


@contextlib.contextmanager
def worker_pool(
    workers: int, preload: Sequence[str]
) -> Iterator[ProcessPoolExecutor]:
  """Make a pool of processes that share no memory with this one.

  The workers are killed when the `with` block ends, by an exception too.

  Args:
    workers: number of processes.
    preload: names of the modules that the workers' functions live in; each
      is imported once and not by every worker.

  Yields:
    The pool.

  Raises:
    ChildProcessError: a worker died.
  """
  # A plain fork after TensorFlow has started threads can hang.
  context = multiprocessing.get_context('forkserver')
  context.set_forkserver_preload(list(preload))
  not_ours = multiprocessing.active_children()
  pool = ProcessPoolExecutor(workers, context, initializer=_start_worker)
  try:
    _start_first_worker(pool)
    yield pool
  # EOFError or ConnectionError: the fork server itself died.
  except (process.BrokenProcessPool, EOFError, ConnectionError):
    raise ChildProcessError(
        'a worker process died; if memory ran out, lower --num_threads. '
        'The same command goes on from here') from None
  finally:
    # Killed, not asked to end: a dead worker may hold a lock that another one
    # needs to answer. Waiting for that answer would never end.
    for child in multiprocessing.active_children():
      if child not in not_ours:
        child.kill()
    pool.shutdown()


def _start_first_worker(pool: ProcessPoolExecutor) -> None:
  """Wait until the modules are imported, and hold back Ctrl-C until then.

  Interrupted earlier, the starting processes would print tracebacks.
  """
  interrupts: list[bool] = []
  # A program that starts with Ctrl-C ignored goes on ignoring it.
  handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    forkserver.ensure_running()
    signal.signal(signal.SIGINT, lambda *_: interrupts.append(True))
    pool.submit(os.getpid).result()
  finally:
    signal.signal(signal.SIGINT, handler)
  if interrupts:
    raise KeyboardInterrupt


def _start_worker() -> None:
  # Ctrl-C reaches every process of the terminal; the parent ends the workers.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
  # A killed parent cannot kill its workers; idle ones would wait for ever.
  parent = multiprocessing.parent_process()
  assert parent is not None  # This process is a worker.
  parent.join()
  os._exit(1)
