"""The EXIF orientation of an image, without TensorFlow.

A camera that is held on its side stores the pixels as its sensor has them, and
how to turn them as a number from 1 to 8 in the tag Orientation (Exif 2.32,
section 4.6.4 A).
"""

from typing import Literal

from PIL import Image

ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4  # Types of a tag's value.
# By orientation, from 2 on: what turns the image upright.
_TRANSPOSITIONS = (
    Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90)


def orientation_of(image: Image.Image) -> int:
  """Return the orientation of an image that Pillow has opened, 1 to 8.

  It is 1 for a TIFF, which Pillow turns itself.
  """
  if image.format == 'TIFF':
    return 1
  if image.format == 'PNG' and 'exif' not in image.info:
    image.load()  # It may stand behind the pixels.
  return _read(image.info.get('exif') or b'')


def _read(data: bytes) -> int:
  """Read the orientation as `orientation` does in the graph.

  Pillow's own reader gives all tags up where another one is damaged.
  """
  data = data.removeprefix(b'Exif\0\0')
  order: Literal['little', 'big']
  if data.startswith(b'II*\0'):
    order = 'little'
  elif data.startswith(b'MM\0*'):
    order = 'big'
  else:
    return 1

  def integer(position: int, length: int) -> int:
    return int.from_bytes(
        data[position:position + length].ljust(length, b'\0'), order)

  directory = min(integer(4, 4), len(data))
  count = min(integer(directory, 2), max(len(data) - directory - 2, 0) // 12)
  value = 1
  for entry in range(directory + 2, directory + 2 + 12 * count, 12):
    size = {_SHORT: 2, _LONG: 4}.get(integer(entry + 2, 2))
    if (integer(entry, 2) == ORIENTATION and size
        and integer(entry + 4, 4) == 1):
      value = integer(entry + 8, size)
  return value if 1 <= value <= 8 else 1


def turn(image: Image.Image, orientation: int) -> Image.Image:
  """Return an image turned upright."""
  if orientation == 1:
    return image
  return image.transpose(_TRANSPOSITIONS[orientation - 2])
