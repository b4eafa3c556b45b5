"""Images are judged by content, and what is stored TensorFlow can read."""

import io
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, JpegImagePlugin

from data_prep.images.stored_images import (
    ImageFormat,
    check,
    read_jpeg,
)

WIDTH, HEIGHT = 37, 23
RED = (200, 40, 30)
FORMAT = ImageFormat()


def encode(image, kind='JPEG', **options):
  data = io.BytesIO()
  image.save(data, kind, **options)
  return data.getvalue()


def plain(mode='RGB', size=(WIDTH, HEIGHT)):
  return Image.new('RGB', size, RED).convert(mode)


def with_second_image():
  return encode(plain(), 'MPO', save_all=True, append_images=[plain()])


@pytest.mark.parametrize('data', [
    encode(plain()),
    encode(plain('L')),
    encode(plain(), progressive=True),
    encode(plain(size=(1, 1))),
    with_second_image(),
], ids=['rgb', 'grey', 'progressive', '1x1', 'mpo'])
def test_plain_jpeg_is_stored_byte_for_byte(tmp_path, data):
  path = str(tmp_path / 'image.jpg')
  (tmp_path / 'image.jpg').write_bytes(data)
  assert check(path, FORMAT).problem is None
  assert read_jpeg(path, FORMAT) == data
  tf.io.decode_jpeg(data, channels=3)


