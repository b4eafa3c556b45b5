"""Images read in the graph alone: as captioning reads them, or why not."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from im2txt import configuration
from im2txt.inputs import exif, image_decoder, image_processing, served_images

tf1 = tf.compat.v1

CONFIG = configuration.ModelConfig(image_height=23, image_width=31)


@pytest.fixture(scope='module')
def read():
  """Read files: pixels and errors."""
  with tf.Graph().as_default(), tf1.Session() as session:
    image_bytes = tf1.placeholder(tf.string, [None])
    outputs = served_images.read(image_bytes, CONFIG)
    yield lambda files: session.run(outputs, {image_bytes: files})


def saved(kind, mode='RGB', orientation=1, **options):
  image = Image.linear_gradient('L').resize((60, 40))
  if 'A' in mode:
    image.putalpha(Image.linear_gradient('L').resize((60, 40)).rotate(180))
  tags = Image.Exif()
  tags[exif.ORIENTATION] = orientation
  if kind not in ('BMP', 'GIF', 'TIFF'):
    options['exif'] = tags
  buffer = io.BytesIO()
  image.convert(mode).save(buffer, kind, **options)
  return buffer.getvalue()


GOOD = {
    'jpeg': saved('JPEG'), 'turned': saved('JPEG', orientation=6),
    'grey': saved('JPEG', 'L'), 'png': saved('PNG'),
    'transparent png': saved('PNG', 'RGBA', 8),
    'grey png': saved('PNG', 'LA'), 'palette': saved('PNG', 'P'),
    'gif': saved('GIF', 'P'), 'bmp': saved('BMP'),
    'webp': saved('WEBP', lossless=True),
    'transparent webp': saved('WEBP', 'RGBA', lossless=True)}
BAD = {
    b'': 'an empty file', b'no image': 'no image',
    GOOD['jpeg'][:300]: 'damaged', GOOD['png'][:100]: 'damaged',
    saved('BMP', 'P'): 'BMP', saved('BMP', '1'): 'BMP',
    saved('TIFF'): 'TIFF', saved('AVIF'): 'HEIC or AVIF',
    b'\x89PNG': 'damaged', b'BM': 'BMP', b'RIFF': 'no image'}


def as_captioning_sees(data):
  problem, is_plain_jpeg, pixels = image_decoder.decode_other(data)
  assert problem == b''
  with tf.Graph().as_default(), tf1.Session() as session:
    image = (image_processing.decode_image(tf.constant(data))
             if is_plain_jpeg else tf.constant(pixels))
    return session.run(image_processing.fit_image(image, False, CONFIG))


def test_good_images_are_as_captioning_sees_them(read):
  images, errors = read(list(GOOD.values()))
  assert errors.tolist() == [b''] * len(GOOD)
  for image, (name, data) in zip(images, GOOD.items(), strict=True):
    np.testing.assert_allclose(
        image, as_captioning_sees(data), atol=3 / 127, err_msg=name)


def test_a_bad_image_fails_alone(read):
  files = [GOOD['jpeg'], *BAD, GOOD['png']]
  images, errors = read(files)
  assert errors[0] == errors[-1] == b''
  for error, said in zip(errors[1:-1], BAD.values(), strict=True):
    assert said in error.decode()
  assert not images[1:-1].any()
  for image, data in ((images[0], files[0]), (images[-1], files[-1])):
    np.testing.assert_allclose(image, as_captioning_sees(data), atol=3 / 127)


def test_no_images(read):
  images, errors = read([])
  assert images.shape == (0, 23, 31, 3) and errors.shape == (0,)
