"""Draw sheets that show the attention of each word on the image."""

import contextlib
import io
import os
import textwrap
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from im2txt.files import atomic_files, file_system
from im2txt.results.result import Result, Write

_COLUMNS = 5
_IMAGE = 240   # Pixels, the longer side.
_NARROWEST = 96  # Pixels that a word has under an image, at the least.
_MARGIN = 16
_LINE = 22
_PAPER, _INK, _FAINT = 'white', '#202020', '#6b6b6b'


@contextlib.contextmanager
def write(folder: str) -> Iterator[Write]:
  """Write a sheet for each image, each atomically.

  Args:
    folder: created if absent. The sheet of `surf.png` is
      `surf.attention.jpg`, so that it never overwrites the image; that of
      another `surf.png`, from another folder, `surf-2.attention.jpg`.

  Yields:
    A function to be called with each result. Those without a thumbnail, or
    without attention to their best caption, are left out.

  Raises:
    OSError: the folder can't be made, or a sheet can't be written.
  """
  file_system.makedirs(folder)
  names: dict[str, str] = {}  # By file: an image captioned twice has one sheet.
  taken: set[str] = set()

  def add(result: Result) -> None:
    if (result.error is not None or result.thumbnail is None
        or not result.captions or result.captions[0].attention is None):
      return
    if result.file not in names:
      names[result.file] = _free_name(result.file, taken)
    sheet = io.BytesIO()
    draw(result).save(sheet, 'JPEG', quality=90)
    atomic_files.write_bytes(
        os.path.join(folder, names[result.file]), sheet.getvalue())

  yield add


def draw(result: Result) -> Image.Image:
  """Draw an image plain, then once for each word of its best caption.

  A word's weights are laid over the image as in Xu et al. 2015
  (https://arxiv.org/abs/1502.03044, section 5.4): enlarged bilinearly, bright
  where the model looked and dark elsewhere. They are scaled by that word's
  own maximum, so that brightness compares places, not words. The regions tile
  the central `result.visible_fraction` of each side; the rest, which the model
  does not see, is dark.

  Args:
    result: of an image; with a thumbnail, and a caption with attention.
  """
  caption = result.captions[0]
  assert result.thumbnail is not None  # See above.
  with Image.open(io.BytesIO(result.thumbnail)) as thumbnail:
    ratio = _IMAGE / max(thumbnail.size)
    image = thumbnail.convert('RGB').resize(
        [max(1, round(side * ratio)) for side in thumbnail.size])
  cells = [(os.path.basename(result.file), _FAINT, image)]
  for word, weights in zip(
      caption.words, caption.relative_attention, strict=True):
    cells.append(
        (word, _INK, _overlay(image, weights, result.visible_fraction)))

  columns = min(_COLUMNS, len(cells))
  width = max(image.width, _NARROWEST)
  font = ImageFont.load_default(15)
  title = textwrap.wrap(
      _printable(f'{caption.text} (p={caption.probability:.6f})'),
      int((columns * (width + _MARGIN) - _MARGIN) / font.getlength('n')))
  top = _MARGIN + len(title) * _LINE
  height = image.height + _LINE + _MARGIN
  sheet = Image.new('RGB', (
      columns * (width + _MARGIN) + _MARGIN,
      top + -(-len(cells) // columns) * height), _PAPER)
  pen = ImageDraw.Draw(sheet)
  for i, line in enumerate(title):
    pen.text((_MARGIN, _MARGIN / 2 + i * _LINE), line, _INK, font)
  for i, (label, ink, cell) in enumerate(cells):
    row, column = divmod(i, columns)
    x = _MARGIN + column * (width + _MARGIN)
    y = top + row * height
    sheet.paste(cell, (x + (width - image.width) // 2, y))
    pen.text((x + width / 2, y + image.height + 2),
             _shorten(_printable(label), font, width), ink, font, anchor='ma')
  return sheet


def _overlay(
    image: Image.Image, weights: np.ndarray, visible_fraction: float
) -> Image.Image:
  """Brighten an image by weights.

  Args:
    image: RGB.
    weights: float32 [rows, columns], between 0 and 1.
    visible_fraction: the central fraction of each side that they cover.
  """
  size = [max(1, round(side * visible_fraction)) for side in image.size]
  enlarged = Image.fromarray(255 * weights).resize(
      size, Image.Resampling.BILINEAR)
  mask = Image.new('L', image.size, 0)
  mask.paste(Image.fromarray(np.rint(np.asarray(enlarged)).astype(np.uint8)), (
      (image.width - size[0]) // 2, (image.height - size[1]) // 2))
  # Whatever the image: black, where the model looked, is lighter than white
  # elsewhere.
  return Image.composite(_mix(image, 'white', 0.4), _mix(image, 'black', 0.7),
                         mask)


def _mix(image: Image.Image, colour: str, share: float) -> Image.Image:
  """Blend an image with a colour; `share` is of the colour."""
  return Image.blend(image, Image.new('RGB', image.size, colour), share)


def _free_name(file: str, taken: set[str]) -> str:
  """Return the name of an image's sheet, and add it to those taken."""
  stem = os.path.splitext(os.path.basename(file))[0]
  # A name has 255 bytes at most, until it is whole some more of them.
  stem = os.fsdecode(os.fsencode(stem)[:200])
  name, number = stem, 1
  while name.casefold() in taken:  # To some file systems A is a.
    number += 1
    name = f'{stem}-{number}'
  taken.add(name.casefold())
  return f'{name}.attention.jpg'


def _printable(text: str) -> str:
  """Replace line ends and bytes that are no UTF-8, which cannot be drawn."""
  return ''.join(letter if letter.isprintable() else '?' for letter in text)


def _shorten(
    text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> str:
  """Shorten a text to so many pixels."""
  if font.getlength(text) <= width:
    return text
  text = text[:width]  # No letter is less than a pixel wide.
  while text and font.getlength(f'{text}...') > width:
    text = text[:-1]
  return f'{text}...'
