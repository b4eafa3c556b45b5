"""Keras's weights in slim's network: the same outputs, or one clear line."""

import fresh_session
import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from im2txt.checkpoints import encoder_weights
from im2txt.encoders import InceptionV3, keras_weights

tf1 = tf.compat.v1

HEIGHT, WIDTH = 107, 139  # A map of 2 x 3 regions.
SCOPES = ['Net/a', 'Net/b', 'Net/c']


@pytest.fixture(scope='module')
def images():
  return np.random.default_rng(1).uniform(
      -1.0, 1.0, (2, HEIGHT, WIDTH, 3)).astype(np.float32)


@pytest.fixture(scope='module')
def keras_model(tmp_path_factory, images):
  """Keras's network at random: its file and what it computes."""
  keras.utils.set_random_seed(1)
  random = np.random.default_rng(2)
  model = keras.applications.InceptionV3(
      weights=None, include_top=False, input_shape=(HEIGHT, WIDTH, 3))
  for layer in model.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
      shape = layer.beta.shape
      layer.set_weights([
          random.normal(size=shape), random.normal(size=shape) * 0.1,
          random.uniform(0.5, 2.0, shape)])
  path = tmp_path_factory.mktemp('keras') / 'model.h5'
  model.save(path)
  return path, np.asarray(model(images, training=False))


def as_published(path):
  """Move a model's weights to where Keras's own files have them.

  Groups at the root, layers counted from 1, arrays named `kernel:0`.
  """
  published = path.with_name('published.h5')
  with h5py.File(path) as theirs, h5py.File(published, 'w') as f:
    numbers = {}
    for name, layer in theirs['model_weights'].items():
      kind, _, number = name.rpartition('_')
      if not number.isdigit():
        kind, number = name, -1
      group = f.create_group(f'{kind}_{int(number) + 2}')
      numbers.setdefault(kind, []).append(number)

      def copy(array_path, array, group=group):
        if isinstance(array, h5py.Dataset):
          last = array_path.rsplit('/')[-1]
          group.create_dataset(
              f'{group.name[1:]}/{last.removesuffix(":0")}:0', data=array)

      layer.visititems(copy)
  assert len(numbers['conv2d']) == len(numbers['batch_normalization']) == 94
  return published


@pytest.fixture(scope='module')
def weights(keras_model):
  path, _ = keras_model
  return encoder_weights.read_file(InceptionV3(), str(path))


def test_outputs_are_those_of_keras(keras_model, weights, images):
  _, expected = keras_model
  with tf.Graph().as_default(), fresh_session.make() as session:
    encoding = InceptionV3().encode(tf.constant(images), False, False)
    variables = {v.op.name: v for v in tf1.global_variables()}
    assert {name: list(value.shape) for name, value in weights.items()} == {
        name: v.shape.as_list() for name, v in variables.items()}
    session.run([tf1.assign(v, weights[name])
                 for name, v in variables.items()])
    pooled, regions = session.run(encoding)
  assert expected.shape == (2, 2, 3, 2048) and expected.std() > 0.1
  np.testing.assert_allclose(
      regions, expected.reshape(2, 6, 2048), atol=1e-5)
  np.testing.assert_allclose(pooled, expected.mean((1, 2)), atol=1e-5)


def test_published_layout_is_read_too(keras_model, weights):
  path, _ = keras_model
  scopes = [name.removesuffix('/weights') for name in weights
            if name.endswith('/weights')]
  published = keras_weights.read(str(as_published(path)), scopes)
  assert published.keys() == weights.keys()
  for name, value in published.items():
    np.testing.assert_array_equal(value, weights[name])


def write(path, convolutions, norms, but=()):
  """A small file; layer i holds arrays of i."""
  with h5py.File(path, 'w') as f:
    for kind, numbers, names in (
        ('conv2d', convolutions, ['kernel']),
        ('batch_normalization', norms,
         ['beta', 'moving_mean', 'moving_variance'])):
      for number in numbers:
        layer = f'{kind}_{number}' if number else kind
        group = f.create_group(layer)
        for name in names:
          if (layer, name) not in but:
            group[f'{layer}/{name}:0'] = np.full(2, number, np.float32)
  return str(path)


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'weights.h5'


