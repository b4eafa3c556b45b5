"""Judges and reads picture files, by content and not by name.

TensorFlow's decode_jpeg must be able to read what goes into a record, so a
picture that is no plain JPEG is re-encoded, and one that cannot be decoded is
found before any record is written.
"""

import io
import os
import warnings
from typing import NamedTuple

from PIL import Image

MAX_PIXELS = 100_000_000
# Pillow knows more kinds, but some of them run other programs (EPS).
FORMATS = ('JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'PPM')
_JPEG_END = b'\xff\xd9'


class Verdict(NamedTuple):
  """What became of the check of one picture file.

  Attributes:
    problem: why the file is no usable picture; None where it is one.
    reencode: its bytes are not a JPEG that TensorFlow reads, its pixels are.
  """
  problem: str | None = None
  reencode: bool = False


def judge(path: str) -> Verdict:
  """Decodes a picture file fully and says what to do with it."""
  try:
    data = _read_file(path)
    picture = _decode(data)
    if _is_plain_jpeg(data, picture):
      return Verdict()
    _encode(picture)
  # Damaged files make Pillow raise whatever its decoders stumble over.
  except Exception as error:
    reason = ' '.join(str(error).split())
    return Verdict(problem=reason or type(error).__name__)
  return Verdict(reencode=True)


def read(path: str, reencode: bool) -> bytes:
  """Returns the JPEG that goes into the record.

  Args:
    path: a file that `judge` found no problem with.
    reencode: as `judge` said.

  Raises:
    OSError: the file is gone, or no longer the picture it was.
  """
  data = _read_file(path)
  return _encode(_decode(data)) if reencode else data


def _read_file(path: str) -> bytes:
  # Opening a pipe would wait for ever.
  if not os.path.isfile(path):
    raise FileNotFoundError(f'{path}: no such file')
  with open(path, 'rb') as f:
    return f.read()


def _decode(data: bytes) -> Image.Image:
  with warnings.catch_warnings():
    # MAX_PIXELS is checked here; odd metadata is nobody's concern.
    warnings.simplefilter('ignore')
    try:
      picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.UnidentifiedImageError:
      raise OSError('not a picture' if data else 'empty file') from None
    if picture.width * picture.height > MAX_PIXELS:
      raise OSError(f'{picture.width} x {picture.height} pixels are more than '
                    f'{MAX_PIXELS // 10**6} megapixels')
    picture.load()
  return picture


def _is_plain_jpeg(data: bytes, picture: Image.Image) -> bool:
  # Pillow calls a JPEG with further pictures behind it (phones write them)
  # MPO. It forgives a missing end marker, TensorFlow does not.
  return (picture.format in ('JPEG', 'MPO') and picture.mode in ('RGB', 'L')
          and data.endswith(_JPEG_END))


def _encode(picture: Image.Image) -> bytes:
  if picture.mode.startswith('I;16'):
    # Pillow would clip 16-bit grey to its darkest 256 shades.
    picture = picture.point(lambda shade: shade / 256).convert('L')
  if picture.has_transparency_data:
    picture = picture.convert('RGBA')
    white = Image.new('RGBA', picture.size, 'white')
    picture = Image.alpha_composite(white, picture)
  jpeg = io.BytesIO()
  picture.convert('RGB').save(jpeg, 'JPEG', quality=95)
  return jpeg.getvalue()
