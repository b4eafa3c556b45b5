"""Pictures are judged by content, and what is stored TensorFlow can read."""

import io
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_prep import images

WIDTH, HEIGHT = 37, 23
RED = (200, 40, 30)


def encode(picture, kind='JPEG', **options):
  data = io.BytesIO()
  picture.save(data, kind, **options)
  return data.getvalue()


def plain(mode='RGB', size=(WIDTH, HEIGHT)):
  return Image.new('RGB', size, RED).convert(mode)


def with_second_picture():
  return encode(plain(), 'MPO', save_all=True, append_images=[plain()])


@pytest.mark.parametrize('data', [
    encode(plain()),
    encode(plain('L')),
    encode(plain(), progressive=True),
    encode(plain(size=(1, 1))),
    with_second_picture(),
], ids=['rgb', 'grey', 'progressive', '1x1', 'mpo'])
def test_plain_jpeg_is_stored_byte_for_byte(tmp_path, data):
  path = str(tmp_path / 'picture.jpg')
  (tmp_path / 'picture.jpg').write_bytes(data)
  assert images.judge(path) == images.Verdict()
  assert images.read(path, reencode=False) == data
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
def test_other_pictures_become_jpeg(tmp_path, data):
  path = str(tmp_path / 'picture.jpg')
  (tmp_path / 'picture.jpg').write_bytes(data)
  assert images.judge(path) == images.Verdict(reencode=True)
  pixels = tf.io.decode_jpeg(images.read(path, reencode=True)).numpy()
  assert pixels.shape == (HEIGHT, WIDTH, 3)
  np.testing.assert_allclose(pixels[HEIGHT // 2, WIDTH // 2], RED, atol=15)


def test_16_bit_grey_keeps_its_shades(tmp_path):
  shades = np.linspace(0, 65535, 64, dtype=np.uint16)
  path = str(tmp_path / 'grey.png')
  Image.fromarray(np.tile(shades, (64, 1))).save(path)
  assert images.judge(path) == images.Verdict(reencode=True)
  pixels = tf.io.decode_jpeg(images.read(path, reencode=True)).numpy()
  np.testing.assert_allclose(pixels[32, :, 0], shades / 257, atol=8)


def test_transparent_is_white(tmp_path):
  path = str(tmp_path / 'clear.png')
  Image.new('RGBA', (WIDTH, HEIGHT), (0, 0, 0, 0)).save(path)
  pixels = tf.io.decode_jpeg(images.read(path, reencode=True)).numpy()
  assert pixels.min() > 250


def noise_jpeg():
  noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
  return encode(Image.fromarray(noise))


@pytest.mark.parametrize(('data', 'problem'), [
    (b'', 'empty file'),
    (b'<html>404 Not Found</html>', 'not a picture'),
    (noise_jpeg()[:1500], 'truncated'),
    (encode(plain(), 'PNG')[:60], ''),
    (encode(plain(), 'EPS'), 'not a picture'),
    (encode(Image.new('1', (10_001, 10_000)), 'PNG'), '100 megapixels'),
    (encode(Image.new('1', (20_000, 20_000)), 'PNG'), 'pixels'),
], ids=['empty', 'html', 'cut jpeg', 'cut png', 'eps', 'large', 'bomb'])
def test_bad_pictures_are_named(tmp_path, data, problem):
  path = str(tmp_path / 'picture.jpg')
  (tmp_path / 'picture.jpg').write_bytes(data)
  verdict = images.judge(path)
  assert verdict.problem
  assert '\n' not in verdict.problem
  assert problem in verdict.problem


def test_every_cut_of_a_jpeg_is_noticed_or_mended(tmp_path):
  data = noise_jpeg()
  path = tmp_path / 'picture.jpg'
  for length in [*range(1, len(data), 200), *range(len(data) - 8, len(data))]:
    path.write_bytes(data[:length])
    verdict = images.judge(str(path))
    assert verdict != images.Verdict(), length
    if not verdict.problem:
      tf.io.decode_jpeg(images.read(str(path), verdict.reencode))


def test_no_file_no_picture(tmp_path):
  assert 'no such file' in images.judge(str(tmp_path / 'none.jpg')).problem
  assert 'no such file' in images.judge(str(tmp_path)).problem
  os.mkfifo(tmp_path / 'pipe.jpg')
  assert 'no such file' in images.judge(str(tmp_path / 'pipe.jpg')).problem
