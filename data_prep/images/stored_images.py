"""Check image files and reads them as the JPEGs that records store.

The content of a file counts, not its name. TensorFlow's decode_jpeg must be
able to read what goes into a record. So an image that is no plain JPEG is
re-encoded, and one that cannot be decoded is found before any record is
written. Images may be shrunk here: that is cheaper once than at every step of
training.
"""

import io
from typing import NamedTuple

from PIL import Image

from im2txt.files import file_system
from im2txt.inputs import image_size

_JPEG_END = b'\xff\xd9'


class ImageFormat(NamedTuple):
  """How images are stored in records.

  Attributes:
    max_side: most pixels of the longer side; larger images are shrunk. 0
      shrinks none.
    quality: of JPEGs that are encoded here, 1 to 100.
  """
  max_side: int = 0
  quality: int = 95


def find_problem(path: str, image_format: ImageFormat) -> str | None:
  """Decode an image file fully; return why it is not usable, or None."""
  try:
    data = _read_file(path)
    with image_size.opened(data) as image:
      if _is_plain_jpeg(data, image):
        # At an eighth of the size the whole file is read, in less time.
        image.draft(None, (1, 1))
        image.load()
      else:
        _encode(image, image_format)
  # Pillow's decoders raise exceptions of any kind at damaged files.
  except Exception as error:
    reason = ' '.join(str(error).split())
    return reason or type(error).__name__
  return None


def read_jpeg(path: str, image_format: ImageFormat) -> bytes:
  """Return the JPEG that goes into the record.

  It is the file itself if that is a JPEG that TensorFlow reads and not too
  large.

  Args:
    path: a file in which `find_problem` found no problem.
    image_format: as `find_problem` had it.

  Raises:
    OSError: the file is gone or has changed.
  """
  data = _read_file(path)
  with image_size.opened(data) as image:
    large = 0 < image_format.max_side < max(image.size)
    if _is_plain_jpeg(data, image) and not large:
      return data
    return _encode(image, image_format)


def _read_file(path: str) -> bytes:
  # Opening a pipe would wait for ever.
  if not file_system.isfile(path):
    raise FileNotFoundError(f'{path}: no such file')
  with file_system.open(path, 'rb') as f:
    return f.read()


def _is_plain_jpeg(data: bytes, image: Image.Image) -> bool:
  # Pillow calls a JPEG with further images behind it (phones write them)
  # MPO. It forgives a missing end marker, TensorFlow does not.
  return (image.format in ('JPEG', 'MPO') and image.mode in ('RGB', 'L')
          and data.endswith(_JPEG_END))


def _encode(image: Image.Image, image_format: ImageFormat) -> bytes:
  if image.mode.startswith('I;16'):
    # Pillow would clip 16-bit grey to its darkest 256 shades.
    image = image.point(lambda shade: shade / 256).convert('L')
  if image.has_transparency_data:
    image = image.convert('RGBA')
    white = Image.new('RGBA', image.size, 'white')
    image = Image.alpha_composite(white, image)
  if image.mode != 'RGB':
    image = image.convert('RGB')
  if image_format.max_side:
    # A JPEG that is not decoded yet is decoded to at most three times the size.
    side = image_format.max_side
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
  jpeg = io.BytesIO()
  image.save(jpeg, 'JPEG', quality=image_format.quality)
  return jpeg.getvalue()
