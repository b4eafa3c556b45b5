"""Check image files and read them as the JPEGs that records store.

The content of a file counts, not its name. TensorFlow's decode_jpeg must be
able to read what goes into a record. So an image that is no plain JPEG is
re-encoded, and one that cannot be decoded is found before any record is
written. Images may be shrunk here: that is cheaper once than at every step of
training. They are turned upright here, so that whoever reads the records need
not know how.
"""

import io
from typing import NamedTuple

from PIL import Image, JpegImagePlugin

from im2txt.files import file_system
from im2txt.inputs import exif, image_size

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


class Check(NamedTuple):
  """What is known of an image file before it is stored."""

  problem: str | None  # Why it cannot be used; None: it can.
  is_turned: bool = False  # Whether it is stored otherwise than it lies.


def check(path: str, image_format: ImageFormat) -> Check:
  """Decode an image file fully, to see whether it can be used."""
  try:
    data = _read_file(path)
    with image_size.opened(data) as image:
      is_turned = exif.orientation_of(image) != 1
      if _is_plain_jpeg(data, image):
        # At an eighth of the size the whole file is read, in less time.
        image.draft(None, (1, 1))
        image.load()
      else:
        _encode(image, image_format)
  # Pillow's decoders raise exceptions of any kind at damaged files.
  except Exception as error:
    reason = ' '.join(str(error).split())
    return Check(reason or type(error).__name__)
  return Check(None, is_turned)


def read_jpeg(path: str, image_format: ImageFormat) -> bytes:
  """Return the JPEG that goes into the record.

  It is the file itself if that is a JPEG that TensorFlow reads, not too large
  and upright.

  Args:
    path: a file in which `check` found no problem.
    image_format: as `check` had it.

  Raises:
    OSError: the file is gone or has changed.
  """
  data = _read_file(path)
  with image_size.opened(data) as image:
    large = 0 < image_format.max_side < max(image.size)
    if not _is_plain_jpeg(data, image) or large:
      return _encode(image, image_format)
    turn = exif.orientation_of(image)
    return data if turn == 1 else _encode_turned(image, turn)


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
  turn = exif.orientation_of(image)
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
  exif.turn(image, turn).save(
      jpeg, 'JPEG', quality=image_format.quality)
  return jpeg.getvalue()


def _encode_turned(image: JpegImagePlugin.JpegImageFile, turn: int) -> bytes:
  """Return a JPEG turned upright, of the quality that it has."""
  jpeg = io.BytesIO()
  exif.turn(image, turn).save(
      jpeg, 'JPEG', qtables=image.quantization,
      subsampling=JpegImagePlugin.get_sampling(image))
  return jpeg.getvalue()
