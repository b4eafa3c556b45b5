"""From the bytes of an image file to the pixels that an encoder sees.

As in im2txt: resized with its sides squashed to a square somewhat larger than
the encoder's input, then cropped; in training the crop is random, and the
image may be flipped and its colours distorted.
"""

import tensorflow as tf

from im2txt import configuration
from im2txt.inputs import orientation

tf1 = tf.compat.v1

_IM2TXT_RESIZE_RATIO = 346 / 299


def describe(config: configuration.ModelConfig, augmentations: int) -> str:
  """Return a name of what is done here; feature caches of others are refused.

  Args:
    config: has what images are made into.
    augmentations: distorted versions of each image that a cache has.
  """
  ratio = ('346/299' if config.resize_ratio == _IM2TXT_RESIZE_RATIO
           else f'{config.resize_ratio:.6g}')
  return (f'im2txt: resized to {ratio}, cropped, in [-1, 1]'
          + ', colours left' * (augmentations and not config.distort_colors)
          + ', captioned whole' * (not config.central_crop))


def visible_fraction(config: configuration.ModelConfig) -> float:
  """Return the share of each side that captioning sees, in the middle."""
  return 1.0 / config.resize_ratio if config.central_crop else 1.0


def process_image(
    encoded_image: tf.Tensor,
    training: bool,
    config: configuration.ModelConfig,
    distortion_order: int | tf.Tensor = 0,
    seed: tf.Tensor | None = None,
) -> tf.Tensor:
  """Decode, resize, crop and, in training, distort one image.

  Args:
    encoded_image: string []; a whole image file: JPEG, PNG, GIF (its first
      frame), BMP or WebP, which its content says.
    training: whether to crop, flip and distort at random.
    config: see `fit_image`.
    distortion_order: see `distort_image`.
    seed: see `fit_image`.

  Returns:
    float32 [image_height, image_width, 3], pixels in [-1, 1].
  """
  return fit_image(
      decode_image(encoded_image), training, config, distortion_order, seed)


def decode_image(encoded_image: tf.Tensor) -> tf.Tensor:
  """Decode an image file, string [], of any kind: uint8 [., ., 3], upright."""
  return orientation.turn_upright(
      decode_as_stored(encoded_image), encoded_image)


def decode_as_stored(encoded_image: tf.Tensor) -> tf.Tensor:
  """Decode an image file, string []: uint8 [., ., 3], as its pixels lie."""
  image = tf.io.decode_image(
      encoded_image, channels=3, expand_animations=False)
  image.set_shape([None, None, 3])
  return image


def fit_image(
    image: tf.Tensor,
    training: bool,
    config: configuration.ModelConfig,
    distortion_order: int | tf.Tensor = 0,
    seed: tf.Tensor | None = None,
) -> tf.Tensor:
  """Resize, crop and, in training, distort a decoded image.

  Args:
    image: uint8 [., ., 3].
    training: whether to crop, flip and distort at random.
    config: has the size of the result, how much greater the image is before
      it is cropped, and whether captioning crops too and training distorts the
      colours.
    distortion_order: see `distort_image`.
    seed: integers [2] that all that is random follows from; the same give the
      same pixels. None: others in every run.

  Returns:
    float32 [image_height, image_width, 3], pixels in [-1, 1].
  """
  height, width = config.image_height, config.image_width
  ratio = config.resize_ratio if training or config.central_crop else 1.0
  resized = [round(side * ratio) for side in (height, width)]
  # tf.image.resize of TensorFlow 1 takes pixel corners, not centres; old
  # checkpoints were trained on that.
  image = tf1.image.resize_images(image, resized)  # [0, 255]
  if training:
    rows, columns, flip, colours = tf.unstack(
        tf.random.split(_seed() if seed is None else seed, 4))
    # `stateless_random_crop` has an assertion, for which tf.data would run
    # this in one thread once it must be deterministic.
    top, left = (tf.random.stateless_uniform(
        [], part, maxval=large - small + 1, dtype=tf.int32)
                 for part, large, small in zip(
                     (rows, columns), resized, (height, width), strict=True))
    image = tf.slice(image, [top, left, 0], [height, width, 3]) / 255.0
    image = tf.image.stateless_random_flip_left_right(image, flip)
    if config.distort_colors:
      image = distort_image(image, distortion_order, colours)
    return image * 2.0 - 1.0
  top, left = (resized[0] - height) // 2, (resized[1] - width) // 2
  return image[top:top + height, left:left + width] * (2.0 / 255.0) - 1.0


def thumbnail(image: tf.Tensor, side: int) -> tf.Tensor:
  """Make a small JPEG for people to look at.

  Args:
    image: uint8 [height, width, 3].
    side: pixels of the longer side, if the image is larger.

  Returns:
    string [], the JPEG; the image's form is kept.
  """
  size = tf.cast(tf.shape(image)[:2], tf.float32)
  ratio = tf.minimum(1.0, side / tf.reduce_max(size))
  size = tf.maximum(tf.cast(tf.round(size * ratio), tf.int32), 1)
  small = tf.image.resize(image, size, tf.image.ResizeMethod.AREA)
  return tf.io.encode_jpeg(tf.cast(tf.round(small), tf.uint8), quality=80)


def distort_image(
    image: tf.Tensor,
    distortion_order: int | tf.Tensor,
    seed: tf.Tensor | None = None,
) -> tf.Tensor:
  """Distort the colours at random, in one of im2txt's two orders.

  Args:
    image: float32 [height, width, 3], pixels in [0, 1].
    distortion_order: integer [], im2txt's preprocessing thread; even:
      brightness, saturation, hue, contrast; odd: brightness, contrast,
      saturation, hue.
    seed: see `fit_image`.

  Returns:
    float32 [height, width, 3], pixels in [0, 1].
  """
  brightness, *seeds = tf.unstack(
      tf.random.split(_seed() if seed is None else seed, 4))

  def saturation(image: tf.Tensor) -> tf.Tensor:
    return tf.image.stateless_random_saturation(image, 0.5, 1.5, seeds[0])

  def hue(image: tf.Tensor) -> tf.Tensor:
    return tf.image.stateless_random_hue(image, 0.032, seeds[1])

  def contrast(image: tf.Tensor) -> tf.Tensor:
    return tf.image.stateless_random_contrast(image, 0.5, 1.5, seeds[2])

  def contrast_last() -> tf.Tensor:
    return contrast(hue(saturation(bright)))

  def hue_last() -> tf.Tensor:
    return hue(saturation(contrast(bright)))

  bright = tf.image.stateless_random_brightness(
      image, 32.0 / 255.0, brightness)
  if isinstance(distortion_order, int):
    image = hue_last() if distortion_order % 2 else contrast_last()
  else:
    image = tf.cond(
        tf.equal(distortion_order % 2, 0), contrast_last, hue_last)
  return tf.clip_by_value(image, 0.0, 1.0)


def _seed() -> tf.Tensor:
  """Draw a seed, int32 [2]; another one in every run."""
  return tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)
