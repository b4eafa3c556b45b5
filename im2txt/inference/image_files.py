"""Find the image files that names, patterns, folders and lists mean."""

import collections
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from im2txt.files import file_system, overwriting
from im2txt.inputs import image_decoder

# Of folders, in which systems and programs keep copies of images; as those
# whose names begin with a dot.
_OF_SYSTEMS = frozenset((
    '@eaDir', '__MACOSX', '$RECYCLE.BIN', '#recycle', 'lost+found',
    'System Volume Information'))


class Found(NamedTuple):
  """What names, patterns and folders mean.

  Attributes:
    files: the images, in order.
    mistakes: a line for each name that means none.
    left_out: how many files of folders are no images, by their suffix.
  """

  files: list[str]
  mistakes: list[str]
  left_out: collections.Counter[str]

  def describe_left_out(self) -> str:
    """Return e.g. '3 files are not images: 2 .txt, 1 without suffix'."""
    kinds = ', '.join(f'{number} {kind or "without suffix"}'
                      for kind, number in self.left_out.most_common())
    return f'{self.left_out.total()} files are not images: {kinds}'


def find(meant: str) -> Found:
  """Find the files that a name, pattern or folder means.

  Args:
    meant: a file; a folder, which means all images in it and in the folders
      within it, links to folders and hidden files excepted; or a pattern of
      such. A name that exists is not read as a pattern.

  Returns:
    The files, in the order of their names.

  Raises:
    ValueError: there is none, or the file system cannot be reached.
  """
  found = Found([], [], collections.Counter())
  try:
    matches = ([meant] if file_system.exists(meant)
               else file_system.glob(meant))
    if not matches:
      raise ValueError(f'{meant}: there is no such file')
    for match in matches:
      if file_system.isdir(match):
        _look_into(match, found)
      else:
        found.files.append(match)
  except OSError as error:
    raise ValueError(str(error)) from None
  if not found.files:
    raise ValueError(f'{meant}: there is no image in it' + (
        f'; {found.describe_left_out()}' if found.left_out else ''))
  return found


def find_all(meant: Iterable[str]) -> Found:
  """Find the files that names, patterns and folders mean, see `find`."""
  found = Found([], [], collections.Counter())
  for name in meant:
    try:
      files, _, left_out = find(name)
    except ValueError as error:
      found.mistakes.append(str(error))
    else:
      found.files.extend(files)
      found.left_out.update(left_out)
  return found


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


def _look_into(path: str, found: Found) -> None:
  """Add the images within a folder."""
  for folder, folders, names in file_system.walk(path):
    # In place: this is the order of the walk.
    folders[:] = sorted(name for name in folders if not _is_hidden(name))
    for name in sorted(names):
      if _is_hidden(name):
        continue
      file = os.path.join(folder, name)
      if _is_image(file):
        found.files.append(file)
      else:
        found.left_out[os.path.splitext(name)[1].lower()] += 1


def _is_hidden(name: str) -> bool:
  return name.startswith('.') or name in _OF_SYSTEMS


def _is_image(path: str) -> bool:
  """Return whether a file has the name of an image, or begins like one."""
  if path.lower().endswith(overwriting.IMAGE_SUFFIXES):
    return True
  if not file_system.isfile(path):  # Opening a pipe would wait for ever.
    return False
  return image_decoder.is_image(file_system.read_part(
      path, 0, image_decoder.HEAD_BYTES))
