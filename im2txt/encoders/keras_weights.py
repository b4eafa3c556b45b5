"""Read convolutions and batch norms of a Keras `.h5` weights file.

Keras and slim make the same layers in the same order, so pairing them in that
order gives the conversion. A file has the order in one of two ways: in the
numbers at the ends of its layers' names (`conv2d_1`, `conv2d_2`, …), or, where
the network names its layers, in the list of them that Keras writes beside.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping

import h5py
import numpy as np

from im2txt.files import file_system

# Ends of the names of Keras's legacy files.
SUFFIXES = ('.h5', '.hdf5')
_CONVOLUTION = 'conv2d'
_MAX_RATIO = 20  # Of an array's bytes to those in the file.
_NORM = 'batch_normalization'
_NORM_NAMES = ('beta', 'moving_mean', 'moving_variance')
# Ends of slim's names, where they are not Keras's.
_SLIM_NAMES = {
    'kernel': 'weights', 'depthwise_kernel': 'weights', 'bias': 'biases'}


@contextlib.contextmanager
def _open(path: str) -> Iterator[h5py.Group]:
  """Open the group of the layers, in a file of weights or a whole model."""
  try:
    file = file_system.open(path, 'rb')
  except FileNotFoundError:
    raise FileNotFoundError(f'{path}: no such weights file') from None
  with file:
    try:
      f = h5py.File(file, 'r')
    except OSError as error:
      raise ValueError(f'{path} is no readable HDF5 file: {error}') from None
    with f:
      yield f.get('model_weights', f)


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
  """Turn any error into one line about the file."""
  try:
    yield
  except Exception as error:  # Damaged files raise nearly anything.
    line = ' '.join(str(error).split())
    raise ValueError(
        f"{path} has not this network's weights: {line}") from None


def _numbered_layers(root: h5py.Group, kind: str) -> list[h5py.Group]:
  pattern = re.compile(rf'{kind}(?:_(\d+))?$')
  found = [(int(match[1] or 0), name) for name in root
           if (match := pattern.match(name))]
  return [root[name] for _, name in sorted(found)]


def _last_name(path: str) -> str:
  """Return `kernel` of `conv2d_1/kernel:0`."""
  return re.sub(r':\d+$', '', path.rsplit('/', 1)[-1])


def _value(array: h5py.Dataset) -> np.ndarray:
  """Read an array, if all of it is stored in the file."""
  if array.external or array.is_virtual:
    raise ValueError(f'{array.name} lies in another file')
  # Of a file of any size: what is not stored reads as so many zeros.
  if array.nbytes > _MAX_RATIO * array.id.get_storage_size():
    raise ValueError(f'{array.name} {list(array.shape)} is far more than is '
                     'stored of it')
  return array[()]


def _array(layer: h5py.Group, wanted: str) -> np.ndarray:
  """Read the array of a layer that has this last name."""
  def visit(path, item):
    if isinstance(item, h5py.Dataset) and _last_name(path) == wanted:
      return _value(item)
    return None

  found = layer.visititems(visit)
  if found is None:
    raise ValueError(f'{layer.name} has no array {wanted!r}')
  return found


def read(path: str, scopes: list[str]) -> dict[str, np.ndarray]:
  """Read the weights of a network whose layers Keras has numbered.

  Args:
    path: the `.h5` file; weights only, or a whole Keras model's.
    scopes: slim's scope of each convolution, in the order of making.

  Returns:
    Value of `<scope>/weights` and `<scope>/BatchNorm/{beta,moving_mean,
    moving_variance}` for each scope.

  Raises:
    OSError: the file is not there.
    ValueError: it is no such file, or has another number of layers.
  """
  with _open(path) as root:
    with _explained(path):
      convolutions = _numbered_layers(root, _CONVOLUTION)
      norms = _numbered_layers(root, _NORM)
    if not len(convolutions) == len(norms) == len(scopes):
      raise ValueError(
          f'{path} has {len(convolutions)} convolutions and {len(norms)} batch '
          f'norms, but this network has {len(scopes)} of each')
    weights = {}
    with _explained(path):
      for scope, convolution, norm in zip(
          scopes, convolutions, norms, strict=True):
        weights[f'{scope}/weights'] = _array(convolution, 'kernel')
        for name in _NORM_NAMES:
          weights[f'{scope}/BatchNorm/{name}'] = _array(norm, name)
    return weights


def _listed_arrays(root: h5py.Group) -> Iterator[h5py.Dataset]:
  """List the arrays of all layers, unread, in the order that Keras stored."""
  for layer_name in root.attrs['layer_names']:
    layer = root[layer_name]
    for name in layer.attrs['weight_names']:
      yield layer[name]


def read_in_order(
    path: str, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
  """Read the weights of a network whose layers have names of their own.

  Arrays are paired by place, as Keras itself does when it loads such a file;
  kinds and shapes must agree. What follows the network, as a classifier does,
  is left alone.

  Args:
    path: the `.h5` file; weights only, or a whole Keras model's.
    shapes: of slim's variables by name, in the order of making.

  Returns:
    Value of each of these variables.

  Raises:
    OSError: the file is not there.
    ValueError: it is no such file, or another network's.
  """
  weights = {}
  with _open(path) as root, _explained(path):
    if 'layer_names' not in root.attrs:
      raise ValueError('it has no list of layers; save the model or its '
                       'weights with Keras as legacy .h5, not as .weights.h5')
    for name, array in zip(shapes, _listed_arrays(root), strict=False):
      kind = _last_name(array.name)
      if (not name.endswith(_SLIM_NAMES.get(kind, kind))
          or array.shape != shapes[name]):
        raise ValueError(
            f'{array.name} {list(array.shape)} stands where {name} '
            f'{list(shapes[name])} should')
      weights[name] = _value(array).astype(np.float32)
    if len(weights) < len(shapes):
      raise ValueError(f'{len(weights)} arrays, not {len(shapes)}')
  return weights
