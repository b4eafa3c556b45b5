"""Refuse to replace a file that this tool did not write."""

import re
from collections.abc import Iterable

from im2txt.files import file_system

IMAGE_SUFFIXES = (
    '.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.gif', '.bmp', '.webp', '.tif',
    '.tiff', '.heic', '.heif', '.avif', '.ppm', '.pgm')
_HEAD = 4096  # Bytes in which an earlier result is recognised.


def check(
    flag: str, path: str, earlier: re.Pattern[bytes] | None, *,
    is_image: bool = False, inputs: Iterable[str] = (),
    overwrite: bool = False,
) -> None:
  """Refuse an output that would destroy what this tool did not write.

  An empty file may be replaced.

  Args:
    flag: the flag that names the output, without dashes.
    path: the output.
    earlier: is found at the beginning of earlier results of the same kind;
      None: they cannot be told from other files.
    is_image: whether the output is an image.
    inputs: files that are read.
    overwrite: whether --overwrite is given.

  Raises:
    ValueError: the output is an input, has the suffix of something else, or
      is there and no earlier result.
  """
  given = f'--{flag}={path}'
  place = file_system.realpath(path)
  if any(file_system.realpath(name) == place for name in inputs):
    raise ValueError(f'{given} is one of the files to be read; name another '
                     'file to write to')
  if not is_image and path.lower().endswith(IMAGE_SUFFIXES):
    raise ValueError(f'{given} has the name of an image, but no image is '
                     'written there; is the value of a flag missing?')
  if overwrite or not file_system.isfile(path):
    return
  with file_system.open(path, 'rb') as f:
    head = f.read(_HEAD)
  if head and not (earlier and earlier.search(head)):
    raise ValueError(f'{given} is there already, and no earlier result of this '
                     'command; name another file, or give --overwrite')
