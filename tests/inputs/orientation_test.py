"""Images are seen upright, in the graph as by Pillow."""

import io
import struct

import fresh_session
import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from PIL import Image, ImageOps

from im2txt.inputs import exif, image_processing, orientation

tf1 = tf.compat.v1

WIDTH, HEIGHT = 40, 24
TAG, SHORT, LONG = 0x0112, 3, 4


def scene():
  """An image that looks different however it is turned."""
  pixels = np.zeros([HEIGHT, WIDTH, 3], np.uint8)
  pixels[:8, :8] = 250, 20, 10
  pixels[16:, :8] = 20, 240, 10
  pixels[:8, 32:] = 10, 20, 230
  return Image.fromarray(pixels)


def tiff(value, order='II', kind=SHORT, count=1, tag=TAG):
  """A TIFF structure with one tag, and another before it."""
  mark = {'II': '<', 'MM': '>'}[order]
  packed = struct.pack(mark + {SHORT: 'HH', LONG: 'I'}[kind],
                       *((value, 0) if kind == SHORT else (value,)))
  return order.encode() + struct.pack(
      mark + 'HIH', 42, 8, 2) + struct.pack(
          mark + 'HHII', 0x0100, LONG, 1, 7) + struct.pack(
              mark + 'HHI', tag, kind, count) + packed + bytes(4)


def encode(kind, tags=None, **options):
  """An image file, with EXIF if given: the bytes behind the mark Exif."""
  if tags is not None:
    options['exif'] = b'Exif\0\0' + tags
  buffer = io.BytesIO()
  scene().save(buffer, kind, **options)
  return buffer.getvalue()


LOSSLESS = {'PNG': {}, 'WEBP': {'lossless': True}}
KINDS = {'JPEG': {'quality': 95, 'subsampling': 0}, **LOSSLESS}


@pytest.fixture(scope='module')
def in_graph():
  """`in_graph(data)`: orientation and upright pixels of a file."""
  with tf.Graph().as_default(), fresh_session.make() as session:
    data = tf1.placeholder(tf.string, [])
    number = orientation.of_file(data)
    pixels = image_processing.decode_image(data)
    yield lambda encoded: session.run([number, pixels], {data: encoded})


@pytest.fixture(scope='module')
def number_in_graph():
  with tf.Graph().as_default(), fresh_session.make() as session:
    data = tf1.placeholder(tf.string, [])
    number = orientation.of_file(data)
    yield lambda encoded: session.run(number, {data: encoded})


def by_pillow(data):
  with Image.open(io.BytesIO(data)) as image:
    return exif.orientation_of(image)


@pytest.mark.parametrize('order', ['II', 'MM'])
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('value', range(1, 9))
def test_every_orientation(value, kind, order, in_graph):
  data = encode(kind, tiff(value, order), **KINDS[kind])
  number, pixels = in_graph(data)
  assert number == value == by_pillow(data)
  with Image.open(io.BytesIO(data)) as image:
    expected = np.asarray(ImageOps.exif_transpose(image).convert('RGB'))
    turned = exif.turn(image, value).convert('RGB')
  np.testing.assert_array_equal(np.asarray(turned), expected)
  assert pixels.shape == expected.shape
  difference = np.abs(pixels.astype(int) - expected.astype(int))
  assert difference.max() <= (0 if kind in LOSSLESS else 9)


def test_a_camera_held_on_its_side(in_graph):
  turned = scene().transpose(Image.Transpose.ROTATE_90)
  buffer = io.BytesIO()
  tags = Image.Exif()
  tags[TAG] = 6  # Turn it by 90 degrees clockwise.
  turned.save(buffer, 'PNG', exif=tags)
  np.testing.assert_array_equal(
      in_graph(buffer.getvalue())[1], np.asarray(scene()))


@pytest.mark.parametrize('kind', [*KINDS, 'GIF', 'BMP', 'MPO'])
def test_without_a_tag_an_image_stays_as_it_is(kind, in_graph):
  data = encode(kind)
  number, pixels = in_graph(data)
  assert number == 1 == by_pillow(data)
  assert pixels.shape == (HEIGHT, WIDTH, 3)


