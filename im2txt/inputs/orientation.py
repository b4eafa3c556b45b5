"""Turn images upright in the graph, as the EXIF of their file says.

`exif` says what an orientation is, and finds it without TensorFlow. Files have
EXIF in different places: a JPEG in a segment APP1, a PNG in a chunk eXIf, a
WebP in a chunk EXIF. What is damaged counts as 1.

Shapes: N bytes of a file, h, w pixels.
"""

import functools
from typing import NamedTuple

import tensorflow as tf

from im2txt.inputs.exif import ORIENTATION

_SHORT, _LONG = 3, 4  # Types of a tag's value.
_PADDING = 16  # Zeros behind the bytes of a file, so that it can be read past.
# By orientation, from 1 on: the order of the axes, then which are reversed.
_ORDERS = [[0, 1, 2]] * 4 + [[1, 0, 2]] * 4
_REVERSED = [[False, False, False], [False, True, False], [True, True, False],
             [True, False, False]]
_REVERSED += [_REVERSED[i] for i in (0, 1, 2, 3)]


def turn_upright(pixels: tf.Tensor, encoded_image: tf.Tensor) -> tf.Tensor:
  """Turn the pixels of an image file upright.

  Args:
    pixels: uint8 [h, w, 3].
    encoded_image: string [], the file.

  Returns:
    uint8 [h, w, 3], or [w, h, 3].
  """
  # The import wants tensors of this graph, not of one around it.
  feeds = {'pixels': tf.identity(pixels),
           'encoded_image': tf.identity(encoded_image)}
  [turned] = tf.graph_util.import_graph_def(
      _upright_graph(), feeds,
      ['turned:0'], name='upright')
  return tf.ensure_shape(turned, [None, None, 3])


@functools.cache
def _upright_graph() -> tf.compat.v1.GraphDef:
  """Build the graph of `turn_upright`.

  It is built once and copied into each graph: an input pipeline may have it
  many times, and what is built of conditions and loops takes its time.
  """
  with tf.Graph().as_default() as graph:
    pixels = tf.compat.v1.placeholder(
        tf.uint8, [None, None, 3], name='pixels')
    encoded_image = tf.compat.v1.placeholder(
        tf.string, [], name='encoded_image')
    tf.identity(turn_pixels(pixels, of_file(encoded_image)), name='turned')
    return graph.as_graph_def()


