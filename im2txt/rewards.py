"""CIDEr-D of drawn captions, computed in worker processes.

Nothing here needs TensorFlow, so that workers start soon.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

from im2txt import cider
from im2txt.worker_pool import available_cpus, worker_pool

# Captions of a picture, as word ids.
Captions = Sequence[Sequence[int]]

# Drawn and people's captions of pictures -> rewards of the drawn ones.
Score = Callable[[Sequence[Captions], Sequence[Captions]],
                 Future[list[list[float]]]]

_scorer: cider.CiderD  # A worker's own.


@contextlib.contextmanager
def workers(scorer: cider.CiderD) -> Iterator[Score]:
  """Starts worker processes; they end with the block.

  Args:
    scorer: each gets a copy of it.

  Yields:
    A function that begins to score and returns what will hold the rewards.

  Raises:
    ChildProcessError: a worker died.
  """
  # What draws and trains meanwhile needs cores too.
  number = max(1, available_cpus() // 2)
  with worker_pool(
      number, [__name__], 'the machine has too little for --self_critical; '
      'the same command goes on from the last checkpoint',
      _start, [scorer]) as pool:
    yield lambda drawn, written: pool.submit(_score, drawn, written)


def _start(scorer: cider.CiderD) -> None:
  global _scorer
  _scorer = scorer


def _score(
    drawn: Sequence[Captions], written: Sequence[Captions]
) -> list[list[float]]:
  return [_scorer.scores(candidates, references)
          for candidates, references in zip(drawn, written, strict=True)]