def test_layers_are_paired_by_number_not_by_name(path):
  weights = keras_weights.read(
      write(path, [2, 100, 11], [9, 10, 0]), SCOPES)
  for scope, convolution, norm in zip(
      SCOPES, [2, 11, 100], [0, 9, 10], strict=True):
    assert weights.pop(f'{scope}/weights').tolist() == [convolution] * 2
    for name in ('beta', 'moving_mean', 'moving_variance'):
      assert weights.pop(f'{scope}/BatchNorm/{name}').tolist() == [norm] * 2
  assert not weights


def test_other_layers_do_not_matter(path):
  write(path, [1, 2, 3], [1, 2, 3])
  with h5py.File(path, 'a') as f:
    for name in ('predictions', 'separable_conv2d_1', 'conv2d_transpose',
                 'my_conv2d_4', 'conv2d_x'):
      f.create_group(name)
  assert len(keras_weights.read(str(path), SCOPES)) == 3 * 4


@pytest.mark.parametrize('convolutions, norms, counts', [
    ([1, 2], [1, 2, 3], '2 convolutions and 3 batch norms'),
    ([1, 2, 3], [1, 2, 3, 4], '3 convolutions and 4 batch norms'),
    ([1, 2, 3, 4], [1, 2, 3, 4], '4 convolutions and 4 batch norms'),
    ([], [], '0 convolutions and 0 batch norms'),
])
def test_another_network_is_one_line(path, convolutions, norms, counts):
  write(path, convolutions, norms)
  with pytest.raises(ValueError) as error:
    keras_weights.read(str(path), SCOPES)
  assert str(error.value) == (
      f'{path} has {counts}, but this network has 3 of each')


@pytest.mark.parametrize('missing', [
    ('conv2d_2', 'kernel'), ('batch_normalization_3', 'moving_variance')])
def test_a_missing_array_is_one_line(path, missing):
  write(path, [1, 2, 3], [1, 2, 3], but=[missing])
  with pytest.raises(ValueError, match='/'.join(missing[:1])) as error:
    keras_weights.read(str(path), SCOPES)
  line = str(error.value)
  assert line.startswith(str(path)) and missing[1] in line
  assert '\n' not in line


@pytest.mark.parametrize('content', [b'', b'<html>not found</html>' * 99])
def test_another_file_is_one_line(path, content):
  path.write_bytes(content)
  with pytest.raises(ValueError, match='is no readable HDF5 file') as error:
    keras_weights.read(str(path), SCOPES)
  assert str(error.value).startswith(str(path))
  assert '\n' not in str(error.value)


