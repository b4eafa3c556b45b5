"""Wait for the checkpoints that another process writes."""

import threading
from collections.abc import Iterator

from absl import logging

from im2txt.checkpoints import folder as checkpoints


def watch(
    folder: str, interval_secs: float,
    interrupted: threading.Event | None = None,
) -> Iterator[str]:
  """Yield a folder's newest whole checkpoint each time that is another one.

  `tf.train.checkpoints_iterator` does not suffice: it yields whatever the
  folder's `checkpoint` file names, a damaged checkpoint or one at the place
  where the folder lay before, and no event ends its wait.

  Args:
    folder: where they appear.
    interval_secs: time between two looks.
    interrupted: ends the wait once it is set; None: it never ends.

  Yields:
    A checkpoint's prefix. Those that come and go between two looks are left
    out.
  """
  interrupted = interrupted or threading.Event()
  last = None
  while not interrupted.is_set():
    newest = checkpoints.newest(folder)
    if newest is None:
      logging.info('%s has no checkpoint yet', folder)
    elif newest != last:
      last = newest
      yield newest
    interrupted.wait(interval_secs)
