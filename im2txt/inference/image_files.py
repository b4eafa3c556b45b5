"""Find the image files that names, patterns, folders and lists mean."""

import os
from collections.abc import Iterable, Iterator

from im2txt.files import file_system

# Of images in folders; a file that is named may have any suffix.
SUFFIXES = ('.jpg', '.jpeg', '.png', '.gif', '.bmp', '.webp')


def find(meant: str) -> list[str]:
  """Find the files that a name, pattern or folder means.

  Args:
    meant: a file; a folder, which means all images in it and in the folders
      within it, links to folders excepted; or a pattern of such. A name that
      exists is not read as a pattern.

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
  """Read a file that has a name, pattern or folder in each line.

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
  """Yield the images within a folder, or else the file itself."""
  if not file_system.isdir(path):
    yield path
    return
  for folder, folders, names in file_system.walk(path):
    folders.sort()  # In place: this is the order of the walk.
    yield from (os.path.join(folder, name) for name in sorted(names)
                if name.lower().endswith(SUFFIXES))
