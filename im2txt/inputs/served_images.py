"""Read images in the graph alone, where one that is bad fails alone.

An exported model has no Python: TensorFlow decodes JPEG, PNG, GIF, BMP and
WebP. What it would decode wrongly is refused.

Shapes: B images, h, w pixels.
"""

import tensorflow as tf

from im2txt import configuration
from im2txt.inputs import image_processing, orientation

_READABLE = 'JPEG, PNG, GIF, BMP or WebP'
_HEAD = 32  # Bytes in which a kind of file is told.
_HEIF_BRANDS = (b'heic', b'heix', b'mif1', b'msf1', b'avif', b'avis')


def read(
    image_bytes: tf.Tensor, config: configuration.ModelConfig
) -> tuple[tf.Tensor, tf.Tensor]:
  """Decode images as captioning does, those that can be.

  Args:
    image_bytes: string [B], whole image files.
    config: has the size of the result.

  Returns:
    Pixels in [-1, 1], float32 [B, height, width, 3], black where an image
    cannot be read; and why it cannot, string [B], empty where it can.
  """
  plain = tf.autograph.experimental.do_not_convert
  size = [config.image_height, config.image_width, 3]

  def fit(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    problem = _problem(encoded)
    with tf.control_dependencies([
        tf.debugging.Assert(tf.equal(problem, ''), [problem])]):
      pixels = _decode(tf.identity(encoded))
    return image_processing.fit_image(pixels, False, config), tf.constant('')

  def fit_or_black(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    problem = _problem(encoded)
    problem = tf.where(tf.equal(problem, ''), 'a damaged image', problem)
    black = tf.data.Dataset.from_tensors((tf.zeros(size), problem))
    return (tf.data.Dataset.from_tensors(encoded)
            .map(plain(fit))
            .ignore_errors()
            .concatenate(black)
            .take(1)
            .get_single_element())

  # A server may be given anything.
  image_bytes = tf.ensure_shape(image_bytes, [None], 'batch_of_image_bytes')
  number = tf.size(image_bytes, tf.int64)
  # Of no images a batch has none, either.
  images, errors = (
      tf.data.Dataset.from_tensor_slices(image_bytes)
      .map(plain(fit_or_black), num_parallel_calls=tf.data.AUTOTUNE)
      .concatenate(tf.data.Dataset.from_tensors((tf.zeros(size), '')))
      .batch(number + 1)
      .get_single_element())
  return images[:number], errors[:number]


def _decode(encoded: tf.Tensor) -> tf.Tensor:
  """Decode an image file, string []: uint8 [h, w, 3], upright, on white."""
  head = _head(encoded)
  is_png = tf.equal(tf.strings.substr(head, 0, 4), b'\x89PNG')

  def decode_transparent() -> tf.Tensor:
    return tf.cond(
        is_png, lambda: tf.io.decode_png(encoded, channels=4),
        lambda: tf.io.decode_webp(encoded)[0])  # Its first frame.

  def put_on_white() -> tf.Tensor:
    pixels = tf.cast(decode_transparent(), tf.int32)
    colours = pixels[..., :3]
    # Not all have a fourth channel.
    opaque = tf.fill(tf.shape(pixels[..., :1]), 255)
    alpha = tf.concat([pixels[..., 3:], opaque], axis=-1)[..., :1]
    mixed = (colours * alpha + 255 * (255 - alpha) + 127) // 255
    return tf.cast(mixed, tf.uint8)

  pixels = tf.cond(
      is_png | tf.equal(tf.strings.substr(head, 8, 4), b'WEBP'), put_on_white,
      lambda: tf.io.decode_image(
          encoded, channels=3, expand_animations=False))
  return orientation.turn_upright(
      tf.ensure_shape(pixels, [None, None, 3]), encoded)


def _problem(encoded: tf.Tensor) -> tf.Tensor:
  """Return why a file, string [], is not decoded, string []; else empty."""
  head = _head(encoded)

  def begins(text: bytes, position: int = 0) -> tf.Tensor:
    return tf.equal(tf.strings.substr(head, position, len(text)), text)

  bits = tf.io.decode_raw(tf.strings.substr(head, 28, 1), tf.uint8)[0]
  is_read = tf.reduce_any([
      begins(b'\xff\xd8\xff'), begins(b'\x89PNG'), begins(b'GIF8'),
      begins(b'BM'), begins(b'WEBP', 8)])
  problem = tf.where(is_read, '', f'no image that is read here ({_READABLE})')
  # The last one that is found counts.
  for found, said in (
      (begins(b'BM') & (bits < 24),
       'a BMP of less than 24 bits a pixel, which is not read here'),
      (begins(b'II*\0') | begins(b'MM\0*'),
       f'TIFF, which is not read here; convert it to {_READABLE}'),
      (tf.reduce_any([begins(b'ftyp' + brand, 4) for brand in _HEIF_BRANDS]),
       f'HEIC or AVIF, which is not read here; convert it to {_READABLE}'),
      (tf.equal(tf.strings.length(encoded), 0), 'an empty file')):
    problem = tf.where(found, said, problem)
  return problem


def _head(encoded: tf.Tensor) -> tf.Tensor:
  """Return the first bytes of a file, zeros behind its end."""
  beginning = tf.strings.substr(encoded, 0, _HEAD)
  return tf.strings.join([beginning, tf.constant(bytes(_HEAD))])
