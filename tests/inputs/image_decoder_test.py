"""Image files of all kinds are decoded, or refused in one line.

Those of few bytes that would fill the memory are told by their heads.
"""

import importlib.util
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from im2txt.inputs import exif, image_decoder


def png(width, height):
  """A PNG of black, its rows compressed: about 100 kB for 30,000 x 30,000."""
  rows = zlib.compressobj(9)
  data = b''.join([rows.compress(bytes(width // 8 + 1))
                   for _ in range(height)] + [rows.flush()])
  return b'\x89PNG\r\n\x1a\n' + b''.join(
      struct.pack('>I', len(body)) + kind + body
      + struct.pack('>I', zlib.crc32(kind + body)) for kind, body in (
          (b'IHDR', struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0)),
          (b'IDAT', data), (b'IEND', b'')))


def jpeg(width, height, progressive=False):
  """A JPEG that claims a size."""
  data = bytearray(saved('JPEG', (16, 16), progressive=progressive))
  at = data.index(b'\xff\xc2' if progressive else b'\xff\xc0') + 5
  data[at:at + 4] = struct.pack('>HH', height, width)
  return bytes(data)


def saved(kind, size, **options):
  buffer = io.BytesIO()
  Image.new('L', size).save(buffer, kind, **options)
  return buffer.getvalue()


def gif(size, frames):
  return saved('GIF', size, save_all=True, append_images=[
      Image.new('L', size, i + 1) for i in range(frames - 1)])


@pytest.mark.parametrize('data, said', [
    (png(30_000, 3_400), '30000 x 3400 pixels are more than 100 megapixels'),
    (png(30_000, 30_000), '900000000 pixels'),
    (jpeg(13_000, 13_000), '13000 x 13000 pixels'),  # Of 16 x 16 there.
    # Its coefficients would all be in memory at once.
    (jpeg(13_000, 13_000, progressive=True), '13000 x 13000 pixels'),
    (jpeg(60_000, 60_000, progressive=True), '60000 x 60000 pixels'),
], ids=['png', 'large png', 'jpeg', 'progressive', 'large progressive'])
def test_what_is_too_large(data, said):
  problem, is_plain_jpeg, pixels = image_decoder.decode_other(data)
  assert said in problem.decode()
  assert not is_plain_jpeg and pixels.size == 0


def test_of_an_animation_the_first_frame_is_decoded(tmp_path):
  for data in (gif((2000, 1000), 60), gif((20, 10), 3)[:-40]):
    problem, _, pixels = image_decoder.decode_other(data)
    assert problem == b'' and pixels.shape[2] == 3 and not pixels.any()


@pytest.mark.parametrize(('size', 'reduced'), [
    ((40, 30), (40, 30)), ((41, 30), (21, 15)), ((90, 50), (45, 25)),
    ((300, 200), (38, 25))])
def test_large_jpegs_are_decoded_smaller(monkeypatch, size, reduced):
  monkeypatch.setattr(image_decoder, 'MAX_PIXELS', 1200)
  image = Image.linear_gradient('L').resize(size)
  tags = Image.Exif()
  tags[exif.ORIENTATION] = 6
  data = io.BytesIO()
  image.save(data, 'JPEG', quality=95, exif=tags)
  problem, is_plain_jpeg, pixels = image_decoder.decode_other(data.getvalue())
  assert problem == b'' and is_plain_jpeg == (size == reduced)
  if not is_plain_jpeg:
    expected = image.resize(reduced).transpose(Image.Transpose.ROTATE_270)
    assert pixels.shape == (*reduced, 3)
    assert np.abs(pixels[..., 0].astype(int) - np.asarray(expected)).mean() < 3
  with image_decoder.opened(data.getvalue()) as opened:
    assert image_decoder.decode(opened, data.getvalue()).size == (
        reduced[1], reduced[0])


def test_a_jpeg_too_large_for_pillow_to_open(monkeypatch):
  data = jpeg(13_500, 13_500) + bytes(800_000)
  with image_decoder.opened(data) as opened:
    assert opened.size == (13_500, 13_500)
    assert not image_decoder.is_plain_jpeg(data, opened)


def bitmap(bits, width, height, palette, rows):
  """A BMP of few bits a pixel, which Pillow does not write."""
  head = struct.pack(
      '<IiiHHIIiiII', 40, width, height, 1, bits, 0, len(rows), 0, 0,
      len(palette) // 4, 0)
  offset = 14 + len(head) + len(palette)
  return (b'BM' + struct.pack('<IHHI', offset + len(rows), 0, 0, offset) + head
          + palette + rows)


RED, WHITE = (255, 0, 0), (255, 255, 255)


def transparent(kind, **options):
  buffer = io.BytesIO()
  Image.new('RGBA', (8, 8), (255, 0, 0, 0)).save(buffer, kind, **options)
  return buffer.getvalue()


@pytest.mark.parametrize(('data', 'colour'), [
    (bitmap(1, 8, 1, b'\0\0\xff\0\xff\xff\xff\0', bytes(4)), RED),
    (bitmap(8, 4, 1, b'\0\0\0\0\0\0\xff\0', b'\1' * 4), RED),
    (bitmap(16, 2, 1, b'', b'\0\x7c' * 2), RED),
    (transparent('PNG'), WHITE), (transparent('WEBP', lossless=True), WHITE),
    (transparent('TIFF'), WHITE), (transparent('AVIF'), WHITE),
], ids=['1-bit bmp', 'palette bmp', '16-bit bmp', 'png', 'webp', 'tiff',
        'avif'])
def test_colours_of_rare_kinds(data, colour):
  problem, _, pixels = image_decoder.decode_other(data)
  assert problem == b''
  assert np.abs(pixels.astype(int) - colour).max() < 4


def test_heic():
  pillow_heif = pytest.importorskip('pillow_heif')
  buffer = io.BytesIO()
  image = Image.new('RGB', (64, 32), RED)
  image.paste(WHITE, (0, 0, 32, 32))
  tags = Image.Exif()
  tags[exif.ORIENTATION] = 6
  pillow_heif.from_pillow(image).save(buffer, exif=tags.tobytes())
  problem, _, pixels = image_decoder.decode_other(buffer.getvalue())
  assert problem == b'' and pixels.shape == (64, 32, 3)
  assert np.abs(pixels[:24].astype(int) - WHITE).mean() < 9
  assert np.abs(pixels[40:].astype(int) - RED).mean() < 9
  problem, *_ = image_decoder.decode_other(buffer.getvalue()[:-99])
  assert problem


HEAD = b'\0\0\0\x18ftyp'


@pytest.mark.parametrize(('data', 'said'), [
    (b'', 'empty file'), (b'no image', 'not an image'),
    (HEAD + b'heic' + bytes(16), 'HEIC'), (HEAD + b'avif', 'AVIF'),
    (b'%PDF-1.7', 'PDF'), (b'\n<svg xmlns="', 'SVG'),
    (b'\0\0\0\x0cJXL \r\n', 'JPEG XL'), (HEAD + b'mp42', 'a video')])
def test_files_of_other_kinds_are_named(data, said):
  problem, *_ = image_decoder.decode_other(data)
  assert said in problem.decode()


def test_heic_without_its_reader(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  image_decoder.readable_formats.cache_clear()
  problem, *_ = image_decoder.decode_other(HEAD + b'heic' + bytes(16))
  image_decoder.readable_formats.cache_clear()
  assert 'pip install' in problem.decode() and 'heic' in problem.decode()
