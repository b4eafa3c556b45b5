"""Ends a process that TensorFlow keeps waiting for ever."""

import contextlib
import threading
import time
from collections.abc import Iterator

from im2txt import command_line


class Watchdog:
  """Ends the process when it has not been alive for too long.

  What opens and what closes a session waits for a server that is silent but
  not known to be dead, such as one without power, and minds no time-out.
  """

  def __init__(self, secs: float, error: Exception):
    """Does not watch yet.

    Args:
      secs: how long nothing may happen.
      error: what to say then.
    """
    self._secs = secs
    self._error = error
    self._deadline = float('inf')
    self._thread = None

  @contextlib.contextmanager
  def watching(self) -> Iterator[None]:
    """Watches, as long as the block goes on."""
    if self._thread is None:
      self._thread = threading.Thread(target=self._watch, daemon=True)
      self._thread.start()
    self._deadline = time.monotonic() + self._secs
    try:
      yield
    finally:
      self._deadline = float('inf')

  def alive(self) -> None:
    """Something has happened."""
    if self._deadline < float('inf'):
      self._deadline = time.monotonic() + self._secs

  def _watch(self) -> None:
    while time.monotonic() < self._deadline:
      time.sleep(min(1.0, self._secs))
    command_line.end_at_once(self._error)
