"""The EXIF orientation of an image, without TensorFlow.

A camera that is held on its side stores the pixels as its sensor has them, and
how to turn them as a number from 1 to 8 in the tag Orientation (Exif 2.32,
section 4.6.4 A).
"""

from PIL import Image

ORIENTATION = 0x0112
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
  exif = Image.Exif()
  try:
    exif.load(image.info.get('exif') or b'')
    value = exif.get(ORIENTATION, 1)
  except Exception:  # Pillow's readers raise nearly anything at damage.
    return 1
  return value if isinstance(value, int) and 1 <= value <= 8 else 1


def turn(image: Image.Image, orientation: int) -> Image.Image:
  """Return an image turned upright."""
  if orientation == 1:
    return image
  return image.transpose(_TRANSPOSITIONS[orientation - 2])
