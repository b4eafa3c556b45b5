"""ResNet v1: slim's variables, what they compute, and their checkpoints."""

import functools

import fresh_session
import numpy as np
import pytest
import tensorflow as tf

from im2txt import configuration, encoders
from im2txt.checkpoints import encoder_weights, variable_loader

tf1 = tf.compat.v1

# Small, odd and distinct; a map of 4 x 5 regions.
B, HEIGHT, WIDTH = 2, 107, 139
NUMBERS = {'encoder_weight_decay': 0.5, 'encoder_dropout_keep_prob': 0.25}


def make(depth):
  return encoders.make(configuration.ModelConfig(
      encoder=f'resnet_v1_{depth}', **NUMBERS))


@functools.cache
def build(depth, trainable=False, training=False):
  """An encoder of images of any number and size, in a graph of its own."""
  with tf.Graph().as_default() as graph:
    tf1.set_random_seed(1)
    images = tf1.placeholder(tf.float32, [None, None, None, 3], 'images')
    return graph, images, make(depth).encode(images, trainable, training)


def variables(graph):
  return {v.op.name: v for v in graph.get_collection(
      tf1.GraphKeys.GLOBAL_VARIABLES)}


def noise(*shape):
  return np.random.default_rng(1).uniform(-1.0, 1.0, shape).astype(np.float32)


# 53 convolutions: the stem, 3 in each of 16 units and a shortcut in each of 4
# blocks; each has weights, gamma, beta and two moving statistics.
@pytest.mark.parametrize('trainable, training, sizes', [
    (True, True, (265, 159, 106, 53)),
    (True, False, (265, 159, 0, 53)),
    (False, True, (265, 0, 0, 0)),
    (False, False, (265, 0, 0, 0)),
])
def test_collections(trainable, training, sizes):
  graph, _, _ = build(50, trainable, training)
  assert tuple(len(graph.get_collection(collection)) for collection in (
      tf1.GraphKeys.GLOBAL_VARIABLES, tf1.GraphKeys.TRAINABLE_VARIABLES,
      tf1.GraphKeys.UPDATE_OPS,
      tf1.GraphKeys.REGULARIZATION_LOSSES)) == sizes
  norms = [op for op in graph.get_operations()
           if op.type.startswith('FusedBatchNorm')]
  assert {op.get_attr('is_training') for op in norms} == {
      trainable and training}
  assert {round(op.get_attr('epsilon'), 9) for op in norms} == {1e-5}


# slim's networks less the classifier of 2048 x 1000 weights and 1000 biases:
# 5 x (1 + 3 x units + 4) variables.
@pytest.mark.parametrize('depth, count, values', [
    (50, 5 * (1 + 3 * (3 + 4 + 6 + 3) + 4), 23_561_152),
    # The golden variables of cnn_lstm are of this one, too.
    pytest.param(152, 775, 58_295_232, marks=pytest.mark.long),
])
def test_variables(depth, count, values):
  found = variables(build(depth)[0])
  assert len(found) == count
  assert sum(v.shape.num_elements() for v in found.values()) == values
  scope = f'resnet_v1_{depth}'
  assert all(name.startswith(f'{scope}/') for name in found)
  unit = f'{scope}/block1/unit_1/bottleneck_v1'
  assert {name: v.shape.as_list() for name, v in found.items()
          if name.startswith((f'{unit}/conv2', f'{unit}/shortcut/w'))} == {
      f'{unit}/conv2/weights': [3, 3, 64, 64],
      f'{unit}/conv2/BatchNorm/gamma': [64],
      f'{unit}/conv2/BatchNorm/beta': [64],
      f'{unit}/conv2/BatchNorm/moving_mean': [64],
      f'{unit}/conv2/BatchNorm/moving_variance': [64],
      f'{unit}/shortcut/weights': [1, 1, 64, 256]}


def random_values(graph):
  """Values with which each layer's outputs are of about the same size."""
  random = np.random.default_rng(2)
  def value(name, shape):
    if name.endswith('weights'):
      return (random.standard_normal(shape, np.float32)
              * np.sqrt(2.0 / np.prod(shape[:3])))
    if name.endswith(('gamma', 'moving_variance')):
      return random.uniform(0.5, 1.5, shape)
    return random.normal(size=shape) * 0.1
  return {name: value(name, v.shape.as_list()).astype(np.float32)
          for name, v in variables(graph).items()}


def load(session, wanted, values):
  variable_loader.VariableLoader(wanted).load(
      session, {v.op.name: values[v.op.name] for v in wanted})