def test_a_file_cut_off_is_one_line(keras_model, path):
  whole = keras_model[0].read_bytes()
  path.write_bytes(whole[:len(whole) // 2])
  with pytest.raises(ValueError, match='is no readable HDF5 file') as error:
    keras_weights.read(str(path), SCOPES)
  assert '\n' not in str(error.value)


def test_no_file(path):
  with pytest.raises(FileNotFoundError, match='weights.h5: no such'):
    keras_weights.read(str(path), SCOPES)


SHAPES = {
    'Net/a/weights': (2, 3), 'Net/a/BatchNorm/gamma': (3,),
    'Net/a/BatchNorm/beta': (3,), 'Net/b/depthwise_weights': (2, 2),
    'Net/b/biases': (2,)}
# Not in the order of the alphabet, in which HDF5 keeps them.
LAYERS = {
    'z': {'z/kernel:0': (2, 3)},
    'z/norm': {'z/norm/gamma:0': (3,), 'z/norm/beta:0': (3,)},
    'relu': {},
    'a': {'a/depthwise_kernel:0': (2, 2), 'a/bias:0': (2,)},
    'classifier': {'classifier/kernel:0': (7,)}}


def write_listed(path, layers):
  """A small file with a list of its layers; array i holds i."""
  count = 0
  with h5py.File(path, 'w') as f:
    f.attrs['layer_names'] = [name.encode() for name in layers]
    for layer, arrays in layers.items():
      group = f.require_group(layer)
      group.attrs['weight_names'] = [name.encode() for name in arrays]
      for name, shape in arrays.items():
        group[name] = np.full(shape, count, np.float64)
        count += 1
  return str(path)


@pytest.mark.parametrize('second_kernel', ['depthwise_kernel:0', 'kernel'])
def test_listed_layers_are_paired_by_place(path, second_kernel):
  layers = LAYERS | {'a': {f'a/{second_kernel}': (2, 2), 'a/bias:0': (2,)}}
  weights = keras_weights.read_in_order(write_listed(path, layers), SHAPES)
  assert list(weights) == list(SHAPES)
  for i, (name, shape) in enumerate(SHAPES.items()):
    np.testing.assert_array_equal(
        weights[name], np.full(shape, i, np.float32), strict=True)


def refuse_listed(path, reason):
  with pytest.raises(ValueError, match=reason) as error:
    keras_weights.read_in_order(str(path), SHAPES)
  assert str(error.value).startswith(str(path))
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('layers, reason', [
    ({}, '0 arrays, not 5'),
    ({'z': LAYERS['z']}, '1 arrays, not 5'),
    (LAYERS | {'z': {'z/kernel:0': (3, 2)}},
     r'z/kernel:0 \[3, 2\] stands where Net/a/weights \[2, 3\] should'),
    (LAYERS | {'z/norm': {'z/norm/beta:0': (3,), 'z/norm/gamma:0': (3,)}},
     r'beta:0 \[3\] stands where Net/a/BatchNorm/gamma'),
])
def test_another_list_is_one_line(path, layers, reason):
  write_listed(path, layers)
  refuse_listed(path, reason)


def drop_layer(f):
  del f['a']


def drop_array(f):
  del f['z/z/kernel:0']


def drop_names(f):
  del f['z'].attrs['weight_names']


def write_words(f):
  drop_array(f)
  f['z/z/kernel:0'] = [[b'run', b'this', b'now']] * 2


def write_group(f):
  drop_array(f)
  f.create_group('z/z/kernel:0')


def write_numbers(f):
  f.attrs['layer_names'] = [1, 2]


def drop_list(f):
  del f.attrs['layer_names']


@pytest.mark.parametrize('damage', [
    drop_layer, drop_array, drop_names, write_words, write_group,
    write_numbers, drop_list])
def test_a_damaged_list_is_one_line(path, damage):
  write_listed(path, LAYERS)
  with h5py.File(path, 'a') as f:
    damage(f)
  refuse_listed(path, 'has no list of layers' if damage is drop_list
                else "has not this network's weights")


def test_weights_of_keras_3s_own_format_are_one_line(tmp_path):
  path = tmp_path / 'model.weights.h5'
  keras.Sequential([keras.layers.Input([3]), keras.layers.Dense(2)]
                   ).save_weights(path)
  refuse_listed(path, 'no list of layers; .* not as .weights.h5')


@pytest.mark.parametrize('length', [0, 100, 3000])
def test_a_listed_file_cut_off_is_one_line(path, length):
  write_listed(path, LAYERS)
  path.write_bytes(path.read_bytes()[:length])
  refuse_listed(path, 'is no readable HDF5 file')


@pytest.mark.parametrize('options', [
    {'fillvalue': 1.0}, {'data': np.zeros((2000, 3000)), 'compression': 9}],
    ids=['not stored', 'packed'])
def test_an_array_cannot_fill_the_memory(path, options):
  write(path, [0], [0])
  with h5py.File(path, 'a') as f:
    del f['conv2d']
    f.create_dataset('conv2d/conv2d/kernel:0', (2000, 3000),
                     chunks=(1000, 1000), **options)
  with pytest.raises(ValueError, match='far more than is stored') as error:
    keras_weights.read(str(path), ['net/Conv'])
  assert str(path) in str(error.value)


def test_an_array_of_another_file_is_not_read(path, tmp_path):
  (tmp_path / 'secret').write_bytes(bytes(6 * 4))
  write(path, [0], [0])
  with h5py.File(path, 'a') as f:
    del f['conv2d']
    f.create_dataset(
        'conv2d/conv2d/kernel:0', (2, 3), 'f4',
        external=[(str(tmp_path / 'secret'), 0, h5py.h5f.UNLIMITED)])
  with pytest.raises(ValueError, match='lies in another file'):
    keras_weights.read(str(path), ['a'])


def test_a_listed_array_of_another_file_is_not_read(path, tmp_path):
  (tmp_path / 'secret').write_bytes(bytes(6 * 4))
  write_listed(path, LAYERS)
  with h5py.File(path, 'a') as f:
    del f['z/z/kernel:0']
    f.create_dataset(
        'z/z/kernel:0', (2, 3), 'f4',
        external=[(str(tmp_path / 'secret'), 0, h5py.h5f.UNLIMITED)])
  refuse_listed(path, 'lies in another file')
