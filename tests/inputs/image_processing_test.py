"""Pixels: decoding, resizing, cropping and distorting, against numpy."""

import io

import fresh_session
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from im2txt import configuration
from im2txt.inputs import image_processing

tf1 = tf.compat.v1

# 15 x 8 is what 13 x 7 pixels are cropped from: 346 / 299 times as much.
HEIGHT, WIDTH = 13, 7
RESIZED = (15, 8)
DRAWS = 150


@pytest.fixture(autouse=True)
def graph():
  with tf.Graph().as_default():
    tf1.set_random_seed(1)
    yield


def encode(pixels, file_format='PNG'):
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, file_format)
  return buffer.getvalue()


def noise(height, width, channels=3):
  pixels = np.random.default_rng(1).integers(
      0, 256, (height, width, channels), np.uint8)
  return pixels if channels > 1 else pixels[:, :, 0]


def config_of(size=(HEIGHT, WIDTH), **fields):
  return configuration.ModelConfig(
      image_height=size[0], image_width=size[1], **fields)


def process(encoded_image, training=False, size=(HEIGHT, WIDTH), **fields):
  image = image_processing.process_image(
      tf.constant(encoded_image), training, config_of(size, **fields))
  assert image.shape == [*size, 3] and image.dtype == tf.float32
  with fresh_session.make() as session:
    return session.run(image)


def draws(fetches, count=DRAWS):
  with fresh_session.make() as session:
    return [session.run(fetches) for _ in range(count)]


def bilinear(image, height, width):
  """Pixel i of n stands at i / n of the image, as in TensorFlow 1."""
  def lines(image, length):
    at = np.arange(length) * (len(image) / length)
    low = at.astype(int)
    high = np.minimum(low + 1, len(image) - 1)
    share = (at - low)[:, None, None]
    return image[low] * (1 - share) + image[high] * share

  rows = lines(image, height)
  return lines(rows.transpose(1, 0, 2), width).transpose(1, 0, 2)


def test_evaluation_takes_the_centre():
  pixels = noise(*RESIZED)
  np.testing.assert_allclose(
      process(encode(pixels)), pixels[1:14, :7] / 127.5 - 1.0, atol=1e-6)


def test_im2txt_resizes_to_346_and_takes_299():
  pixels = noise(346, 346)
  image = process(encode(pixels), size=(299, 299))
  np.testing.assert_allclose(
      image, pixels[23:322, 23:322] / 127.5 - 1.0, atol=1e-6)


def test_captioning_sees_the_whole_image_if_told():
  pixels = noise(31, 29)
  np.testing.assert_allclose(
      process(encode(pixels), central_crop=False),
      bilinear(pixels / 127.5 - 1.0, HEIGHT, WIDTH), atol=1e-5)
  assert image_processing.visible_fraction(config_of(central_crop=False)) == 1.0
  assert image_processing.visible_fraction(config_of(resize_ratio=1.25)) == 0.8


def test_training_crops_even_so():
  pixels = np.zeros((*RESIZED, 3), np.uint8)
  pixels[0, 0] = 255
  image = image_processing.process_image(
      tf.constant(encode(pixels)), True, config_of(central_crop=False))
  there = [drawn[0].max() > 0.0 for drawn in draws(image)]
  assert any(there) and not all(there)


@pytest.mark.parametrize('fields, augmentations, expected', [
    ({}, 3, ''),
    ({'distort_colors': False}, 0, ''),
    ({'distort_colors': False}, 3, ', colours left'),
    ({'central_crop': False}, 0, ', captioned whole'),
])
def test_other_pixels_are_described_otherwise(fields, augmentations, expected):
  assert image_processing.describe(config_of(**fields), augmentations) == (
      'im2txt: resized to 346/299, cropped, in [-1, 1]' + expected)
  ratio = config_of(resize_ratio=1.5, **fields)
  assert 'resized to 1.5, ' in image_processing.describe(ratio, augmentations)


