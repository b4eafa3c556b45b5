"""MobileNetV3: Keras's network in ours, with the weights of Keras's files."""

import functools
import re

import fresh_session
import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from im2txt import configuration, encoders
from im2txt.checkpoints import encoder_weights
from im2txt.encoders import MobileNetV3Small

tf1 = tf.compat.v1

# Small, odd and distinct; a map of 4 x 5 regions.
B, HEIGHT, WIDTH = 2, 107, 139
NUMBERS = {'encoder_weight_decay': 0.5, 'encoder_dropout_keep_prob': 0.25}


def make():
  return encoders.make(configuration.ModelConfig(
      encoder='mobilenet_v3_small', **NUMBERS))


@functools.cache
def build(trainable=False, training=False):
  """The encoder of images of any number and size, in a graph of its own."""
  with tf.Graph().as_default() as graph:
    tf1.set_random_seed(1)
    images = tf1.placeholder(tf.float32, [None, None, None, 3], 'images')
    return graph, images, make().encode(images, trainable, training)


def variables(graph):
  return {v.op.name: v for v in graph.get_collection(
      tf1.GraphKeys.GLOBAL_VARIABLES)}


def noise(*shape):
  return np.random.default_rng(1).uniform(-1.0, 1.0, shape).astype(np.float32)


# 34 convolutions with batch norms: stem, 11 depthwise, 11 to project, 10 to
# expand, head; and two with biases in each of 9 blocks that are squeezed.
@pytest.mark.parametrize('trainable, training, sizes', [
    (True, True, (34 * 5 + 36, 34 * 3 + 36, 34 * 2, 34 + 18)),
    (True, False, (206, 138, 0, 52)),
    (False, True, (206, 0, 0, 0)),
    (False, False, (206, 0, 0, 0)),
])
def test_collections(trainable, training, sizes):
  graph, _, _ = build(trainable, training)
  assert tuple(len(graph.get_collection(collection)) for collection in (
      tf1.GraphKeys.GLOBAL_VARIABLES, tf1.GraphKeys.TRAINABLE_VARIABLES,
      tf1.GraphKeys.UPDATE_OPS,
      tf1.GraphKeys.REGULARIZATION_LOSSES)) == sizes
  norms = [op for op in graph.get_operations()
           if op.type.startswith('FusedBatchNorm')]
  assert {op.get_attr('is_training') for op in norms} == {
      trainable and training}
  assert {round(op.get_attr('epsilon'), 6) for op in norms} == {0.001}


def test_variables():
  found = variables(build()[0])
  def of(scope):
    return sum(v.shape.num_elements() for name, v in found.items()
               if name.startswith(f'MobileNetV3Small/{scope}'))
  assert of('') == 939_120
  # 3 x 3 x 3 x 16 weights and four vectors of 16.
  assert of('Stem/') == 432 + 64
  # Depthwise 9 x 16; 16 x 8 + 8 and 8 x 16 + 16; 16 x 16; two batch norms.
  assert of('Block_0/') == 144 + 136 + 144 + 256 + 2 * 64


def test_shapes_and_reuse():
  graph, images, encoding = build()
  assert encoding.pooled.shape.as_list() == [None, 576]
  assert encoding.regions.shape.as_list() == [None, None, 576]
  pixels = noise(B, HEIGHT, WIDTH, 3)
  with graph.as_default(), fresh_session.make() as session:
    again = make().encode(tf.constant(pixels[:1]), False, False)
    assert len(variables(graph)) == 206
    # A search packs the regions: their number must be known there.
    assert again.regions.shape.as_list() == [1, 4 * 5, 576]
    session.run(tf1.global_variables_initializer())
    encoding, again = session.run([encoding, again], {images: pixels})
  tolerance = 1e-4 * np.abs(encoding.regions).max()
  assert encoding.regions.shape == (B, 4 * 5, 576) and tolerance > 0.0
  np.testing.assert_allclose(
      encoding.regions[:1], again.regions, atol=tolerance)
  assert np.abs(encoding.regions[1] - again.regions[0]).max() > tolerance


def test_numbers_of_the_configuration():
  graph, images, encoding = build(True, True)
  with graph.as_default(), fresh_session.make() as session:
    session.run(tf1.global_variables_initializer())
    (pooled, regions), regularization, kernels = session.run(
        [encoding, tf1.losses.get_regularization_loss(),
         [v for name, v in variables(graph).items()
          if name.endswith('weights')]], {images: noise(4, 65, 97, 3)})
  np.testing.assert_allclose(
      regularization, sum((w ** 2).sum() for w in kernels) * 0.25, rtol=1e-4)
  kept = pooled != 0
  assert abs(kept.mean() - 0.25) < 0.05
  np.testing.assert_allclose(
      pooled[kept], (regions.mean(1) / 0.25)[kept], rtol=1e-3, atol=1e-5)


def at_random(model):
  random = np.random.default_rng(2)
  for layer in model.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
      shape = layer.beta.shape
      layer.set_weights([
          random.uniform(0.5, 2.0, shape), random.normal(size=shape),
          random.normal(size=shape) * 0.1, random.uniform(0.5, 2.0, shape)])
    elif 'squeeze_excite_conv' in layer.name:
      kernel, bias = layer.get_weights()
      layer.set_weights([kernel, random.normal(size=bias.shape)])


