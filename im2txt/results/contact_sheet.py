"""Draw a sheet of images with their captions and probabilities."""

import contextlib
import io
import os
import re
import textwrap
from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps, PngImagePlugin

from im2txt.files import atomic_files, file_system
from im2txt.results.result import Result, Write

MAX_IMAGES = 48
_WRITER = 'im2txt contact sheet'
# What sheets written here have at their beginning.
SHEET = re.compile(_WRITER.encode())
_COLUMNS = 4
IMAGE_SIDE = 240  # Pixels.
_MARGIN = 16
_LINE = 17
_LETTERS = 36  # Letters that fit beside each other under an image.
_CAPTION_LINES = 7
_PAPER, _INK, _FAINT, _BAR = 'white', '#202020', '#6b6b6b', '#c9dcf2'


def check_name(flag: str, path: str) -> None:
  """Refuse a sheet that could not be written.

  Raises:
    ValueError: its name, which the flag gives, has another suffix.
  """
  if not path.lower().endswith(('.png', '.jpg', '.jpeg')):
    raise ValueError(f'--{flag}={path} must end in .png or .jpg')


@contextlib.contextmanager
def write(path: str) -> Iterator[Write]:
  """Collect the first images, and draw them when the block ends.

  Args:
    path: the sheet; .png or .jpg.

  Yields:
    A function to be called with each result; one that has no thumbnail is
    left out.
  """
  images: list[Result] = []

  def add(result: Result) -> None:
    if result.thumbnail and len(images) < MAX_IMAGES:
      images.append(result)

  yield add
  if images:
    with (atomic_files.replacing(path) as temporary,
          file_system.open(temporary, 'wb') as f):
      if path.lower().endswith('.png'):
        text = PngImagePlugin.PngInfo()
        text.add_text('Software', _WRITER)
        draw(images).save(f, 'PNG', pnginfo=text)
      else:
        draw(images).save(f, 'JPEG', comment=_WRITER)


def draw(images: Sequence[Result]) -> Image.Image:
  """Draw the images in rows.

  A bar behind each caption shows its probability as a share of the first
  one's, all of it at the most.

  Args:
    images: at least one, in this order, each with a thumbnail.
  """
  cell_width = IMAGE_SIDE + _MARGIN
  cell_height = IMAGE_SIDE + (_CAPTION_LINES + 1) * _LINE + 2 * _MARGIN
  columns = min(_COLUMNS, len(images))
  rows = -(-len(images) // columns)
  sheet = Image.new('RGB', (columns * cell_width + _MARGIN,
                            rows * cell_height + _MARGIN), _PAPER)
  for i, result in enumerate(images):
    row, column = divmod(i, columns)
    _draw_result(sheet, result, _MARGIN + column * cell_width,
                 _MARGIN + row * cell_height)
  return sheet


def _shorten(name: str) -> str:
  """Shorten a file name to the width of an image."""
  return name if len(name) <= _LETTERS else f'{name[:_LETTERS - 3]}...'


def _draw_result(
    sheet: Image.Image, result: Result, x: int, y: int
) -> None:
  """Draw an image and its captions at pixel x, y of the sheet."""
  assert result.thumbnail is not None  # See `draw`.
  pen = ImageDraw.Draw(sheet)
  try:
    with Image.open(io.BytesIO(result.thumbnail)) as image:
      sheet.paste(ImageOps.fit(
          image.convert('RGB'), (IMAGE_SIDE, IMAGE_SIDE)), (x, y))
  except (OSError, Image.DecompressionBombError):
    # TensorFlow read it, Pillow cannot: the captions count for more.
    pen.rectangle((x, y, x + IMAGE_SIDE, y + IMAGE_SIDE), outline=_FAINT)
  font = ImageFont.load_default(12)
  y += IMAGE_SIDE + 4
  pen.text((x, y), _shorten(os.path.basename(result.file)), _FAINT, font)
  bottom = y + (_CAPTION_LINES + 1) * _LINE
  y += _LINE
  for caption in result.captions:
    lines = textwrap.wrap(
        f'{caption.text} (p={caption.probability:.6f})', _LETTERS)
    if y + len(lines) * _LINE > bottom:
      break
    share = caption.probability / max(
        result.captions[0].probability, 1e-300)
    pen.rectangle((x, y, x + min(1.0, share) * IMAGE_SIDE,
                   y + len(lines) * _LINE - 2), _BAR)
    for line in lines:
      pen.text((x + 2, y), line, _INK, font)
      y += _LINE
