"""Worker processes that leave nothing behind, however the work ends."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, process
from multiprocessing import forkserver


def available_cpus() -> int:
  """Number of CPUs that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


@contextlib.contextmanager
def worker_pool(
    workers: int, preload: Sequence[str]
) -> Iterator[ProcessPoolExecutor]:
  """Makes a pool of processes whose functions see nothing of this one.

  The end of the `with` block, by an interrupt or what else goes wrong too,
  ends the workers at once.

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
  # The forkserver's own death shows as an end of file, or of a connection.
  except (process.BrokenProcessPool, EOFError, ConnectionError):
    raise ChildProcessError(
        'a worker process died; if memory ran out, lower --num_threads. '
        'The same command goes on from here') from None
  finally:
    # They are not asked to end: one that died may have the lock that another
    # needs to answer, which would be waited for without end.
    for child in multiprocessing.active_children():
      if child not in not_ours:
        child.kill()
    pool.shutdown()


def _start_first_worker(pool: ProcessPoolExecutor) -> None:
  """Waits for the modules' import, and with Ctrl-C until that is over.

  Interrupted halfway, the processes being born would print tracebacks.
  """
  interrupts = []
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
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  # A killed parent can end nobody, and idle workers would wait for ever.
  multiprocessing.parent_process().join()
  os._exit(1)
