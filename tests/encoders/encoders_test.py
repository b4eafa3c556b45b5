"""Inception v3 and EfficientNet-Lite: variables, numbers and real weights."""

import dataclasses
import functools
import pathlib
import tarfile
from typing import NamedTuple

import fresh_session
import numpy as np
import pytest
import tensorflow as tf

from im2txt import configuration
from im2txt.encoders import (
    ENCODERS,
    EfficientNetLite0,
    EfficientNetLite2,
    Encoding,
    InceptionV3,
    encoder,
    pytorch_weights,
)
from im2txt.inputs import image_processing

tf1 = tf.compat.v1

FLICKR8K = (pathlib.Path(__file__).resolve().parents[3] /
            'shared/data/flickr8k')
# Small, odd and distinct: Inception's map is 2 x 3 then, Lite0's 4 x 5.
B, HEIGHT, WIDTH = 3, 107, 139
CONFIG = configuration.ModelConfig()


class Built(NamedTuple):
  """An encoder; if it is frozen, connected once more."""

  graph: tf.Graph
  images: tf.Tensor  # Of any number and size.
  encoding: Encoding
  again: Encoding | None  # Of one image of HEIGHT x WIDTH.

  def size(self, collection):
    return len(self.graph.get_collection(collection))

  def variables(self):
    return {v.op.name: v for v in self.graph.get_collection(
        tf1.GraphKeys.GLOBAL_VARIABLES)}


@functools.cache
def build(name, trainable, training):
  network = ENCODERS[name].from_config(CONFIG)
  with tf.Graph().as_default() as graph:
    tf1.set_random_seed(1)
    images = tf1.placeholder(tf.float32, [None, None, None, 3])
    encoding = network.encode(images, trainable, training)
    again = None if trainable or training else network.encode(
        tf.constant(noise(1, HEIGHT, WIDTH, 3)), False, False)
  return Built(graph, images, encoding, again)


def inception(trainable=False, training=False):
  return build('inception_v3', trainable, training)


def lite0(trainable=False, training=False):
  return build('efficientnet_lite0', trainable, training)


def noise(*shape):
  return np.random.default_rng(1).uniform(-1.0, 1.0, shape).astype(np.float32)


def values(built):
  return sum(v.shape.num_elements() for v in built.variables().values())


@pytest.mark.parametrize('trainable, training, sizes', [
    (True, True, (376, 188, 188, 94)),
    (True, False, (376, 188, 0, 94)),
    (False, True, (376, 0, 0, 0)),
    (False, False, (376, 0, 0, 0)),
])
def test_collections_of_inception(trainable, training, sizes):
  built = inception(trainable, training)
  assert tuple(built.size(collection) for collection in (
      tf1.GraphKeys.GLOBAL_VARIABLES, tf1.GraphKeys.TRAINABLE_VARIABLES,
      tf1.GraphKeys.UPDATE_OPS,
      tf1.GraphKeys.REGULARIZATION_LOSSES)) == sizes


def test_parameters_of_inception():
  built = inception()
  def of(scope):
    return sum(v.shape.num_elements() for name, v in built.variables().items()
               if name.startswith(f'InceptionV3/{scope}/'))
  assert values(built) == 21_802_784
  # 3 x 3 x 3 x 32 weights; 32 each of beta, moving mean and variance.
  assert of('Conv2d_1a_3x3') == 960
  assert of('Mixed_7c') == 6_080_064


def test_no_batch_norm_of_inception_has_gamma():
  kinds = {name.rsplit('/', 1)[-1] for name in inception().variables()}
  assert kinds == {'weights', 'beta', 'moving_mean', 'moving_variance'}


@pytest.mark.parametrize('make, width, regions', [
    (inception, 2048, 2 * 3), (lite0, 1280, 4 * 5)])
def test_shapes_and_reuse(make, width, regions):
  built = make()
  assert built.encoding.pooled.shape.as_list() == [None, width]
  assert built.encoding.regions.shape.as_list() == [None, None, width]
  # A search packs the regions: their number must be known there.
  assert built.again.regions.shape.as_list() == [1, regions, width]
  images = np.concatenate(
      [noise(1, HEIGHT, WIDTH, 3), -noise(B - 1, HEIGHT, WIDTH, 3)])
  with built.graph.as_default(), fresh_session.make() as session:
    session.run(tf1.global_variables_initializer())
    encoding, again = session.run(
        [built.encoding, built.again], {built.images: images})
  assert encoding.pooled.shape == (B, width)
  assert encoding.regions.shape == (B, regions, width)
  tolerance = 1e-4 * encoding.regions.max()
  assert tolerance > 0.0
  np.testing.assert_allclose(
      encoding.pooled, encoding.regions.mean(1), atol=tolerance)
  # The same image, through the same variables, in other company.
  np.testing.assert_allclose(
      encoding.regions[:1], again.regions, atol=tolerance)
  assert np.abs(encoding.regions[1] - again.regions[0]).max() > tolerance


