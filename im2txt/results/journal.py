"""Journal of results, from which interrupted work is resumed.

The file's first line says what the results depend on; each further line is a
result. It is flushed after each batch. An incomplete last line, which a crash
may leave, is dropped.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from absl import logging

from im2txt.files import file_system, json_files, json_lines, locks
from im2txt.results.result import Result, from_line, to_line


class Journal:
  """Results by file; memory holds only their offsets in the journal."""

  def __init__(self, path: str, settings: Mapping[str, Any]):
    """Open a journal, or create it.

    Args:
      path: the journal.
      settings: what the results depend on; JSON values.

    Raises:
      OSError: it cannot be read or written, or another process has it open.
      ValueError: it is of other settings, or no journal.
    """
    self._path = path
    self._offsets: dict[str, int] = {}
    self._failed: set[str] = set()
    self._file = file_system.open(path, 'a+b')
    try:
      locks.file(self._file, path, 'writing these results')
      self._read(settings)
    except BaseException:
      self._file.close()
      raise

  def __contains__(self, file: str) -> bool:
    """Return whether the image has been captioned without an error."""
    return file in self._offsets and file not in self._failed

  def __len__(self) -> int:
    """Return the number of images that have a result."""
    return len(self._offsets)

  def append(self, batch: Iterable[Result]) -> None:
    """Add results; of the same file the last one counts."""
    self._file.seek(0, os.SEEK_END)
    for result in batch:
      self._index(result, self._file.tell())
      self._file.write(to_line(result).encode('ascii'))
    self._file.flush()

  def result(self, file: str) -> Result:
    """Read the result of an image."""
    self._file.seek(self._offsets[file])
    return from_line(self._file.readline())

  def left(self, files: Iterable[str]) -> list[str]:
    """Return the images that are still to be captioned, each once."""
    left = [file for file in dict.fromkeys(files) if file not in self]
    if len(self):
      logging.info('going on where it stopped: %d images are left', len(left))
    return left

  def complete(
      self, files: Sequence[str], batches: Iterable[Iterable[Result]]
  ) -> Iterator[Result]:
    """Append results, then read those of all images.

    Args:
      files: all images.
      batches: results of those that were `left`, each appended as it comes.

    Yields:
      A result for each of the files.
    """
    for batch in batches:
      self.append(batch)
    yield from map(self.result, files)

  def __enter__(self) -> 'Journal':
    """Return itself."""
    return self

  def __exit__(self, exc_type: type | None, *_: object) -> None:
    """Close it; remove it if there was no error, or if it has no result."""
    # Removed while it is locked: it must not be another's by then.
    if exc_type is None or not self._offsets:
      file_system.remove(self._path)
    self._file.close()

  def _index(self, result: Result, offset: int) -> None:
    self._offsets[result.file] = offset
    if result.error is None:
      self._failed.discard(result.file)
    else:
      self._failed.add(result.file)

  def _read(self, settings: Mapping[str, Any]) -> None:
    """Check the first line, or write it, and index the results."""
    header = json.dumps(settings, sort_keys=True).encode('ascii') + b'\n'
    self._file.seek(0)
    first = self._file.readline()
    if first != header and header.startswith(first):  # New, or cut off.
      self._file.truncate(0)
      self._file.write(header)
      self._file.flush()
      return
    if first != header:
      raise ValueError(
          f'{self._path} is of work begun {self._difference(first, settings)}; '
          'finish that with its own flags, or delete the file')
    for offset, result in json_lines.recover(
        self._file, self._path, from_line, 'line of a journal',
        'delete the file to begin again', first_number=2):
      self._index(result, offset)

  def _difference(self, first: bytes, settings: Mapping[str, Any]) -> str:
    """Name the first setting that differs from those of the first line."""
    try:
      found = dict(json_files.parse(first))
    except (ValueError, TypeError):
      return 'by another program'
    name = next((name for name in {**settings, **found}
                 if found.get(name) != settings.get(name)), None)
    if name is None:
      return 'by another program'
    return f'with {name} {found.get(name)!r}, not {settings.get(name)!r}'
