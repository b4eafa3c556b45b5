"""Images of few bytes that would fill the memory are told by their heads."""

import io
import struct
import zlib

import pytest
from PIL import Image

from im2txt.inputs import image_size


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


def jpeg(width, height):
  """A JPEG that claims a size."""
  data = bytearray(saved('JPEG', (16, 16)))
  at = data.index(b'\xff\xc0') + 5
  data[at:at + 4] = struct.pack('>HH', height, width)
  return bytes(data)


def saved(kind, size, **options):
  buffer = io.BytesIO()
  Image.new('L', size).save(buffer, kind, **options)
  return buffer.getvalue()


def gif(size, frames):
  return saved('GIF', size, save_all=True, append_images=[
      Image.new('L', size, i + 1) for i in range(frames - 1)])


def cut_gif(size, frames):
  """An animation that ends within the head of its last frame."""
  data = gif(size, frames)
  return data[:data.rindex(b'\x2c\0\0\0\0') + 4]


@pytest.mark.parametrize('data, said', [
    (png(30_000, 3_400), '30000 x 3400 pixels are more than 100 megapixels'),
    (png(30_000, 30_000), '900000000 pixels'),
    (jpeg(13_000, 13_000), '13000 x 13000 pixels'),
    (gif((2000, 1000), 60), '60 frames of 2000 x 1000 pixels are more than'),
    (cut_gif((2000, 1000), 60), 'frames of 2000 x 1000 pixels are more than'),
], ids=['png', 'large png', 'jpeg', 'gif', 'cut gif'])
def test_what_is_too_large(data, said):
  assert said in image_size.problem(data)


@pytest.mark.parametrize('data', [
    png(30_000, 3_300), jpeg(13_000, 7_000), gif((2000, 1000), 40),
    saved('BMP', (9, 9)), b'', b'no image', gif((20, 10), 3)[:-40]],
    ids=['png', 'jpeg', 'gif', 'bmp', 'empty', 'other', 'cut gif'])
def test_what_is_left_to_tensorflow(data):
  assert image_size.problem(data) == ''