def reference(weights, images):
  """The network by tf.nn alone, from the paper and slim's names."""
  def convolve(net, name, stride=1):
    kernel = weights[f'resnet_v1_50/{name}/weights']
    pad = kernel.shape[0] // 2
    net = tf.nn.conv2d(net, kernel, stride,
                       [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    gamma, beta, mean, variance = (
        weights[f'resnet_v1_50/{name}/BatchNorm/{key}']
        for key in ('gamma', 'beta', 'moving_mean', 'moving_variance'))
    return (net - mean) / np.sqrt(variance + 1e-5) * gamma + beta

  pixels = (images.astype(np.float64) + 1.0) * 127.5
  net = (pixels - [123.68, 116.78, 103.94]).astype(np.float32)
  net = tf.nn.relu(convolve(net, 'conv1', 2))
  net = tf.nn.max_pool2d(net, 3, 2, 'SAME')
  for block, units in enumerate((3, 4, 6, 3), start=1):
    for number in range(1, units + 1):
      unit = f'block{block}/unit_{number}/bottleneck_v1'
      stride = 2 if number == units and block < 4 else 1
      shortcut = (convolve(net, f'{unit}/shortcut') if number == 1
                  else net[:, ::stride, ::stride])
      net = tf.nn.relu(convolve(net, f'{unit}/conv1'))
      net = tf.nn.relu(convolve(net, f'{unit}/conv2', stride))
      net = tf.nn.relu(convolve(net, f'{unit}/conv3') + shortcut)
  return net


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
  """A file like slim's, which are of format V1 and have more than we want."""
  weights = random_values(build(50)[0])
  path = tmp_path_factory.mktemp('resnet') / 'resnet_v1_50.ckpt'
  with tf.Graph().as_default(), fresh_session.make() as session:
    more = {'resnet_v1_50/logits/biases': np.ones(1000, np.float32),
            'global_step': np.float32(7)}
    load(session, [tf1.get_variable(name, value.shape)
                   for name, value in (weights | more).items()],
         weights | more)
    tf1.train.Saver(write_version=tf1.train.SaverDef.V1).save(
        session, str(path))
  return str(path), weights


def test_what_it_computes_and_reuse(checkpoint):
  path, weights = checkpoint
  read = encoder_weights.read_file(make(50), path)
  graph, images, encoding = build(50)
  assert encoding.pooled.shape.as_list() == [None, 2048]
  assert encoding.regions.shape.as_list() == [None, None, 2048]
  pixels = noise(B, HEIGHT, WIDTH, 3)
  with graph.as_default(), fresh_session.make() as session:
    again = make(50).encode(tf.constant(pixels), False, False)
    assert len(variables(graph)) == 265
    # A search packs the regions: their number must be known there.
    assert again.regions.shape.as_list() == [B, 4 * 5, 2048]
    load(session, variables(graph).values(), read)
    encoding, again = session.run([encoding, again], {images: pixels})
  expected = reference(weights, pixels).numpy()
  tolerance = 1e-5 * expected.max()
  assert expected.shape == (B, 4, 5, 2048) and expected.std() > 0.1
  for found in encoding, again:
    np.testing.assert_allclose(
        found.regions, expected.reshape(B, 20, 2048), atol=tolerance)
    np.testing.assert_allclose(
        found.pooled, expected.mean((1, 2)), atol=tolerance)


def test_numbers_of_the_configuration():
  graph, images, encoding = build(50, True, True)
  with graph.as_default(), fresh_session.make() as session:
    session.run(tf1.global_variables_initializer())
    (pooled, regions), regularization, kernels = session.run(
        [encoding, tf1.losses.get_regularization_loss(),
         [v for name, v in variables(graph).items()
          if name.endswith('weights')]], {images: noise(B, 65, 97, 3)})
  np.testing.assert_allclose(
      regularization, sum((w ** 2).sum() for w in kernels) * 0.25, rtol=1e-4)
  means, kept = regions.mean(1), pooled != 0
  assert abs(kept[means > 0].mean() - 0.25) < 0.05
  np.testing.assert_allclose(pooled[kept], (means / 0.25)[kept], rtol=1e-4)
  for kernel in kernels:  # He et al., truncated: 2 / inputs is the variance.
    if kernel.size > 10_000:
      np.testing.assert_allclose(
          kernel.var() * np.prod(kernel.shape[:3]), 2.0, rtol=0.1)


@pytest.mark.parametrize('depth, source', [
    (152, '`python -m data_prep.download resnet_v1_152`'),
    (101, 'resnet_v1_101_2016_08_28.tar.gz'),
    (50, 'resnet_v1_50_2016_08_28.tar.gz'),
])
def test_no_checkpoint(tmp_path, depth, source):
  with pytest.raises(FileNotFoundError) as error:
    encoder_weights.read_file(make(depth), str(tmp_path / 'none.ckpt'))
  assert 'none.ckpt' in str(error.value) and source in str(error.value)
  assert '\n' not in str(error.value)


def test_a_checkpoint_of_another_depth_is_one_line(checkpoint):
  path, _ = checkpoint
  with pytest.raises(ValueError, match='no variables under resnet_v1_152/'):
    encoder_weights.read_file(make(152), path)


@pytest.mark.parametrize('content', [b'', b'<html>not found</html>' * 99])
def test_another_file_is_one_line(tmp_path, content):
  path = tmp_path / 'resnet_v1_152.ckpt'
  path.write_bytes(content)
  with pytest.raises(ValueError, match='resnet_v1_152.ckpt') as error:
    encoder_weights.read_file(make(152), str(path))
  assert '\n' not in str(error.value)