@pytest.mark.parametrize('height, width', [(6, 5), (31, 4), (5, 29), (1, 1)])
def test_sides_are_squashed_bilinearly(height, width):
  pixels = noise(height, width)
  resized = bilinear(pixels / 127.5 - 1.0, *RESIZED)
  np.testing.assert_allclose(
      process(encode(pixels)), resized[1:14, :7], atol=1e-5)


def test_evaluation_is_always_the_same():
  image = image_processing.process_image(
      tf.constant(encode(noise(31, 17))), False, config_of())
  first, *others = draws(image, 5)
  assert all((first == other).all() for other in others)


@pytest.mark.parametrize('pixels, mode', [
    (noise(*RESIZED), 'PNG'), (noise(*RESIZED), 'JPEG'),
    (noise(*RESIZED, 1), 'PNG'), (noise(*RESIZED, 1), 'JPEG'),
    (noise(*RESIZED, 4), 'PNG')],
    ids=['png', 'jpeg', 'grey png', 'grey jpeg', 'transparent png'])
def test_images_go_by_content(pixels, mode):
  encoded = encode(pixels, mode)
  with Image.open(io.BytesIO(encoded)) as decoded:
    expected = np.asarray(decoded)
  if expected.ndim == 2:
    expected = np.stack([expected] * 3, axis=-1)
  image = process(encoded)
  np.testing.assert_allclose(  # JPEG decoders round differently.
      image, expected[1:14, :7, :3] / 127.5 - 1.0, atol=0.1)
  assert image.min() < -0.5 and image.max() > 0.5


def test_training_crops_everywhere_and_flips():
  pixels = np.zeros((*RESIZED, 3), np.uint8)
  pixels[5, 2] = 255
  image = image_processing.process_image(
      tf.constant(encode(pixels)), True, config_of())
  brightest = {np.unravel_index(drawn.sum(-1).argmax(), (HEIGHT, WIDTH))
               for drawn in draws(image)}
  # Rows left out above: 0, 1 or 2; columns left out: 0 or 1; flipped or not.
  assert brightest == {
      (5 - top, column) for top in range(3) for column in (1, 2, 4, 5)}


def test_training_gives_pixels_between_minus_1_and_1():
  pixels = noise(*RESIZED)
  image = image_processing.process_image(
      tf.constant(encode(pixels)), True, config_of())
  drawn = np.array(draws(image))
  assert drawn.min() == -1.0 and drawn.max() == 1.0
  assert len({d.tobytes() for d in drawn}) == DRAWS


@pytest.mark.parametrize('order, expected', [
    (0, ['AdjustSaturation', 'AdjustHue', 'AdjustContrastv2']),
    (1, ['AdjustContrastv2', 'AdjustSaturation', 'AdjustHue']),
    (2, ['AdjustSaturation', 'AdjustHue', 'AdjustContrastv2']),
    (3, ['AdjustContrastv2', 'AdjustSaturation', 'AdjustHue']),
])
def test_distortions_come_in_their_order_with_their_ranges(order, expected):
  pixels = np.random.default_rng(1).uniform(size=(9, 5, 3))
  distorted = image_processing.distort_image(
      tf.constant(pixels, tf.float32), order)
  ops = {op.type: op for op in tf1.get_default_graph().get_operations()
         if op.type.startswith('Adjust')}
  assert list(ops) == expected
  drawn = draws({
      'bright': ops[expected[0]].inputs[0],
      'ins': [ops[name].inputs[0] for name in expected],
      'outs': [ops[name].outputs[0] for name in expected],
      'amounts': {name: op.inputs[1] for name, op in ops.items()},
      'result': distorted})
  for one in drawn:  # Each works on what the one before it gives.
    for earlier, later in zip(one['outs'][:-1], one['ins'][1:], strict=True):
      np.testing.assert_array_equal(later, earlier)
    np.testing.assert_array_equal(
        one['result'], np.clip(one['outs'][-1], 0.0, 1.0))
  brightness = [one['bright'] - pixels for one in drawn]
  assert max(np.ptp(b) for b in brightness) < 1e-6
  amounts = {
      name: [one['amounts'][name] for one in drawn] for name in expected}
  for low, high, values in (
      (-32 / 255, 32 / 255, [b.mean() for b in brightness]),
      (0.5, 1.5, amounts['AdjustSaturation']),
      (-0.032, 0.032, amounts['AdjustHue']),
      (0.5, 1.5, amounts['AdjustContrastv2'])):
    margin = 0.05 * (high - low)
    assert low - 1e-6 <= min(values) < low + margin
    assert high - margin < max(values) <= high + 1e-6


