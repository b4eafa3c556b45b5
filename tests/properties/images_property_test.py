"""Images: judged, or refused with one clear line, before they are decoded.

Builders and captioning must see the same of every file.
"""

import io

import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from strategies import damaged

from data_prep.images import stored_images
from im2txt.inputs import exif, image_decoder

# Kinds of files, and the modes of pixels in which they are written.
KINDS = {
    'JPEG': ('RGB', 'L', 'CMYK'),
    'PNG': ('RGB', 'RGBA', 'P', '1', 'LA', 'I;16'),
    'GIF': ('P', 'L'), 'BMP': ('RGB', 'P', '1', 'L'), 'WEBP': ('RGB', 'RGBA'),
    'TIFF': ('RGB', 'RGBA', 'L', '1', 'CMYK', 'I;16'),
    'PPM': ('RGB', 'L', '1'), 'AVIF': ('RGB', 'RGBA')}
FORMAT = stored_images.ImageFormat()


def image(kind, mode, width, height, orientation):
  """Write an image that gets brighter from corner to corner."""
  shades = np.linspace(20, 230, width) + np.linspace(-20, 20, height)[:, None]
  drawn = Image.fromarray(shades.astype(np.uint8))
  if mode == 'I;16':
    drawn = Image.fromarray((shades * 256).astype(np.uint16))
  elif mode in ('RGBA', 'LA'):
    drawn.putalpha(drawn.point(lambda shade: 255 - shade // 2))
  options = {}
  if kind in ('JPEG', 'PNG', 'WEBP', 'AVIF'):
    tags = Image.Exif()
    tags[exif.ORIENTATION] = orientation
    options = {'exif': tags}
  buffer = io.BytesIO()
  drawn.convert(mode).save(buffer, kind, **options)
  return buffer.getvalue()


whole = st.sampled_from(list(KINDS)).flatmap(lambda kind: st.builds(
    image, st.just(kind), st.sampled_from(KINDS[kind]), st.integers(1, 40),
    st.integers(1, 40), st.integers(0, 9)))


def captioned_pixels(data):
  """The pixels that captioning sees; None and why if there are none."""
  problem, is_plain_jpeg, pixels = image_decoder.decode_other(data)
  if not is_plain_jpeg:
    return (None if problem else pixels), problem.decode()
  try:
    pixels = tf.io.decode_jpeg(data, channels=3).numpy()
  except tf.errors.InvalidArgumentError as error:
    return None, error.message
  with image_decoder.opened(data) as opened:
    turned = exif.turn(
        Image.fromarray(pixels), exif.orientation_of(opened))
  return np.asarray(turned), ''


def check_alike(path, data, difference):
  """Return whether builder and captioner can use a file, and see the same."""
  path.write_bytes(data)
  problem = stored_images.check(str(path), FORMAT).problem
  pixels, why_not = captioned_pixels(data)
  if problem is not None:
    assert problem and '\n' not in problem
    # TensorFlow may be content with less of a plain JPEG.
    assert (pixels is None or data.startswith(b'\xff\xd8')
            or max(pixels.shape) > 65_500)  # Too long for a JPEG.
    return False
  stored = tf.io.decode_jpeg(
      stored_images.read_jpeg(str(path), FORMAT), channels=3).numpy()
  if pixels is None:
    assert why_not
    return False
  assert stored.shape == pixels.shape
  assert np.abs(stored.astype(int) - pixels).mean() < difference
  return True


@given(data=whole)
def test_builders_and_captioning_see_the_same(tmp_path_factory, data):
  # A JPEG is what is stored, of small images with other edges.
  assert check_alike(tmp_path_factory.getbasetemp() / 'whole', data, 8)


@given(data=whole.flatmap(damaged))
def test_what_is_damaged_is_judged(tmp_path_factory, data):
  check_alike(tmp_path_factory.getbasetemp() / 'damaged', data, 64)
