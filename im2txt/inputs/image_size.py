"""How large a picture is once it is decoded, told without decoding it.

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
  """The picture has more than `MAX_PIXELS`."""


@contextlib.contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
  """Yields a picture whose pixels are not decoded yet.

  Args:
    data: the file's bytes.

  Raises:
    OSError: it is no picture, or too large a one.
  """
  with warnings.catch_warnings():
    # MAX_PIXELS is checked here; odd metadata is nobody's concern.
    warnings.simplefilter('ignore')
    try:
      picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.UnidentifiedImageError:
      raise OSError('not a picture' if data else 'empty file') from None
    except Image.DecompressionBombError as error:
      raise TooLargeError(str(error)) from None
    _check(picture, 1)
    yield picture


def _check(picture: Image.Image, frames: int) -> None:
  if picture.width * picture.height * frames > MAX_PIXELS:
    of_all = f'{frames} frames of ' * (frames > 1)
    raise TooLargeError(
        f'{of_all}{picture.width} x {picture.height} pixels are more than '
        f'{MAX_PIXELS // 10**6} megapixels')


def _num_frames(data: bytes) -> int:
  """Frames of an animation that can be reached, if it is damaged."""
  with opened(data) as picture, contextlib.suppress(Exception):
    return picture.n_frames
  frames = 1
  with opened(data) as picture, contextlib.suppress(Exception):
    while picture.width * picture.height * frames <= MAX_PIXELS:
      picture.seek(frames)
      frames += 1
  return frames


def problem(data: bytes) -> str:
  """Why TensorFlow shall not decode a file; '' if there is no reason not to.

  It decodes all frames of an animation to give the first. What only it may
  know to be a picture is left to it and its own bound of 2**29 bytes.
  """
  try:
    with opened(data) as picture:
      if picture.format == 'GIF':
        _check(picture, _num_frames(data))
  except TooLargeError as error:
    return str(error)
  except Exception:  # Damaged files raise nearly anything.
    pass
  return ''
