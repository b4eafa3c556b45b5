"""What costs seconds to make is made by one process of the tests for all."""

import fcntl
import os
import pathlib
import shutil
from collections.abc import Callable

import pytest


class MadeOnce:
  """Folders that all workers of pytest-xdist share, or that one process has."""

  def __init__(self, tmp_path_factory: pytest.TempPathFactory):
    """Take the folder that the workers' own folders lie in."""
    own = tmp_path_factory.getbasetemp()
    parallel = 'PYTEST_XDIST_WORKER' in os.environ
    self._root = (own.parent if parallel else own) / 'shared'
    self._root.mkdir(exist_ok=True)

  def __call__(
      self, name: str, make: Callable[[pathlib.Path], object]
  ) -> pathlib.Path:
    """Return a folder, made by whichever process asks first.

    Args:
      name: of the folder; one for each thing to make.
      make: fills a new folder; what it raises is raised here, and the next
        process to ask tries anew.

    Returns:
      The folder, which nobody may change.
    """
    folder, done = self._root / name, self._root / f'{name}.done'
    with open(self._root / f'{name}.lock', 'w', encoding='utf-8') as lock:
      fcntl.flock(lock, fcntl.LOCK_EX)  # Until the file is closed.
      if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        make(folder)
        done.touch()
    return folder
