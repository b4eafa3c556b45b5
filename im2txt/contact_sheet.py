"""A sheet of pictures with their captions and probabilities, to look at."""

import io
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont, ImageOps

_COLUMNS = 4
_PICTURE = 240  # Pixels, a side.
_MARGIN = 16
_LINE = 17
_LETTERS = 36  # Letters that fit beside each other under a picture.
_CAPTION_LINES = 7
_PAPER, _INK, _FAINT, _BAR = 'white', '#202020', '#6b6b6b', '#c9dcf2'


class Entry(NamedTuple):
  """A picture with its captions, best first."""

  name: str
  encoded_image: bytes
  captions: Sequence[tuple[str, float]]  # sentence, probability


def draw(entries: Sequence[Entry]) -> Image.Image:
  """Draws the pictures in rows.

  A bar behind each caption shows its probability as a share of the best
  one's.

  Args:
    entries: what to show, in this order; at least one.
  """
  cell_width = _PICTURE + _MARGIN
  cell_height = _PICTURE + (_CAPTION_LINES + 1) * _LINE + 2 * _MARGIN
  columns = min(_COLUMNS, len(entries))
  rows = -(-len(entries) // columns)
  sheet = Image.new('RGB', (columns * cell_width + _MARGIN,
                            rows * cell_height + _MARGIN), _PAPER)
  for i, entry in enumerate(entries):
    row, column = divmod(i, columns)
    _draw_entry(sheet, entry, _MARGIN + column * cell_width,
                _MARGIN + row * cell_height)
  return sheet


def _shorten(name: str) -> str:
  return name if len(name) <= _LETTERS else f'{name[:_LETTERS - 3]}...'


def _draw_entry(sheet: Image.Image, entry: Entry, x: int, y: int) -> None:
  pen = ImageDraw.Draw(sheet)
  try:
    with Image.open(io.BytesIO(entry.encoded_image)) as picture:
      sheet.paste(
          ImageOps.fit(picture.convert('RGB'), (_PICTURE, _PICTURE)), (x, y))
  except (OSError, Image.DecompressionBombError):
    # TensorFlow read it, Pillow cannot: the captions count for more.
    pen.rectangle((x, y, x + _PICTURE, y + _PICTURE), outline=_FAINT)
  font = ImageFont.load_default(12)
  y += _PICTURE + 4
  pen.text((x, y), _shorten(entry.name), _FAINT, font)
  bottom = y + (_CAPTION_LINES + 1) * _LINE
  y += _LINE
  for sentence, probability in entry.captions:
    lines = textwrap.wrap(f'{sentence} (p={probability:.6f})', _LETTERS)
    if y + len(lines) * _LINE > bottom:
      break
    share = probability / max(entry.captions[0][1], 1e-300)
    pen.rectangle((x, y, x + min(1.0, share) * _PICTURE,
                   y + len(lines) * _LINE - 2), _BAR)
    for line in lines:
      pen.text((x + 2, y), line, _INK, font)
      y += _LINE
