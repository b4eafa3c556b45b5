"""The size of an image, read without decoding it.

A file of a few kilobytes can claim any size, and decoding takes the memory.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator

from PIL import Image

MAX_PIXELS = 100_000_000
# Pillow knows more kinds, but some of them run other programs (EPS).
FORMATS = ('JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'PPM')


class TooLargeError(OSError):
  """The image has more than `MAX_PIXELS`."""


@contextlib.contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
  """Yield an image whose pixels are not decoded yet.

  Args:
    data: the file's bytes.

  Raises:
    OSError: it is no image, or too large a one.
  """
  with warnings.catch_warnings():
    # MAX_PIXELS is checked here; odd metadata is nobody's concern.
    warnings.simplefilter('ignore')
    try:
      image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.UnidentifiedImageError:
      raise OSError('not an image' if data else 'empty file') from None
    except Image.DecompressionBombError as error:
      raise TooLargeError(str(error)) from None
    _check(image, 1)
    yield image


def _check(image: Image.Image, frames: int) -> None:
  if image.width * image.height * frames > MAX_PIXELS:
    of_all = f'{frames} frames of ' * (frames > 1)
    raise TooLargeError(
        f'{of_all}{image.width} x {image.height} pixels are more than '
        f'{MAX_PIXELS // 10**6} megapixels')


def _num_frames(data: bytes) -> int:
  """Count the frames of an animation; of a damaged one those before."""
  with opened(data) as image, contextlib.suppress(Exception):
    return image.n_frames
  frames = 1
  with opened(data) as image, contextlib.suppress(Exception):
    while image.width * image.height * frames <= MAX_PIXELS:
      image.seek(frames)
      frames += 1
  return frames


def problem(data: bytes) -> str:
  """Return why TensorFlow must not decode a file; '' if it may.

  It decodes all frames of an animation to give the first. What only it may
  know to be an image is left to it and its own bound of 2**29 bytes.
  """
  try:
    with opened(data) as image:
      if image.format == 'GIF':
        _check(image, _num_frames(data))
  except TooLargeError as error:
    return str(error)
  except Exception:  # Damaged files raise nearly anything.
    pass
  return ''
