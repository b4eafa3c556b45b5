"""Reads convolutions and batch norms of a Keras `.h5` weights file.

Keras numbers its layers in the order in which the network makes them
(`conv2d_1`, `conv2d_2`, …), and slim makes the same layers in the same order:
sorting Keras's by number and pairing them with slim's gives the conversion.
"""

import re

import h5py
import numpy as np

_CONVOLUTION = 'conv2d'
_NORM = 'batch_normalization'
_NORM_NAMES = ('beta', 'moving_mean', 'moving_variance')


def _numbered_layers(f: h5py.File, kind: str) -> list[h5py.Group]:
  pattern = re.compile(rf'{kind}(?:_(\d+))?$')
  found = [(int(match[1] or 0), name) for name in f
           if (match := pattern.match(name))]
  return [f[name] for _, name in sorted(found)]


def _arrays(layer: h5py.Group) -> dict[str, np.ndarray]:
  """Arrays of a layer by their last name, `kernel:0` as `kernel`."""
  arrays = {}

  def visit(path, item):
    if isinstance(item, h5py.Dataset):
      arrays[re.sub(r':\d+$', '', path.rsplit('/', 1)[-1])] = item[()]

  layer.visititems(visit)
  return arrays


def read(path: str, scopes: list[str]) -> dict[str, np.ndarray]:
  """Reads the weights of a network of convolutions with batch norms.

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
  try:
    f = h5py.File(path, 'r')
  except FileNotFoundError:
    raise FileNotFoundError(f'{path}: no such weights file') from None
  except OSError as error:
    raise ValueError(f'{path} is no readable HDF5 file: {error}') from None
  with f:
    root = f.get('model_weights', f)
    convolutions = _numbered_layers(root, _CONVOLUTION)
    norms = _numbered_layers(root, _NORM)
    if not len(convolutions) == len(norms) == len(scopes):
      raise ValueError(
          f'{path} has {len(convolutions)} convolutions and {len(norms)} batch '
          f'norms, but this network has {len(scopes)} of each')
    weights = {}
    for scope, convolution, norm in zip(
        scopes, convolutions, norms, strict=True):
      try:
        weights[f'{scope}/weights'] = _arrays(convolution)['kernel']
        statistics = _arrays(norm)
        for name in _NORM_NAMES:
          weights[f'{scope}/BatchNorm/{name}'] = statistics[name]
      except KeyError as error:
        raise ValueError(f'{path}: {convolution.name} or {norm.name} has no '
                         f'array {error}') from None
    return weights