def test_regions_are_rows_after_rows():
  feature_map = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
  with tf.Graph().as_default(), fresh_session.make() as session:
    pooled, regions = session.run(
        encoder.pool_regions(tf.constant(feature_map)))
  np.testing.assert_array_equal(regions[:, 1 * 4 + 2], feature_map[:, 1, 2])
  np.testing.assert_allclose(pooled, feature_map.mean((1, 2)))


@pytest.fixture(scope='module')
def trained():
  """Inception as it is trained, run on a batch; arrays by name."""
  built = inception(True, True)
  variables = built.variables()
  first = 'InceptionV3/Conv2d_1a_3x3'
  with built.graph.as_default(), fresh_session.make() as session:
    convolved = tf.nn.conv2d(
        built.images, variables[f'{first}/weights'], 2, 'VALID')
    moving = [variables[f'{first}/BatchNorm/moving_{name}']
              for name in ('mean', 'variance')]
    session.run(tf1.global_variables_initializer())
    images = noise(B, HEIGHT, WIDTH, 3) ** 3  # Not of mean 0 after a while.
    run = functools.partial(session.run, feed_dict={built.images: images})
    found = {
        'encoding': run(built.encoding),
        'convolved': run(convolved),
        'before': run(moving),
        'weights': run([v for name, v in variables.items()
                        if name.endswith('/weights')]),
        'regularization': run(tf1.losses.get_regularization_loss()),
    }
    run(tf1.get_collection(tf1.GraphKeys.UPDATE_OPS))
    found['after'] = run(moving)
    found['encoding_after'] = run(built.encoding)
    return found


def test_moving_statistics_of_inception_go_to_those_of_the_batch(trained):
  convolved = trained['convolved']
  np.testing.assert_array_equal(
      trained['before'], [np.zeros(32), np.ones(32)])
  mean, variance = trained['after']
  np.testing.assert_allclose(
      mean, 0.0003 * convolved.mean((0, 1, 2)), rtol=1e-3, atol=1e-7)
  np.testing.assert_allclose(
      variance, 0.9997 + 0.0003 * convolved.var((0, 1, 2), ddof=1), rtol=1e-6)


def test_trained_inception_does_not_look_at_moving_statistics(trained):
  np.testing.assert_allclose(
      trained['encoding'].regions, trained['encoding_after'].regions,
      rtol=1e-4, atol=1e-4)


def test_dropout_of_pooled_features_keeps_80_percent(trained):
  pooled, regions = trained['encoding']
  means = regions.mean(1)
  kept = pooled != 0
  np.testing.assert_allclose(pooled[kept], (means / 0.8)[kept], rtol=1e-4)
  assert abs(kept[means > 0].mean() - 0.8) < 0.02


def test_regularisation_of_inception(trained):
  squares = sum((w.astype(np.float64) ** 2).sum() for w in trained['weights'])
  assert len(trained['weights']) == 94
  np.testing.assert_allclose(
      trained['regularization'], 4e-5 * squares / 2.0, rtol=1e-4)


def test_weights_of_inception_begin_normal_and_truncated(trained):
  for weights in trained['weights']:
    assert np.abs(weights).max() <= 0.2
    if weights.size > 10_000:  # Cutting at 2 sigma leaves 0.8796 of sigma.
      assert abs(weights.std() - 0.08796) < 0.002
      assert abs(weights.mean()) < 0.004


@pytest.mark.parametrize('trainable, training', [
    (True, True), (True, False), (False, True), (False, False)])
def test_batch_statistics_only_when_trainable_and_training(
    trainable, training):
  norms = [op for op in inception(trainable, training).graph.get_operations()
           if op.type.startswith('FusedBatchNorm')]
  assert len(norms) >= 94
  assert {op.get_attr('is_training') for op in norms} == {
      trainable and training}
  assert {round(op.get_attr('epsilon'), 6) for op in norms} == {0.001}


