"""The decoder of image files, the same for builders and for captioning.

TensorFlow decodes plain JPEGs, see `is_plain_jpeg`; Pillow all other images,
and JPEGs that are too large as a whole.
"""

import contextlib
import functools
import importlib.util
import io
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image, JpegImagePlugin, features

from im2txt.inputs import exif

# Decoding takes memory, and a file of a few kilobytes can claim any size.
MAX_PIXELS = 100_000_000
# Pillow knows more kinds, but some of them run other programs (EPS).
_FORMATS = ('JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'PPM', 'AVIF')
_REDUCTIONS = (1, 2, 4, 8)  # In which a JPEG can be decoded.
_JPEG_END = b'\xff\xd9'
# What files of other kinds begin with, after so many bytes.
_OTHERS = (
    (0, b'%PDF', 'a PDF'), (0, b'%!PS', 'PostScript'), (0, b'8BPS', 'a PSD'),
    (0, b'\0\0\0\x0cjP  ', 'JPEG 2000'), (0, b'\xff\x0a', 'JPEG XL'),
    (0, b'\0\0\0\x0cJXL ', 'JPEG XL'), (0, b'<svg', 'SVG'),
    (0, b'<?xml', 'XML or SVG'), (0, b'<!DOCTYPE', 'HTML'),
    (0, b'<html', 'HTML'), (4, b'ftypcrx', "a camera's raw file (CR3)"),
    (4, b'ftypisom', 'a video'), (4, b'ftypmp4', 'a video'),
    (4, b'ftypqt', 'a video'), (0, b'\x1aE\xdf\xa3', 'a video'),
    (0, b'PK\x03\x04', 'a ZIP archive'))
_HEIF = tuple(b'ftyp' + brand for brand in (
    b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1'))
_HEIF_AND_AVIF = (*_HEIF, b'ftypavif', b'ftypavis')
HEAD_BYTES = 12
_HEADS = (b'\xff\xd8\xff', b'\x89PNG\r\n', b'GIF87a', b'GIF89a', b'II*\0',
          b'MM\0*')


class TooLargeError(OSError):
  """The image has more than `MAX_PIXELS`."""


@contextlib.contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
  """Yield an image whose pixels are not decoded yet.

  Args:
    data: the file's bytes.

  Raises:
    OSError: it is no image that can be read here, or too large a one.
  """
  with warnings.catch_warnings():
    # The size is checked here; odd metadata is nobody's concern.
    warnings.simplefilter('ignore')
    try:
      image = Image.open(io.BytesIO(data), formats=readable_formats())
    except Image.UnidentifiedImageError:
      raise OSError(_what_else(data)) from None
    except Image.DecompressionBombError as error:
      if not data.startswith(b'\xff\xd8\xff'):
        raise TooLargeError(str(error)) from None
      image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    if _reduction(image, data) is None:
      raise TooLargeError(
          f'{image.width} x {image.height} pixels are more than '
          f'{MAX_PIXELS // 10**6} megapixels')
    yield image


def is_plain_jpeg(data: bytes, image: Image.Image) -> bool:
  """Return whether TensorFlow decodes a file that Pillow has opened.

  It is a JPEG of three colours or of grey, whole, and not too large.
  """
  # Pillow calls a JPEG with further images behind it (phones write them)
  # MPO. It forgives a missing end marker, TensorFlow does not.
  return (image.format in ('JPEG', 'MPO') and image.mode in ('RGB', 'L')
          and data.endswith(_JPEG_END) and _is_small(image, 1))


def decode(
    image: Image.Image, data: bytes, max_side: int = 0
) -> Image.Image:
  """Decode an opened image: RGB, upright, white behind what is transparent.

  Of an animation it is the first frame. A JPEG of more than MAX_PIXELS is
  decoded at a half, a quarter or an eighth of its size.

  Args:
    image: as `opened` yields it.
    data: the file's bytes.
    max_side: pixels of the longer side; larger images are shrunk. 0 shrinks
      none.

  Raises:
    Exception: whatever Pillow raises at damaged files.
  """
  turn = exif.orientation_of(image)
  reduction = _reduction(image, data) or 1
  if reduction > 1:
    image.draft(image.mode, (
        image.width // reduction, image.height // reduction))
  if image.mode in ('I', 'I;16', 'I;16B', 'I;16L', 'I;16N'):
    # Pillow would clip 16-bit grey to its darkest 256 shades.
    image = image.point(lambda shade: shade / 256).convert('L')
  if image.has_transparency_data:
    image = image.convert('RGBA')
    white = Image.new('RGBA', image.size, 'white')
    image = Image.alpha_composite(white, image)
  if image.mode != 'RGB':
    image = image.convert('RGB')
  if max_side:
    # A JPEG that is not decoded yet is decoded to at most three times the size.
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS,
                    reducing_gap=3.0)
  image = exif.turn(image, turn)
  image.load()  # Which Pillow puts off as long as it can.
  return image


def is_image(head: bytes) -> bool:
  """Return whether a file begins as an image does that is read here.

  Args:
    head: its first HEAD_BYTES.
  """
  return (head.startswith(_HEADS) or head[4:12] in _HEIF_AND_AVIF
          or head[:4] == b'RIFF' and head[8:12] == b'WEBP'
          or head[:2] == b'BM' and head[6:10] == bytes(4))


def decode_other(data: bytes) -> tuple[bytes, bool, np.ndarray]:
  """Decode a file unless it is a plain JPEG.

  Args:
    data: the file's bytes.

  Returns:
    Why it cannot be read, as UTF-8, empty if it can; whether it is a plain
    JPEG, which TensorFlow is to decode; and otherwise its pixels, uint8
    [h, w, 3], upright.
  """
  none = np.zeros([0, 0, 3], np.uint8)
  try:
    with opened(data) as image:
      if is_plain_jpeg(data, image):
        return b'', True, none
      return b'', False, np.asarray(decode(image, data))
  # Pillow's decoders raise exceptions of any kind at damaged files.
  except Exception as error:
    return problem_of(error).encode(errors='replace'), False, none


def problem_of(error: Exception) -> str:
  """Return in a line why Pillow cannot read a file."""
  return ' '.join(str(error).split()) or type(error).__name__


@functools.cache
def readable_formats() -> tuple[str, ...]:
  """Return the formats that are read, HEIC if its reader is installed."""
  if importlib.util.find_spec('pillow_heif') is None:
    return _FORMATS
  import pillow_heif

  pillow_heif.register_heif_opener()
  return (*_FORMATS, 'HEIF')


def _is_small(image: Image.Image, reduction: int) -> bool:
  return image.width * image.height <= MAX_PIXELS * reduction**2


def _reduction(image: Image.Image, data: bytes) -> int | None:
  """Return by how much an image is to be decoded smaller; None: too large."""
  if _is_small(image, 1):
    return 1
  # Only such JPEGs are decoded without all of their coefficients in memory. A
  # whole one has two bits at the least for each 8 x 8 pixels.
  if (image.format in ('JPEG', 'MPO') and _has_one_scan(data)
      and image.width * image.height <= 256 * len(data)):
    return next((n for n in _REDUCTIONS if _is_small(image, n)), None)
  return None


def _has_one_scan(data: bytes) -> bool:
  """Return whether all colours of a JPEG come row by row: one scan."""
  position, colours = 2, None
  while data[position:position + 1] == b'\xff':
    kind = data[position + 1]
    if kind == 0xff:
      position += 1
      continue
    body = data[position + 4:position + 10]
    if len(body) < 6:
      return False
    if kind in (0xc0, 0xc1):  # Baseline and extended sequential.
      colours = body[5]
    elif kind == 0xda:
      return body[0] == colours
    position += 2 + int.from_bytes(data[position + 2:position + 4], 'big')
  return False


def _what_else(data: bytes) -> str:
  """Return what a file is that is no image which is read here."""
  if not data:
    return 'empty file'
  if data[4:12] in _HEIF:
    if 'HEIF' in readable_formats():
      return 'a damaged HEIC'
    return "HEIC needs pillow-heif: pip install 'im2txt[heic]'"
  if data[4:12] in (b'ftypavif', b'ftypavis'):
    return ('a damaged AVIF' if features.check('avif') else
            'AVIF needs a Pillow with libavif: pip install --upgrade pillow')
  head = data.removeprefix(b'\xef\xbb\xbf').lstrip()
  for offset, beginning, kind in _OTHERS:
    if data.startswith(beginning, offset) or (
        not offset and head.startswith(beginning)):
      return f'not an image that is read here, but {kind}'
  return 'not an image'
