"""Judges and reads image files, by content and not by name.

TensorFlow's decode_jpeg must be able to read what goes into a record, so an
image that is no plain JPEG is re-encoded, and one that cannot be decoded is
found before any record is written. Images may be shrunk on the way, for that
is cheaper once than at every step of training.
"""

import io
from typing import NamedTuple

from PIL import Image

from im2txt.files import file_system
from im2txt.inputs import image_size

_JPEG_END = b'\xff\xd9'


class Form(NamedTuple):
  """How images lie in records.

  Attributes:
    max_side: pixels that the longer side of a larger image is shrunk to; 0
      shrinks none.
    quality: of JPEGs that are encoded here, 1 to 100.
  """
  max_side: int = 0
  quality: int = 95


def problem(path: str, form: Form) -> str | None:
  """Decodes an image file fully; why it is no usable one, None where it is."""
  try:
    data = _read_file(path)
    with image_size.opened(data) as image:
      if _is_plain_jpeg(data, image):
        # An eighth of the size takes as much of the file but less time.
        image.draft(None, (1, 1))
        image.load()
      else:
        _encode(image, form)
  # Damaged files make Pillow raise whatever its decoders stumble over.
  except Exception as error:
    reason = ' '.join(str(error).split())
    return reason or type(error).__name__
  return None


def read(path: str, form: Form) -> bytes:
  """Returns the JPEG that goes into the record.

  Those are the file's bytes if it is a JPEG that TensorFlow reads and not too
  large a one.

  Args:
    path: a file that `problem` found none with.
    form: as `problem` was told.

  Raises:
    OSError: the file is gone, or no longer the image it was.
  """
  data = _read_file(path)
  with image_size.opened(data) as image:
    large = 0 < form.max_side < max(image.size)
    if _is_plain_jpeg(data, image) and not large:
      return data
    return _encode(image, form)


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


def _encode(image: Image.Image, form: Form) -> bytes:
  if image.mode.startswith('I;16'):
    # Pillow would clip 16-bit grey to its darkest 256 shades.
    image = image.point(lambda shade: shade / 256).convert('L')
  if image.has_transparency_data:
    image = image.convert('RGBA')
    white = Image.new('RGBA', image.size, 'white')
    image = Image.alpha_composite(white, image)
  if image.mode != 'RGB':
    image = image.convert('RGB')
  if form.max_side:
    # A JPEG not decoded yet is decoded to no more than three times the size.
    image.thumbnail((form.max_side, form.max_side),
                      Image.Resampling.LANCZOS, reducing_gap=3.0)
  jpeg = io.BytesIO()
  image.save(jpeg, 'JPEG', quality=form.quality)
  return jpeg.getvalue()