def test_numbers_of_the_configuration_reach_lite0():
  config = configuration.ModelConfig(
      encoder_weight_decay=0.5, encoder_dropout_keep_prob=0.25)
  with tf.Graph().as_default(), fresh_session.make() as session:
    tf1.set_random_seed(1)
    encoding = EfficientNetLite0.from_config(config).encode(
        tf.constant(noise(1, 33, 65, 3)), True, True)
    session.run(tf1.global_variables_initializer())
    kernels = [v for v in tf1.trainable_variables()
               if v.op.name.endswith('weights')]
    pooled, regularization, kernels = session.run([
        encoding.pooled, tf1.losses.get_regularization_loss(), kernels])
  np.testing.assert_allclose(
      regularization, sum((w ** 2).sum() for w in kernels) * 0.25, rtol=1e-4)
  assert 0.6 < (pooled == 0).mean() < 0.95


class Size(NamedTuple):
  """What is known of an EfficientNet-Lite."""

  name: str
  num_values: int  # Without the classifier.
  num_blocks: int
  halving: tuple[int, ...]  # Blocks that halve the resolution.


LITE0 = Size('efficientnet_lite0', 3_413_024, 16, (1, 3, 5, 11))
LITE2 = Size('efficientnet_lite2', 4_869_168, 21, (1, 4, 7, 15))
all_sizes = pytest.mark.parametrize(
    'size', [LITE0, pytest.param(LITE2, marks=pytest.mark.long)],
    ids=lambda size: size.name)


@all_sizes
def test_parameters_of_lite(size):
  built = build(size.name, False, False)
  assert values(built) == size.num_values
  assert built.size(tf1.GraphKeys.TRAINABLE_VARIABLES) == 0


@functools.cache
def real_weights(name):
  network = ENCODERS[name].from_config(CONFIG)
  path = network.default_weights()
  return pytorch_weights.read(path), network.read_weights(path)


@all_sizes
def test_weights_of_lite_are_those_of_its_variables(size):
  _, ours = real_weights(size.name)
  variables = build(size.name, False, False).variables()
  assert {name: list(value.shape) for name, value in ours.items()} == {
      name: v.shape.as_list() for name, v in variables.items()}
  assert {value.dtype for value in ours.values()} == {np.dtype('float32')}


@all_sizes
def test_nothing_but_the_classifier_of_lite_is_left_out(size):
  theirs, ours = real_weights(size.name)
  used = {name for name in theirs
          if not name.startswith('_fc.')
          and not name.endswith('num_batches_tracked')}
  assert sum(theirs[name].size for name in used) == sum(
      value.size for value in ours.values())


def load(session, built, weights):
  session.run([tf1.assign(v, weights[name])
               for name, v in built.variables().items()])


def reference_lite(size, theirs, images):
  """Head of the network by tf.nn alone, from PyTorch's names and shapes."""
  def norm(net, name):
    mean, variance, gamma, beta = (
        theirs[f'{name}.{key}']
        for key in ('running_mean', 'running_var', 'weight', 'bias'))
    return (net - mean) / np.sqrt(variance + 1e-3) * gamma + beta

  def convolve(net, name, stride=1):
    kernel = theirs[f'{name}.weight']  # [O, I, H, W]
    strides = [1, stride, stride, 1]
    if kernel.shape[1] == 1:
      return tf.nn.depthwise_conv2d(
          net, np.moveaxis(kernel, (0, 1), (2, 3)), strides, 'SAME')
    return tf.nn.conv2d(
        net, np.moveaxis(kernel, (0, 1), (3, 2)), strides, 'SAME')

  net = ((images + 1.0) * 127.5 - 127.0) / 128.0
  net = tf.nn.relu6(norm(convolve(net, '_conv_stem', 2), '_bn0'))
  for i in range(size.num_blocks):
    block, before = f'_blocks.{i}', net
    if i > 0:
      net = tf.nn.relu6(
          norm(convolve(net, f'{block}._expand_conv'), f'{block}._bn0'))
    stride = 2 if i in size.halving else 1
    net = tf.nn.relu6(norm(
        convolve(net, f'{block}._depthwise_conv', stride), f'{block}._bn1'))
    net = norm(convolve(net, f'{block}._project_conv'), f'{block}._bn2')
    if net.shape == before.shape:
      net += before
  return tf.nn.relu6(norm(convolve(net, '_conv_head'), '_bn1'))


