"""Remembers results as they come, so that work that is cut off can go on.

A file of lines: what the results depend on, then a result each, flushed a
batch at a time. Whatever a crash leaves of the last line is dropped.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from absl import logging

from im2txt.files import file_system, json_files, locks
from im2txt.results import result as results


class Journal:
  """Results by file; only their places are kept in memory."""

  def __init__(self, path: str, settings: Mapping[str, Any]):
    """Opens a journal, or begins one.

    Args:
      path: the journal.
      settings: what the results depend on, as JSON can say it.

    Raises:
      OSError: it cannot be read or written, or another process has it open.
      ValueError: it is of other settings, or no journal.
    """
    self._path = path
    self._places: dict[str, int] = {}
    self._failed: set[str] = set()
    self._file = file_system.open(path, 'a+b')
    try:
      locks.file(self._file, path, 'writing these results')
      self._read(settings)
    except BaseException:
      self._file.close()
      raise

  def __contains__(self, file: str) -> bool:
    """Whether the image has been read and captioned."""
    return file in self._places and file not in self._failed

  def __len__(self) -> int:
    """Number of images of which there are results."""
    return len(self._places)

  def append(self, batch: Iterable[results.Result]) -> None:
    """Adds results; later ones of the same file count."""
    self._file.seek(0, os.SEEK_END)
    for result in batch:
      self._note(result, self._file.tell())
      self._file.write(results.to_line(result).encode('ascii'))
    self._file.flush()

  def result(self, file: str) -> results.Result:
    """Reads the result of an image."""
    self._file.seek(self._places[file])
    return results.from_line(self._file.readline())

  def __enter__(self) -> 'Journal':
    """Returns itself."""
    return self

  def __exit__(self, exc_type: type | None, *_: object) -> None:
    """Closes it; if all went well, or nothing has come yet, it is removed."""
    # Removed while it is locked: it must not be another's by then.
    if exc_type is None or not self._places:
      file_system.remove(self._path)
    self._file.close()

  def _note(self, result: results.Result, place: int) -> None:
    self._places[result.file] = place
    (self._failed.discard if result.error is None
     else self._failed.add)(result.file)

  def _read(self, settings: Mapping[str, Any]) -> None:
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
    place = self._file.tell()
    while (line := self._file.readline()).endswith(b'\n'):
      try:
        self._note(results.from_line(line), place)
      except ValueError as error:
        raise ValueError(f'{self._path} is damaged ({error}); delete it to '
                         'begin again') from None
      place = self._file.tell()
    self._file.truncate(place)

  def _difference(self, first: bytes, settings: Mapping[str, Any]) -> str:
    try:
      theirs = dict(json_files.parse(first))
    except (ValueError, TypeError):
      return 'by another program'
    name = next((name for name in {**settings, **theirs}
                 if theirs.get(name) != settings.get(name)), None)
    return f'with {name} {theirs.get(name)!r}, not {settings.get(name)!r}'


def resume(
    journal: Journal, files: Sequence[str],
    caption: Callable[[list[str]], Iterable[list[results.Result]]],
) -> Iterator[results.Result]:
  """Caption what the journal does not have, then read all from there.

  Args:
    journal: of results.
    files: images; one that comes twice is captioned once.
    caption: captions images, batch by batch.

  Yields:
    A result for each of the files.
  """
  todo = [file for file in dict.fromkeys(files) if file not in journal]
  if len(journal):
    logging.info('going on where it stopped: %d images are left', len(todo))
  for batch in caption(todo) if todo else ():
    journal.append(batch)
  yield from map(journal.result, files)
