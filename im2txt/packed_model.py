"""A trained model in one small file: in half precision, without its encoder.

The file is numpy's `.npz`: values by the variables' names. The encoder's
weights come with a package; a digest of them tells others from them.
"""

import os
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np
from absl import logging

from im2txt import captioner, encoder_weights, encoders, whole_file

FILE_NAME = 'weights.npz'

# Not a variable's name.
_ENCODER_DIGEST = 'encoder_digest'


def is_packed(path: str) -> bool:
  """Whether a path is of such a file."""
  return path.endswith('.npz')


def write(
    values: Mapping[str, np.ndarray], encoder_scope: str, digest: str,
    folder: str,
) -> None:
  """Writes the file.

  Args:
    values: of the model, by variable name.
    encoder_scope: of the values that are left out.
    digest: of these, see `encoder_weights.digest`.
    folder: where it is to be.

  Raises:
    OSError: it cannot be written.
  """
  kept = {name: _halve(value) for name, value in values.items()
          if not name.startswith(f'{encoder_scope}/')}
  with (whole_file.replacing(os.path.join(folder, FILE_NAME)) as temporary,
        open(temporary, 'wb') as f):
    np.savez_compressed(f, **kept, **{_ENCODER_DIGEST: np.array(digest)})


def _halve(value: np.ndarray) -> np.ndarray:
  # A bias that bans a word is beyond what half precision has.
  fits = np.abs(value).max(initial=0) <= np.finfo(np.float16).max
  return value.astype(np.float16) if (
      fits and value.dtype == np.float32) else value


class Reader:
  """As `checkpoints.Reader`, of such a file and the encoder's weights."""

  def __init__(self, path: str):
    """Reads all of it.

    Args:
      path: the file; the configuration is beside it.

    Raises:
      OSError: it or the configuration is not there.
      ValueError: it is damaged, or the encoder's weights are others.
    """
    try:
      with np.load(path, allow_pickle=False) as f:
        packed = {name: f[name] for name in f.files}
      digest = str(packed.pop(_ENCODER_DIGEST))
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError,
            EOFError) as error:
      raise ValueError(f'{path} is no readable model: {error}') from None
    config = captioner.load_config(os.path.dirname(path)).model
    weights = encoder_weights.find(config)
    if weights is None:
      raise ValueError(f'{path} needs the weights of {config.encoder}: '
                       f'{encoders.where_weights_are(config)}')
    encoder = encoders.make(config).read_weights(weights)
    if encoder_weights.digest(config, encoder) != digest:
      raise ValueError(f'{path} was trained with other weights of '
                       f'{config.encoder} than {weights}')
    logging.info('%s: the encoder is of %s', path, weights)
    self._values = encoder | {
        name: value.astype(np.float32) if value.dtype == np.float16 else value
        for name, value in packed.items()}
    self.shapes = {name: list(value.shape)
                   for name, value in self._values.items()}

  def value(self, name: str) -> np.ndarray:
    """A variable's value."""
    return self._values[name]