def without_top():
  """At an odd size, from pixels like ours."""
  model = keras.applications.MobileNetV3Small(
      weights=None, include_top=False, input_shape=(HEIGHT, WIDTH, 3),
      include_preprocessing=False)
  return model, model, lambda images: images


def with_top():
  """At 224 x 224, from pixels in [0, 255], with the classifier."""
  model = keras.applications.MobileNetV3Small(
      weights=None, input_shape=(224, 224, 3))
  *_, pool = (layer for layer in model.layers if isinstance(
      layer, keras.layers.GlobalAveragePooling2D))
  return (model, keras.Model(model.input, pool.input),
          lambda images: (images + 1.0) * 127.5)


@functools.cache
def saved(kind, folder):
  """A random model: its file, its values in Keras's order, what it computes."""
  keras.utils.set_random_seed(1)
  model, features, preprocess = kind()
  at_random(model)
  path = folder / f'{kind.__name__}.h5'
  model.save(path)
  images = noise(B, *model.input_shape[1:])
  return (path, model.get_weights(), images,
          np.asarray(features(preprocess(images), training=False)))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('keras')


@pytest.mark.parametrize('kind', [without_top, with_top])
def test_outputs_are_those_of_keras(kind, folder):
  path, _, pixels, expected = saved(kind, folder)
  weights = encoder_weights.read_file(make(), str(path))
  graph, images, encoding = build()
  assert {name: list(value.shape) for name, value in weights.items()} == {
      name: v.shape.as_list() for name, v in variables(graph).items()}
  with graph.as_default(), fresh_session.make() as session:
    session.run([tf1.assign(v, weights[name])
                 for name, v in variables(graph).items()])
    pooled, regions = session.run(encoding, {images: pixels})
  assert expected.std() > 0.1
  np.testing.assert_allclose(
      regions, expected.reshape(B, -1, 576), atol=2e-5)
  np.testing.assert_allclose(pooled, expected.mean((1, 2)), atol=2e-5)


def published_name(name):
  """What Keras 2 called a layer: `expanded_conv_1/expand/BatchNorm`."""
  name = re.sub('_bn$', '/BatchNorm', name)
  name = re.sub('^(expanded_conv(?:_[0-9]+)?)_', r'\1/', name)
  name = name.replace('excite_conv', 'excite/Conv')
  return re.sub('^(conv|logits)', lambda match: match[1].title(), name)


def as_published(path):
  """Move a model's weights to where Keras's own files have them."""
  published = path.with_name('published.h5')
  with h5py.File(path) as theirs, h5py.File(published, 'w') as f:
    layer_names = []
    for old in theirs['model_weights'].attrs['layer_names']:
      layer = theirs['model_weights'][old]
      new = published_name(old)
      layer_names.append(new.encode())
      group = f.require_group(new)
      weight_names = []
      for name in layer.attrs['weight_names']:
        kind = name.rsplit('/', 1)[-1]
        if new.endswith('depthwise'):
          kind = 'depthwise_kernel'
        weight_names.append(f'{new}/{kind}:0'.encode())
        group[weight_names[-1]] = layer[name][()]
      group.attrs['weight_names'] = weight_names
    f.attrs['layer_names'] = layer_names
  assert b'expanded_conv/squeeze_excite/Conv_1' in layer_names
  assert b'expanded_conv_10/project/BatchNorm' in layer_names
  return published


def test_published_layout_is_read_too(folder):
  path, expected, _, _ = saved(with_top, folder)
  weights = encoder_weights.read_file(make(), str(as_published(path)))
  assert len(expected) == 206 + 4  # Two layers of the classifier.
  for value, theirs in zip(weights.values(), expected, strict=False):
    np.testing.assert_array_equal(value, theirs)


def test_the_minimalistic_network_is_another(tmp_path):
  path = tmp_path / 'other.h5'
  keras.applications.MobileNetV3Small(
      weights=None, include_top=False, input_shape=(32, 32, 3),
      minimalistic=True).save(path)
  with pytest.raises(ValueError, match='project/kernel .* stands where '
                     'MobileNetV3Small/Block_0/Squeeze/weights') as error:
    encoder_weights.read_file(MobileNetV3Small(), str(path))
  assert str(error.value).startswith(str(path))
  assert '\n' not in str(error.value)


def test_a_checkpoint_of_our_own(tmp_path):
  path = str(tmp_path / 'model.ckpt-7')
  graph, _, _ = build()
  with graph.as_default(), fresh_session.make() as session:
    session.run(tf1.global_variables_initializer())
    tf1.train.Saver(list(variables(graph).values())).save(session, path)
  assert encoder_weights.read_file(make(), path).keys() == (
      variables(graph).keys())


@pytest.mark.parametrize('name', ['none.h5', 'none.ckpt'])
def test_no_file(tmp_path, name):
  with pytest.raises(FileNotFoundError, match=f'{name}: no such'):
    encoder_weights.read_file(MobileNetV3Small(), str(tmp_path / name))
