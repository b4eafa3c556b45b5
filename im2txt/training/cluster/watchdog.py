"""A way out of TensorFlow calls that wait for ever."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator


class Watchdog:
  """Thread that ends the process after too long without a sign of life.

  Opening and closing a session ignore time-outs: they wait for ever for a
  server that is silent but not known to be dead, such as one without power.
  """

  def __init__(self, secs: float, end_process: Callable[[], None]):
    """Set the limit; nothing is watched yet.

    Args:
      secs: longest time without a sign of life.
      end_process: ends the process from any thread.
    """
    self._secs = secs
    self._end_process = end_process
    self._deadline = float('inf')
    self._thread = None

  @contextlib.contextmanager
  def watching(self) -> Iterator[None]:
    """Watch during a block."""
    if self._thread is None:
      self._thread = threading.Thread(target=self._watch, daemon=True)
      self._thread.start()
    self._deadline = time.monotonic() + self._secs
    try:
      yield
    finally:
      self._deadline = float('inf')

  def alive(self) -> None:
    """Give a sign of life."""
    if self._deadline < float('inf'):
      self._deadline = time.monotonic() + self._secs

  def _watch(self) -> None:
    while time.monotonic() < self._deadline:
      time.sleep(min(1.0, self._secs))
    self._end_process()
