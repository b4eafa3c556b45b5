"""Read the captions of Conceptual Captions whose images are there.

The files are TSV without a header and without quotes, a line a caption:
`a dog in the snow<TAB>http://example.org/dog.jpg`. An optional third cell is
the path of the image in the image folder. Without it the file is named after
the URL, see `image_name`.
"""

import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from absl import logging

from data_prep.datasets.captioned_images import (
    CaptionedImage,
    Splits,
    image_path,
)
from data_prep.images.image_fetcher import RemoteImage
from im2txt.files import file_system, text_files
from im2txt.text import caption_rows

_ENDINGS = ('', '.bmp', '.gif', '.jpeg', '.jpg', '.png', '.ppm', '.tif',
            '.tiff', '.webp')
_DIGEST = re.compile('[0-9a-f]{64}')


class Row(NamedTuple):
  """One caption.

  Attributes:
    where: FILE:LINE.
    caption: as the data set has it.
    url: of the image.
    file: the image's path in the image folder; '' if `url` gives its name.
  """
  where: str
  caption: str
  url: str
  file: str


def image_name(url: str) -> str:
  """Return the name of an image's file, without its ending (if it has one)."""
  return hashlib.sha256(url.encode()).hexdigest()


def read_splits(captions_files: Mapping[str, str], image_dir: str) -> Splits:
  """Collect the captions of every image that is there.

  An image of an earlier split is left out of a later one. Its id is the number
  of its first row, counted from 1 through all files. So it stays the same when
  more images are there.

  Args:
    captions_files: file by split, the training split first.
    image_dir: folder of the images.

  Raises:
    ValueError: a file has another format, or none of its images is there.
    OSError: a file or the folder cannot be read.
  """
  folder = _ImageFolder(image_dir)
  splits: dict[str, dict[str, CaptionedImage]] = {}
  # First file of a URL, by the hash of the URL, if the data set names files.
  named: dict[str, str] = {}
  number = 0
  for split, captions_file in captions_files.items():
    images: dict[str, CaptionedImage] = {}
    first, missing, repeated = number, 0, 0
    for row in _read_rows(captions_file):
      number += 1
      path, exists = folder.locate(row)
      if not exists:
        missing += 1
        continue
      if row.file:
        path = named.setdefault(image_name(row.url), path)
      if any(path in earlier for earlier in splits.values()):
        repeated += 1
      elif path in images:
        images[path].captions.append(row.caption)
      else:
        images[path] = CaptionedImage(number, path, [row.caption])
    left_out = (f'{missing} rows have no image in {image_dir}, {repeated} have '
                'one of an earlier split')
    if not images:
      raise ValueError(
          f'{captions_file}: none of its {number - first} rows is left: '
          f'{left_out}; --help says how images are named and fetched')
    splits[split] = images
    logging.info('%s: %d captions of %d images; left out: %s', split,
                 number - first - missing - repeated, len(images), left_out)
  return {split: list(images.values()) for split, images in splits.items()}


def missing_images(
    captions_files: Mapping[str, str], image_dir: str
) -> Iterator[RemoteImage]:
  """Yield the missing image of each row; one of several rows comes repeatedly.

  Args:
    captions_files: file by split.
    image_dir: folder of the images.

  Raises:
    ValueError: a file has another format.
    OSError: a file or the folder cannot be read.
  """
  folder = _ImageFolder(image_dir)
  for captions_file in captions_files.values():
    for row in _read_rows(captions_file):
      path, exists = folder.locate(row)
      if not exists:
        if row.file:  # Its temporary file must be possible, too.
          image_path(image_dir, f'{row.file}.tmp', row.where)
        yield RemoteImage(row.url, path)


class _ImageFolder:
  """The images of a folder, listed once: there may be millions."""

  def __init__(self, folder: str):
    self._folder = folder
    self._endings: dict[bytes, str] = {}  # By the hash that is the name.
    for name in file_system.list_files(folder):
      stem, ending = os.path.splitext(name)
      if ending.lower() in _ENDINGS and _DIGEST.fullmatch(stem):
        digest = bytes.fromhex(stem)
        # If there are several, the same one each time.
        self._endings[digest] = min(sys.intern(ending),
                                    self._endings.get(digest, ending))

  def locate(self, row: Row) -> tuple[str, bool]:
    """Return the path of a row's image and whether it is there."""
    if row.file:
      path = image_path(self._folder, row.file, row.where)
      return path, file_system.isfile(path)
    name = image_name(row.url)
    ending = self._endings.get(bytes.fromhex(name))
    return (os.path.join(self._folder, name + (ending or '')),
            ending is not None)


def _read_rows(captions_file: str) -> Iterator[Row]:
  for number, line in text_files.lines(captions_file):
    where = f'{captions_file}:{number}'
    if not line.strip():
      continue
    cells = [cell.strip() for cell in line.split('\t')]
    if len(cells) not in (2, 3):
      raise ValueError(f'{where}: not of the form CAPTION<TAB>URL or '
                       f'CAPTION<TAB>URL<TAB>FILE, but {len(cells)} cells')
    caption, url, *file = cells
    if not caption:
      raise ValueError(f'{where}: the caption is empty; remove or fill it')
    caption_rows.check_text(caption, f'{where}: the caption')
    if '://' not in url:
      raise ValueError(f'{where}: {url!r} is no URL; it must be the second '
                       'cell, behind the caption')
    yield Row(where, caption, url, *file or [''])
