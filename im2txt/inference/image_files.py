"""Which image files are meant by names, patterns, folders and lists."""

import os
from collections.abc import Iterable, Iterator

from im2txt.files import file_system

# What images in folders are told by; a file that is named may be called
# anything.
SUFFIXES = ('.jpg', '.jpeg', '.png', '.gif', '.bmp', '.webp')


def find(meant: str) -> list[str]:
  """Finds the files that a name, pattern or folder means.

  Args:
    meant: a file; a folder, of which all images are meant, those in folders
      within it too, but for links to folders; or a pattern of such. What
      exists is not taken for a pattern.

  Returns:
    The files, in the order of their names.

  Raises:
    ValueError: there is none, or the file system cannot be reached.
  """
  try:
    matches = ([meant] if file_system.exists(meant)
               else file_system.glob(meant))
    if not matches:
      raise ValueError(f'{meant}: there is no such file')
    files = [file for match in matches for file in _within(match)]
  except OSError as error:
    raise ValueError(str(error)) from None
  if not files:
    raise ValueError(f'{meant}: there is no image in it, that is no file '
                     f'named {", ".join(SUFFIXES)}')
  return files


def find_all(meant: Iterable[str]) -> tuple[list[str], list[str]]:
  """Find the files that names, patterns and folders mean.

  Args:
    meant: see `find`.

  Returns:
    The files, and a line for each name that means none.
  """
  files, mistakes = [], []
  for name in meant:
    try:
      files += find(name)
    except ValueError as error:
      mistakes.append(str(error))
  return files, mistakes


def read_list(path: str) -> Iterator[str]:
  """Reads a file that has a name, pattern or folder in each line.

  Raises:
    OSError: it cannot be read.
  """
  # Names need not be UTF-8; `os.fsencode` undoes this. What editors of Windows
  # put before the first is not part of it.
  with file_system.open(path, encoding='utf-8-sig',
                        errors='surrogateescape') as f:
    for line in f:
      if line.strip():
        yield line.rstrip('\r\n')


def _within(path: str) -> Iterator[str]:
  if not file_system.isdir(path):
    yield path
    return
  for folder, folders, names in file_system.walk(path):
    folders.sort()  # In place: this is the order of the walk.
    yield from (os.path.join(folder, name) for name in sorted(names)
                if name.lower().endswith(SUFFIXES))