@pytest.mark.parametrize('data', [
    encode(plain(), 'PNG'),
    encode(plain('RGBA'), 'PNG'),
    encode(plain('P'), 'PNG'),
    encode(plain('P'), 'GIF'),
    encode(plain(), 'WEBP', lossless=True),
    encode(plain(), 'TIFF'),
    encode(plain('CMYK')),
], ids=['png', 'rgba', 'palette', 'gif', 'webp', 'tiff', 'cmyk'])
def test_other_images_become_jpeg(tmp_path, data):
  path = str(tmp_path / 'image.jpg')
  (tmp_path / 'image.jpg').write_bytes(data)
  assert check(path, FORMAT).problem is None
  pixels = tf.io.decode_jpeg(read_jpeg(path, FORMAT)).numpy()
  assert pixels.shape == (HEIGHT, WIDTH, 3)
  np.testing.assert_allclose(pixels[HEIGHT // 2, WIDTH // 2], RED, atol=15)


def test_16_bit_grey_keeps_its_shades(tmp_path):
  shades = np.linspace(0, 65535, 64, dtype=np.uint16)
  path = str(tmp_path / 'grey.png')
  Image.fromarray(np.tile(shades, (64, 1))).save(path)
  assert check(path, FORMAT).problem is None
  pixels = tf.io.decode_jpeg(read_jpeg(path, FORMAT)).numpy()
  np.testing.assert_allclose(pixels[32, :, 0], shades / 257, atol=8)


def test_transparent_is_white(tmp_path):
  path = str(tmp_path / 'clear.png')
  Image.new('RGBA', (WIDTH, HEIGHT), (0, 0, 0, 0)).save(path)
  pixels = tf.io.decode_jpeg(read_jpeg(path, FORMAT)).numpy()
  assert pixels.min() > 250


def noise_jpeg():
  noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
  return encode(Image.fromarray(noise))


@pytest.mark.parametrize(('data', 'problem'), [
    (b'', 'empty file'),
    (b'<html>404 Not Found</html>', 'not an image'),
    (noise_jpeg()[:1500], 'truncated'),
    (encode(plain(), 'PNG')[:60], ''),
    (encode(plain(), 'EPS'), 'not an image'),
    (encode(Image.new('1', (10_001, 10_000)), 'PNG'), '100 megapixels'),
    (encode(Image.new('1', (20_000, 20_000)), 'PNG'), 'pixels'),
], ids=['empty', 'html', 'cut jpeg', 'cut png', 'eps', 'large', 'bomb'])
def test_bad_images_are_named(tmp_path, data, problem):
  path = str(tmp_path / 'image.jpg')
  (tmp_path / 'image.jpg').write_bytes(data)
  found = check(path, FORMAT).problem
  assert found
  assert '\n' not in found
  assert problem in found


def test_every_cut_of_a_jpeg_is_noticed_or_mended(tmp_path):
  data = noise_jpeg()
  path = tmp_path / 'image.jpg'
  for length in [*range(1, len(data), 200), *range(len(data) - 8, len(data))]:
    path.write_bytes(data[:length])
    if not check(str(path), FORMAT).problem:
      stored = read_jpeg(str(path), FORMAT)
      assert stored != data[:length], length
      tf.io.decode_jpeg(stored)


def test_no_file_no_image(tmp_path):
  os.mkfifo(tmp_path / 'pipe.jpg')
  for path in (tmp_path / 'none.jpg', tmp_path, tmp_path / 'pipe.jpg'):
    assert 'no such file' in check(str(path), FORMAT).problem


@pytest.mark.parametrize(('size', 'max_side', 'expected'), [
    ((64, 48), 32, (32, 24)),
    ((48, 64), 32, (24, 32)),
    ((640, 481), 100, (100, 75)),  # Large enough to be decoded at half size.
    ((481, 640), 33, (25, 33)),
    ((65, 64), 64, (64, 63)),
    ((200, 1), 7, (7, 1)),
    ((3, 2), 1, (1, 1)),
])
@pytest.mark.parametrize('mode', ['RGB', 'L'])
def test_large_images_are_shrunk(tmp_path, mode, size, max_side, expected):
  path = str(tmp_path / 'image.jpg')
  plain(mode, size).save(path)
  image_format = ImageFormat(max_side)
  assert check(path, image_format).problem is None
  pixels = tf.io.decode_jpeg(read_jpeg(path, image_format)).numpy()
  assert pixels.shape == (*expected[::-1], 3)
  shade = RED if mode == 'RGB' else plain('L').getpixel((0, 0))
  np.testing.assert_allclose(
      pixels, np.broadcast_to(shade, pixels.shape), atol=8)


@pytest.mark.parametrize('size', [(64, 48), (48, 64), (63, 63), (1, 1)])
def test_images_that_are_not_too_large_stay_byte_for_byte(tmp_path, size):
  path = tmp_path / 'image.jpg'
  plain(size=size).save(path)
  image_format = ImageFormat(max_side=64, quality=50)
  assert check(str(path), image_format).problem is None
  assert read_jpeg(str(path), image_format) == path.read_bytes()


@pytest.mark.parametrize(('kind', 'mode'), [
    ('PNG', 'RGBA'), ('PNG', 'P'), ('GIF', 'P'), ('JPEG', 'CMYK')])
def test_other_images_are_shrunk_too(tmp_path, kind, mode):
  path = str(tmp_path / 'image')
  plain(mode).save(path, kind)
  image_format = ImageFormat(max_side=10)
  assert check(path, image_format).problem is None
  pixels = tf.io.decode_jpeg(read_jpeg(path, image_format)).numpy()
  assert pixels.shape == (6, 10, 3)
  np.testing.assert_allclose(pixels[3, 5], RED, atol=15)


def scene(size):
  """A smooth image, different everywhere."""
  y, x = np.mgrid[:size[1], :size[0]] / max(size)
  return Image.fromarray(
      (127 + 120 * np.stack([np.sin(9 * x), np.cos(7 * y), np.sin(5 * x * y)],
                            -1)).astype(np.uint8))


def test_shrinking_is_true_to_the_image(tmp_path):
  # A ninth of the size, so that it is not decoded in full.
  path = str(tmp_path / 'image.jpg')
  large = scene((901, 700))
  large.save(path, quality=95)
  shrunk = tf.io.decode_jpeg(
      read_jpeg(path, ImageFormat(max_side=100))).numpy()
  expected = np.asarray(large.resize((100, 78), Image.Resampling.LANCZOS))
  assert np.abs(shrunk - expected.astype(float)).mean() < 2


def corner():
  """A plain image with a blue corner at the top left."""
  image = plain()
  image.paste((20, 30, 200), (0, 0, 13, 9))
  return image


@pytest.mark.parametrize('kind, options', [
    ('JPEG', {'quality': 61, 'subsampling': 0}), ('JPEG', {}), ('PNG', {}),
    ('WEBP', {'lossless': True}), ('MPO', {
        'save_all': True, 'append_images': [plain()]})])
@pytest.mark.parametrize('max_side', [0, 20])
def test_images_are_stored_upright(tmp_path, kind, options, max_side):
  path = str(tmp_path / 'image')
  exif = Image.Exif()
  exif[0x0112] = 6  # To be turned by 90 degrees clockwise.
  corner().transpose(Image.Transpose.ROTATE_90).save(
      path, kind, exif=exif, **options)
  image_format = ImageFormat(max_side=max_side)
  assert check(path, image_format) == (None, True)
  with Image.open(io.BytesIO(read_jpeg(path, image_format))) as stored:
    assert not stored.getexif()
    assert stored.size == ((20, 12) if max_side else (WIDTH, HEIGHT))
    expected = corner().resize(stored.size, Image.Resampling.LANCZOS)
    difference = np.abs(np.asarray(stored.convert('RGB'), int)
                        - np.asarray(expected, int))
    assert difference.mean() < 12
    if kind == 'JPEG' and not max_side:
      with Image.open(path) as original:
        assert stored.quantization == original.quantization
        assert (JpegImagePlugin.get_sampling(stored)
                == JpegImagePlugin.get_sampling(original))


def test_a_grey_jpeg_is_turned(tmp_path):
  path = str(tmp_path / 'image.jpg')
  exif = Image.Exif()
  exif[0x0112] = 8
  plain('L').save(path, exif=exif)
  with Image.open(io.BytesIO(read_jpeg(path, FORMAT))) as stored:
    assert (stored.mode, stored.size) == ('L', (HEIGHT, WIDTH))


def test_an_upright_image_with_a_tag_stays_as_it_is(tmp_path):
  path = tmp_path / 'image.jpg'
  exif = Image.Exif()
  exif[0x0112] = 1
  plain().save(path, exif=exif)
  assert check(str(path), FORMAT) == (None, False)
  assert read_jpeg(str(path), FORMAT) == path.read_bytes()


def test_quality_is_that_of_what_is_encoded_here(tmp_path):
  path = str(tmp_path / 'image.png')
  Image.open(io.BytesIO(noise_jpeg())).save(path)
  sizes = [len(read_jpeg(path, ImageFormat(quality=quality)))
           for quality in (1, 50, 85, 95, 100)]
  assert sizes == sorted(set(sizes))


def test_large_image_that_is_cut_is_noticed(tmp_path):
  data = noise_jpeg()
  path = tmp_path / 'image.jpg'
  for length in range(1, len(data) - 2, 200):
    path.write_bytes(data[:length])
    assert check(
        str(path), ImageFormat(max_side=9)).problem, length