def turn_pixels(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
  """Turn pixels upright.

  Args:
    pixels: [h, w, C].
    orientation: int32 [], 1 to 8.

  Returns:
    [h, w, C], or [w, h, C] if the orientation is above 4.
  """
  def turn() -> tf.Tensor:
    return tf.raw_ops.Reverse(
        tensor=tf.transpose(pixels, tf.constant(_ORDERS)[orientation - 1]),
        dims=tf.constant(_REVERSED)[orientation - 1])

  turned = tf.cond(orientation > 1, turn, lambda: pixels)
  return tf.ensure_shape(turned, [None, None, pixels.shape[2]])


def of_file(encoded_image: tf.Tensor) -> tf.Tensor:
  """Read the orientation of an image file.

  Args:
    encoded_image: string [], a JPEG, PNG or WebP; other files have none.

  Returns:
    int32 [], 1 to 8.
  """
  data = _padded(tf.io.decode_raw(encoded_image, tf.uint8))
  # Most files have none, and are done with here.
  return tf.cond(
      _occurs(data, b'EXIF'), lambda: _read_tag(_find_exif(data)),
      lambda: tf.constant(1))


class _Part(NamedTuple):
  """A part of a file; all are int64 [], or [3] of the three kinds of files."""

  content: tf.Tensor      # Where its content begins.
  content_end: tf.Tensor
  following: tf.Tensor    # Where the next part begins.
  is_exif: tf.Tensor      # 1 if the content is EXIF, else 0.


def _find_exif(data: tf.Tensor) -> tf.Tensor:
  """Return the content, uint8 [.], of the first part of a file that is EXIF.

  Args:
    data: uint8 [N], padded; a file that is no JPEG, PNG or WebP has none.
  """
  size = tf.size(data, tf.int64) - _PADDING
  zero = tf.constant(0, tf.int64)
  is_kind = tf.stack([
      _stands_at(data, zero, b'\xff\xd8\xff'),
      _stands_at(data, zero, b'\x89PNG'),
      _stands_at(data, zero, b'RIFF') & _stands_at(data, zero + 8, b'WEBP')])
  is_kind = tf.cast(is_kind, tf.int64)

  def step(position, begin, end):
    parts = map(tf.stack, zip(
        _segment(data, position), _png_chunk(data, position),
        _webp_chunk(data, position), strict=True))
    part = _Part(*(tf.reduce_sum(x * is_kind) for x in parts))
    found = (part.is_exif > 0) & (part.content_end <= size)
    return (tf.where(found | (part.following <= position), size,
                     part.following),
            tf.where(found, part.content, begin),
            tf.where(found, part.content_end, end))

  _, begin, end = tf.while_loop(
      lambda position, *_: position < size - 1, step,
      # Heads of files without parts end the loop in its first step.
      [tf.reduce_sum(is_kind * [2, 8, 12]), zero, zero])
  return data[begin:end]


def _segment(data: tf.Tensor, position: tf.Tensor) -> _Part:
  """Read a segment of a JPEG."""
  mark, kind = (_integer(data, position + i, 1) for i in (0, 1))
  end = position + 2 + _integer(data, position + 2, 2)
  is_last = (tf.not_equal(mark, 0xff) | tf.equal(kind, 0xda)
             | tf.equal(kind, 0xd9))
  is_exif = ~is_last & tf.equal(kind, 0xe1) & _stands_at(
      data, position + 4, b'Exif\0\0')
  # Any number of bytes 0xff may stand before a segment.
  following = tf.where(tf.equal(kind, 0xff), position + 1, end)
  return _Part(position + 4, end, tf.where(is_last, position, following),
               tf.cast(is_exif, tf.int64))


def _png_chunk(data: tf.Tensor, position: tf.Tensor) -> _Part:
  """Read a chunk of a PNG."""
  end = position + 8 + _integer(data, position, 4)
  return _Part(position + 8, end, end + 4, tf.cast(
      _stands_at(data, position + 4, b'eXIf'), tf.int64))


def _webp_chunk(data: tf.Tensor, position: tf.Tensor) -> _Part:
  """Read a chunk of a WebP."""
  length = _integer(data, position + 4, 4, is_big=False)
  end = position + 8 + length
  return _Part(position + 8, end, end + length % 2, tf.cast(
      _stands_at(data, position, b'EXIF'), tf.int64))


def _read_tag(content: tf.Tensor) -> tf.Tensor:
  """Return the orientation, int32 [], in EXIF, uint8 [N]."""
  # Some writers of PNG and WebP have the mark of JPEG there, too.
  is_marked = _stands_at(
      _padded(content), tf.constant(0, tf.int64), b'Exif\0\0')
  content = content[tf.where(is_marked, 6, 0):]
  size = tf.size(content, tf.int64)
  data = _padded(content)
  is_big = _stands_at(data, tf.constant(0, tf.int64), b'MM\0*')
  is_tiff = is_big | _stands_at(data, tf.constant(0, tf.int64), b'II*\0')

  def integer(position, length):
    return _integer(data, position, length, is_big)

  directory = tf.minimum(integer(tf.constant(4, tf.int64), 4), size)
  count = tf.minimum(
      integer(directory, 2), tf.maximum(size - directory - 2, 0) // 12)
  # [entries]
  entries = directory + 2 + 12 * tf.range(tf.maximum(count, 0))
  is_short, is_long = (
      tf.equal(integer(entries + 2, 2), kind) for kind in (_SHORT, _LONG))
  value = tf.where(
      is_short, integer(entries + 8, 2), integer(entries + 8, 4))
  counts = (
      is_tiff & tf.equal(integer(entries, 2), ORIENTATION)
      & (is_short | is_long) & tf.equal(integer(entries + 4, 4), 1))
  value = tf.concat([[1], tf.boolean_mask(value, counts)], axis=0)[-1]
  return tf.where((value >= 1) & (value <= 8), tf.cast(value, tf.int32), 1)


def _padded(data: tf.Tensor) -> tf.Tensor:
  return tf.concat([data, tf.zeros([_PADDING], tf.uint8)], axis=0)


def _bytes_at(
    data: tf.Tensor, position: tf.Tensor, number: int
) -> tf.Tensor:
  """Return bytes, int64 [..., number]; those behind the end are 0.

  Args:
    data: uint8 [N], padded.
    position: int64 [...].
    number: at most as many as the padding has.
  """
  first = tf.minimum(position, tf.size(data, tf.int64) - number)
  return tf.cast(tf.gather(
      data, first[..., tf.newaxis] + tf.range(number, dtype=tf.int64)),
      tf.int64)


def _integer(
    data: tf.Tensor, position: tf.Tensor, length: int,
    is_big: tf.Tensor | bool = True,
) -> tf.Tensor:
  """Read unsigned integers, int64 [...].

  Args:
    data: uint8 [N], padded.
    position: int64 [...].
    length: bytes of each integer.
    is_big: whether the first byte counts most, bool [].
  """
  weights = [256 ** i for i in range(length)]
  return tf.reduce_sum(_bytes_at(data, position, length) * tf.where(
      is_big, tf.constant(weights[::-1], tf.int64),
      tf.constant(weights, tf.int64)), axis=-1)


def _stands_at(
    data: tf.Tensor, position: tf.Tensor, text: bytes
) -> tf.Tensor:
  """Return whether a text stands at a position, bool []."""
  return tf.reduce_all(tf.equal(
      _bytes_at(data, position, len(text)),
      tf.constant(list(text), tf.int64)))


def _occurs(data: tf.Tensor, text: bytes) -> tf.Tensor:
  """Return whether a text of letters stands anywhere, in any case, bool []."""
  upper = tf.bitwise.bitwise_and(data, 0xdf)
  last = tf.size(data) - len(text) + 1
  found = tf.equal(upper[:last], text[0])
  for i, letter in enumerate(text[1:], 1):
    found &= tf.equal(upper[i:last + i], letter)
  return tf.reduce_any(found)