@pytest.mark.parametrize('order', [0, 1])
@pytest.mark.parametrize('as_tensor', [False, True])
def test_order_shows_in_the_pixels(order, as_tensor):
  # Saturation and hue leave a grey pixel grey. Contrast, of factor f, takes
  # it to f * grey + (1 - f) * mean of the channel, and keeps the means: if it
  # comes last, the three channels of the pixel lie on a line over the means.
  pixels = np.array([[[.5, .5, .5], [.6, .4, .45], [.4, .6, .55],
                      [.35, .5, .65]]], np.float32)
  distorted = image_processing.distort_image(
      tf.constant(pixels), tf.constant(order) if as_tensor else order)
  bends = []
  for image in draws(distorted, 60):
    (x0, x1, x2), (y0, y1, y2) = image.mean((0, 1)), image[0, 0]
    bends.append(abs((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)))
  assert (max(bends) < 1e-6) == (order == 0)


def test_distorted_pixels_are_clipped():
  image = tf.constant(np.tile([[[1.0, 0.0, 1.0]]], (3, 5, 1)), tf.float32)
  drawn = draws(image_processing.distort_image(image, 0))
  assert np.min(drawn) == 0.0 and np.max(drawn) == 1.0


@pytest.mark.parametrize('size, expected', [
    ((47, 94), (15, 30)), ((94, 47), (30, 15)), ((61, 61), (30, 30)),
    ((20, 30), (20, 30)), ((7, 13), (7, 13)), ((31, 7), (30, 7)),
    ((1, 1), (1, 1)), ((1, 500), (1, 30)), ((500, 2), (30, 1))])
def test_a_thumbnail_keeps_the_form_and_is_never_larger(size, expected):
  thumbnail = image_processing.thumbnail(tf.constant(noise(*size)), 30)
  with fresh_session.make() as session:
    encoded = session.run(thumbnail)
  with Image.open(io.BytesIO(encoded)) as image:
    image.load()
    assert (image.format, image.mode) == ('JPEG', 'RGB')
    assert image.size == expected[::-1]


def test_a_thumbnail_shows_the_image():
  pixels = np.zeros((60, 90, 3), np.uint8)  # Black, blue, red.
  pixels[:, 30:, 2] = 250
  pixels[40:, :, 0] = 250
  thumbnail = image_processing.thumbnail(tf.constant(pixels), 45)
  with fresh_session.make() as session:
    encoded = session.run(thumbnail)
  with Image.open(io.BytesIO(encoded)) as image:
    small = np.asarray(image).astype(int)
  # Away from the edges, which JPEG blurs.
  for rows, columns, colour in (
      (slice(2, 16), slice(2, 11), (0, 0, 0)),
      (slice(2, 16), slice(19, 43), (0, 0, 250)),
      (slice(24, 28), slice(2, 11), (250, 0, 0)),
      (slice(24, 28), slice(19, 43), (250, 0, 250))):
    np.testing.assert_allclose(
        small[rows, columns].mean(axis=(0, 1)), colour, atol=12)


def test_a_thumbnail_is_of_means_not_of_single_pixels():
  # Every second column white: what takes a pixel of each pair sees one shade.
  pixels = np.zeros((40, 40, 3), np.uint8)
  pixels[:, ::2] = 254
  thumbnail = image_processing.thumbnail(tf.constant(pixels), 20)
  with fresh_session.make() as session:
    encoded = session.run(thumbnail)
  with Image.open(io.BytesIO(encoded)) as image:
    np.testing.assert_allclose(np.asarray(image), 127.0, atol=4)
