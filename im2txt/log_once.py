"""Warnings that a process logs once, however often their reason is met."""

import functools

from absl import logging


@functools.cache
def warn(message: str) -> None:
  """Log a warning, unless this process has logged it before."""
  logging.warning('%s', message)
