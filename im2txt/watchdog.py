"""Ends a process that TensorFlow keeps waiting for ever."""

import threading
import time

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
    self.alive()

  def watch(self) -> None:
    """Begins."""
    self.alive()
    threading.Thread(target=self._watch, daemon=True).start()

  def alive(self) -> None:
    """Something has happened."""
    self._last = time.monotonic()

  def _watch(self) -> None:
    while (left := self._last + self._secs - time.monotonic()) > 0:
      time.sleep(left)
    command_line.end_at_once(self._error)