def test_two_images_in_one_file(in_graph):
  buffer = io.BytesIO()
  scene().save(buffer, 'MPO', save_all=True, append_images=[scene()],
               exif=b'Exif\0\0' + tiff(8))
  assert in_graph(buffer.getvalue())[0] == 8 == by_pillow(buffer.getvalue())


DAMAGED = {
    'zero': tiff(0), 'nine': tiff(9), 'large': tiff(0xffff), 'long': tiff(
        2 ** 31, kind=LONG), 'another tag': tiff(6, tag=0x0113),
    'nothing': b'', 'cut in the order': tiff(6)[:1],
    'cut before the directory': tiff(6)[:8],
    'cut in the tag': tiff(6)[:-10], 'no TIFF': b'XX' + tiff(6)[2:],
    'directory far away': b'II*\0\xff\xff\xff\xff' + tiff(6)[8:],
    'directory behind the end': b'II*\0\x40\0\0\0' + tiff(6)[8:],
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('tags', DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_tag_changes_nothing(tags, kind, in_graph):
  data = encode(kind, tags, **KINDS[kind])
  number, pixels = in_graph(data)
  assert number == 1 == by_pillow(data)
  assert pixels.shape == (HEIGHT, WIDTH, 3)


def test_more_entries_are_claimed_than_there_are(number_in_graph):
  tags = bytearray(tiff(6))
  tags[8:10] = struct.pack('<H', 999)
  data = encode('JPEG', bytes(tags))
  assert number_in_graph(data) == 6 == by_pillow(data)


def test_exif_behind_other_segments_and_fill_bytes(number_in_graph):
  data = encode('JPEG', tiff(5, 'MM'))
  comment = b'\xff\xfe' + struct.pack('>H', 2 + 8) + b'Exif\0\0II'
  assert number_in_graph(data[:2] + comment + b'\xff\xff' + data[2:]) == 5


def test_exif_of_a_second_image_says_nothing_of_the_first(number_in_graph):
  data = encode('JPEG') + encode('JPEG', tiff(6))
  assert number_in_graph(data) == 1 == by_pillow(data)


def test_exif_behind_the_pixels_of_a_png(number_in_graph):
  data = encode('PNG', tiff(3))
  at = data.index(b'eXIf') - 4
  chunk = data[at:at + 12 + struct.unpack('>I', data[at:at + 4])[0]]
  data = data.replace(chunk, b'')
  end = data.index(b'IEND') - 4
  data = data[:end] + chunk + data[end:]
  assert number_in_graph(data) == 3 == by_pillow(data)


def test_another_tag_that_is_damaged_does_not_matter(number_in_graph):
  tags = bytearray(tiff(6))
  tags[15] = 1  # The first tag has 257 values, which are not there.
  data = encode('JPEG', bytes(tags))
  assert number_in_graph(data) == 6 == by_pillow(data)


@pytest.mark.parametrize('kind', KINDS)
def test_files_cut_anywhere(kind, number_in_graph):
  data = encode(kind, tiff(6), **KINDS[kind])
  for length in range(len(data)):
    assert number_in_graph(data[:length]) in (1, 6)


@hypothesis.given(
    st.sampled_from(sorted(KINDS)), st.data())
def test_damage_anywhere_is_seen_by_both_alike(number_in_graph, kind, draw):
  tags = bytearray(tiff(draw.draw(st.integers(0, 9)),
                        draw.draw(st.sampled_from(['II', 'MM'])),
                        draw.draw(st.sampled_from([SHORT, LONG]))))
  for _ in range(draw.draw(st.integers(0, 2))):
    tags[draw.draw(st.integers(0, len(tags) - 1))] = draw.draw(
        st.integers(0, 255))
  data = encode(kind, bytes(tags), **KINDS[kind])
  assert number_in_graph(data) == by_pillow(data)
