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
from im2txt.inputs import exif, image_decoder

_MAX_SIDE = 65_500  # Pixels of a JPEG, in libjpeg.


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
    with image_decoder.opened(data) as image:
      is_turned = exif.orientation_of(image) != 1
      if image_decoder.is_plain_jpeg(data, image):
        # At an eighth of the size the whole file is read, in less time.
        image.draft(None, (1, 1))
        image.load()
      else:
        _encode(image, data, image_format)
  # Pillow's decoders raise exceptions of any kind at damaged files.
  except Exception as error:
    return Check(image_decoder.problem_of(error))
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
  with image_decoder.opened(data) as image:
    large = 0 < image_format.max_side < max(image.size)
    if not image_decoder.is_plain_jpeg(data, image) or large:
      return _encode(image, data, image_format)
    turn = exif.orientation_of(image)
    return data if turn == 1 else _encode_turned(image, turn)


def _read_file(path: str) -> bytes:
  # Opening a pipe would wait for ever.
  if not file_system.isfile(path):
    raise FileNotFoundError(f'{path}: no such file')
  with file_system.open(path, 'rb') as f:
    return f.read()


def _encode(
    image: Image.Image, data: bytes, image_format: ImageFormat
) -> bytes:
  decoded = image_decoder.decode(image, data, image_format.max_side)
  if max(decoded.size) > _MAX_SIDE:
    raise OSError(f'{decoded.width} x {decoded.height} pixels do not fit a '
                  f'JPEG, which has at most {_MAX_SIDE} a side')
  jpeg = io.BytesIO()
  decoded.save(jpeg, 'JPEG', quality=image_format.quality)
  return jpeg.getvalue()


def _encode_turned(image: JpegImagePlugin.JpegImageFile, turn: int) -> bytes:
  """Return a JPEG turned upright, of the quality that it has."""
  jpeg = io.BytesIO()
  exif.turn(image, turn).save(
      jpeg, 'JPEG', qtables=image.quantization,
      subsampling=JpegImagePlugin.get_sampling(image))
  return jpeg.getvalue()