@all_sizes
def test_lite_computes_what_pytorchs_tensors_say(size):
  theirs, ours = real_weights(size.name)
  built = build(size.name, False, False)
  images = noise(1, HEIGHT, WIDTH, 3)
  with built.graph.as_default(), fresh_session.make() as session:
    expected = reference_lite(size, theirs, tf.constant(images))
    load(session, built, ours)
    regions, expected = session.run(
        [built.encoding.regions, expected], {built.images: images})
  assert expected.max() > 1.0
  np.testing.assert_allclose(
      regions, expected.reshape(1, 4 * 5, 1280), atol=1e-3)


@pytest.mark.parametrize('missing', [
    '_conv_stem.weight', '_blocks.15._bn2.running_var', '_bn1.bias'])
def test_weights_of_another_network_are_one_line(monkeypatch, missing):
  theirs, _ = real_weights('efficientnet_lite0')
  theirs = {name: value for name, value in theirs.items() if name != missing}
  monkeypatch.setattr(pytorch_weights, 'read', lambda path: theirs)
  with pytest.raises(ValueError, match=f'^x.pth has no tensor .{missing}'):
    EfficientNetLite0.from_config(CONFIG).read_weights('x.pth')


@pytest.mark.parametrize('network', [EfficientNetLite0, EfficientNetLite2])
def test_lite_has_no_weights_where_its_package_is_not_installed(
    monkeypatch, network):
  assert network().default_weights().endswith('.pth')
  monkeypatch.setattr(network, 'weights_package', 'no-such-package')
  assert network().default_weights() is None


def test_inception_has_no_weights_of_its_own():
  assert InceptionV3().default_weights() is None


def find_images(wanted, count):
  """Flickr8k images of which all five captions satisfy `wanted`."""
  captions = {}
  for line in (FLICKR8K / 'Flickr8k.token.txt').read_text().splitlines():
    name, caption = line.split('\t')
    captions.setdefault(name.split('#')[0], []).append(
        caption.lower().split())
  names = {name for name, all_five in captions.items()
           if all(wanted(words) for words in all_five)}
  found = []
  with tarfile.open(FLICKR8K / 'Flicker8k_Dataset.dev.tar') as archive:
    for member in archive:
      if pathlib.PurePath(member.name).name in names:
        found.append(archive.extractfile(member).read())
        if len(found) == count:
          return found
  raise AssertionError(f'only {len(found)} such images')


@pytest.mark.skipif(not FLICKR8K.exists(), reason=f'no {FLICKR8K}')
@all_sizes
def test_lite_knows_dogs(size):
  theirs, ours = real_weights(size.name)
  side = ENCODERS[size.name].image_side
  dogs = find_images(lambda words: {'dog', 'dogs'} & set(words), 12)
  others = find_images(lambda words: 'man' in words and 'dog' not in words, 12)
  built = build(size.name, False, False)
  with built.graph.as_default(), fresh_session.make() as session:
    encoded_image = tf1.placeholder(tf.string, [])
    image = image_processing.process_image(
        encoded_image, False, dataclasses.replace(
            CONFIG, image_height=side, image_width=side))
    images = [session.run(image, {encoded_image: encoded})
              for encoded in dogs + others]
    load(session, built, ours)
    pooled = session.run(built.encoding.pooled, {built.images: images})
  logits = pooled @ theirs['_fc.weight'].T + theirs['_fc.bias']
  is_dog = (logits.argmax(1) >= 151) & (logits.argmax(1) <= 268)
  assert is_dog[:12].sum() >= 10
  assert is_dog[12:].sum() <= 2


@pytest.mark.parametrize('name, height, width, expected', [
    ('inception_v3', 299, 299, (8, 8)),
    ('inception_v3', 168, 299, (3, 8)),
    ('inception_v3', HEIGHT, WIDTH, (2, 3)),
    ('efficientnet_lite0', 224, 256, (7, 8)),
    ('efficientnet_lite0', HEIGHT, WIDTH, (4, 5)),
])
def test_the_grid_of_regions(name, height, width, expected):
  assert ENCODERS[name]().grid(height, width) == expected


def test_the_grid_is_that_of_the_network():
  with tf.Graph().as_default():
    encoding = InceptionV3().encode(
        tf1.placeholder(tf.float32, [None, 168, 299, 3]), False, False)
  assert encoding.regions.shape[1] == 3 * 8
