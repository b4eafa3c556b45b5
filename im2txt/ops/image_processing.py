"""The original im2txt's way from an image file to pixels."""

import tensorflow as tf

from im2txt import configuration
from im2txt.inputs import image_processing

_RESIZED = 346  # Pixels of each side before an image is cropped.


def process_image(
    encoded_image: tf.Tensor,
    is_training: bool,
    height: int,
    width: int,
    thread_id: int = 0,
    image_format: str = 'jpeg',
) -> tf.Tensor:
  """Decode, resize, crop and, in training, distort one image.

  Args:
    encoded_image: string [], an image file.
    is_training: whether to crop, flip and distort at random.
    height: pixels of the result, at most 346.
    width: as many.
    thread_id: its distortions' order, one if even and another if odd.
    image_format: without effect; the content says the format.

  Returns:
    float32 [height, width, 3], pixels in [-1, 1].

  Raises:
    ValueError: the result would not be a square, or larger than 346 pixels.
  """
  del image_format
  if height != width or height > _RESIZED:
    raise ValueError(f'height is {height} and width {width}; they must be '
                     f'equal and at most {_RESIZED}')
  config = configuration.ModelConfig(
      image_height=height, image_width=width, resize_ratio=_RESIZED / height)
  return image_processing.process_image(
      encoded_image, is_training, config, thread_id)
