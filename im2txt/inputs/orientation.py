"""Turn images upright in the graph, as the EXIF of their file says.

`exif` says what an orientation is, and finds it without TensorFlow. Files have
EXIF in different places: a JPEG in a segment APP1, a PNG in a chunk eXIf, a
WebP in a chunk EXIF. What is damaged counts as 1.

Shapes: N bytes of a file, h, w pixels.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from im2txt.inputs.exif import ORIENTATION

_SHORT, _LONG = 3, 4  # Types of a tag's value.
_WINDOW = 12  # Bytes that are looked at together, as many as an entry has.
# Of a directory's entry: tag, type, number of values, a value of two bytes, one
# of four; begin and size.
_ENTRY = ((0, 2), (2, 2), (4, 4), (8, 2), (8, 4))
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
        tensor=tf.transpose(pixels, tf.gather(_ORDERS, orientation - 1)),
        dims=tf.gather(_REVERSED, orientation - 1))

  turned = tf.cond(orientation > 1, turn, lambda: pixels)
  return tf.ensure_shape(turned, [None, None, pixels.shape[2]])


def of_file(encoded_image: tf.Tensor) -> tf.Tensor:
  """Read the orientation of an image file.

  Args:
    encoded_image: string [], a JPEG, PNG or WebP; other files have none.

  Returns:
    int32 [], 1 to 8.
  """
  # Most files have none, and are done with here.
  return tf.cond(
      tf.strings.regex_full_match(encoded_image, r'(?is)\C*exif\C*'),
      lambda: _read(encoded_image), lambda: tf.constant(1))


def _pattern(text: bytes) -> list[int]:
  """Return the bytes that a window shall have; -1, a point here, is any."""
  return [-1 if byte == ord('.') else byte
          for byte in text.ljust(_WINDOW, b'.')]


def _weights(begin: int, size: int, is_big: bool = True) -> list[int]:
  """Return what the bytes of a window count in an integer that it holds.

  Args:
    begin: where the integer begins.
    size: its bytes.
    is_big: whether its first byte counts most.
  """
  weights = [256 ** i for i in range(size)]
  return [0] * begin + (weights[::-1] if is_big else weights) + [0] * (
      _WINDOW - begin - size)


class _Format(NamedTuple):
  """How files of a format are divided into parts; sizes are in bytes."""

  magic: list[int]   # Pattern of the begin of a file.
  exif: list[int]    # Pattern of a part that is EXIF.
  length: list[int]  # Weights of a part's length.
  first: int         # Where the first part begins.
  content: int       # Where its content begins in a part.
  uncounted: int     # Of these the length knows nothing.
  checksum: int      # Behind the content, not counted.
  padding: int       # Behind the content if its length is odd.
  is_jpeg: bool

  def after_magic(self) -> list[int]:
    """Return all else as one row of a table."""
    return [*self.exif, *self.length, *self[3:]]


_FORMATS = (
    _Format(_pattern(b'\xff\xd8\xff'), _pattern(b'\xff\xe1..Exif\0\0'),
            _weights(2, 2), first=2, content=4, uncounted=2, checksum=0,
            padding=0, is_jpeg=True),
    _Format(_pattern(b'\x89PNG'), _pattern(b'....eXIf'), _weights(0, 4),
            first=8, content=8, uncounted=8, checksum=4, padding=0,
            is_jpeg=False),
    _Format(_pattern(b'RIFF....WEBP'), _pattern(b'EXIF'),
            _weights(4, 4, is_big=False), first=12, content=8, uncounted=8,
            checksum=0, padding=1, is_jpeg=False))


def _read(encoded_image: tf.Tensor) -> tf.Tensor:
  """Read the orientation, int32 [], of a file, string []."""
  data = tf.io.decode_raw(encoded_image, tf.uint8)
  size = tf.size(data, tf.int64)
  data = tf.concat([data, [0]], axis=0)
  places = tf.range(_WINDOW, dtype=tf.int64)

  def window(position):
    """Return the bytes from positions on, int64 [..., window], 0 behind all."""
    return tf.cast(
        tf.gather(data, tf.minimum(position + places, size)), tf.int64)

  return _read_tag(window, *_find_exif(window, size))


def _find_exif(
    window: Callable[[tf.Tensor], tf.Tensor], size: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
  """Find the first part of a file that is EXIF.

  Args:
    window: reads bytes from a position on, int64 [window].
    size: bytes of the file, int64 [].

  Returns:
    Begin and end of its content, int64 []; both 0 if there is none, as in a
    file that is no JPEG, PNG or WebP.
  """
  zero = tf.constant(0, tf.int64)
  # [formats]
  is_format = _is_like(window(zero), [form.magic for form in _FORMATS])
  exif, length_weights, sizes = tf.split(tf.gather(
      tf.constant([form.after_magic() for form in _FORMATS], tf.int64),
      tf.argmax(is_format)), [_WINDOW, _WINDOW, -1])
  first, content, uncounted, checksum, padding, is_jpeg = tf.unstack(sizes, 6)
  is_jpeg = is_jpeg > 0

  def step(position, begin, end):
    head = window(position)
    mark, kind, *_ = tf.unstack(head, _WINDOW)
    length = tf.reduce_sum(head * length_weights)
    content_end = position + uncounted + length
    # Any number of bytes 0xff may stand before a segment of a JPEG; its pixels
    # and its end come behind all segments.
    following = tf.where(
        is_jpeg & tf.equal(kind, 0xff), position + 1,
        content_end + checksum + length % 2 * padding)
    is_last = is_jpeg & (
        tf.not_equal(mark, 0xff) | tf.equal(kind, 0xda) | tf.equal(kind, 0xd9))
    is_exif = _is_like(head, exif) & (content_end <= size)
    return (tf.where(is_last | is_exif, size, following),
            tf.where(is_exif, position + content, begin),
            tf.where(is_exif, content_end, end))

  _, begin, end = tf.while_loop(
      lambda position, *_: position < size - 1, step,
      [tf.where(tf.reduce_any(is_format), first, size), zero, zero])
  return begin, end


def _read_tag(
    window: Callable[[tf.Tensor], tf.Tensor], begin: tf.Tensor, end: tf.Tensor
) -> tf.Tensor:
  """Return the orientation, int32 [], in EXIF.

  Args:
    window: reads bytes from positions, int64 [..., 1]: int64 [..., window].
    begin: of the EXIF, int64 [].
    end: behind its last byte.
  """
  # Some writers of PNG and WebP have the mark of JPEG there, too.
  begin += 6 * tf.cast(
      _is_like(window(begin), _pattern(b'Exif\0\0')), tf.int64)
  head = window(begin)
  is_big, is_little = tf.unstack(
      _is_like(head, [_pattern(b'MM\0*'), _pattern(b'II*\0')]), 2)
  weights = tf.where(is_big, *(
      tf.constant([_weights(*place, order) for place in _ENTRY], tf.int64)
      for order in (True, False)))  # [5, window]

  def fields(windows):  # [..., window], then 5 of [...].
    return tf.unstack(
        tf.reduce_sum(windows * weights, axis=-1), len(_ENTRY), axis=-1)

  # The place of the directory stands in the head as the number of values does
  # in an entry, the number of entries in the directory as the tag in an entry.
  directory = tf.minimum(begin + fields(head)[2], end)
  count = tf.minimum(fields(window(directory))[0],
                     tf.maximum(end - directory - 2, 0) // 12)
  positions = directory + 2 + 12 * tf.range(count)
  tag, kind, values, short, long = fields(
      window(tf.reshape(positions, [-1, 1, 1])))
  is_short = tf.equal(kind, _SHORT)
  counts = (
      (is_big | is_little) & tf.equal(tag, ORIENTATION) & tf.equal(values, 1)
      & (is_short | tf.equal(kind, _LONG)))
  # Of several tags the last counts: the position comes before the value.
  value = tf.where(
      counts, positions * 2 ** 32 + tf.where(is_short, short, long), 1)
  value = tf.maximum(tf.reduce_max(value), 1) % 2 ** 32
  return tf.where((value >= 1) & (value <= 8), tf.cast(value, tf.int32), 1)


def _is_like(window: tf.Tensor, pattern: tf.Tensor | list) -> tf.Tensor:
  """Return whether windows [..., window] are like patterns, bool [...]."""
  pattern = tf.convert_to_tensor(pattern, tf.int64)
  return tf.reduce_all((pattern < 0) | tf.equal(window, pattern), axis=-1)
