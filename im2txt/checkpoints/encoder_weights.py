"""Find, read and compare the weights of an encoder."""

from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from im2txt import configuration
from im2txt.checkpoints import variable_loader
from im2txt.checkpoints.reader import Reader
from im2txt.encoders import Encoder
from im2txt.files import file_system
from im2txt.inputs.shards import Shards

tf1 = tf.compat.v1


def find(config: configuration.ModelConfig, encoder: Encoder) -> str | None:
  """Return the path of the encoder's pretrained weights, if there are any."""
  return config.inception_checkpoint_file or encoder.default_weights()


def variables(encoder: Encoder) -> list[tf.Variable]:
  """List the encoder's variables in the current graph."""
  return tf1.get_collection(
      tf1.GraphKeys.GLOBAL_VARIABLES, f'{encoder.scope}/')


def read_file(encoder: Encoder, path: str) -> dict[str, np.ndarray]:
  """Read all of an encoder's weights that a file has.

  Args:
    encoder: whose weights they are.
    path: a file of another framework, see `Encoder.weights_suffixes`, or the
      prefix or `.index` file of a TensorFlow checkpoint, of which moving
      averages are read where there are any.

  Returns:
    Values by variable name.

  Raises:
    OSError: there is no such file.
    ValueError: it is damaged or of another network.
  """
  if path.endswith(encoder.weights_suffixes):
    return encoder.read_weights(path)
  prefix = path.removesuffix('.index')
  if not any(map(file_system.exists, (f'{prefix}.index', prefix))):
    source = encoder.checkpoint_source
    raise FileNotFoundError(
        f'{path}: no such checkpoint' + (f'; {source}' if source else ''))
  reader = Reader(prefix, averaged=True)
  values = {name: reader.value(name) for name in reader.shapes
            if name.startswith(f'{encoder.scope}/')}
  if not values:
    raise ValueError(f'{path} has no variables under {encoder.scope}/')
  return values


def read(
    encoder: Encoder, path: str, wanted: Iterable[tf.Variable]
) -> dict[str, np.ndarray]:
  """Read the encoder's pretrained weights.

  Args:
    encoder: whose weights they are.
    path: the file, see `read_file`.
    wanted: the encoder's variables.

  Returns:
    Values by variable name.

  Raises:
    OSError: there is no such file.
    ValueError: it is damaged or of another network.
  """
  values = read_file(encoder, path)
  shapes = {v.op.name: tuple(v.shape.as_list()) for v in wanted}
  for name, shape in shapes.items():
    if name not in values:
      raise ValueError(f'{path} lacks {name}: it is of another network')
    if values[name].shape != shape:
      raise ValueError(f'{path}: {name} has shape {values[name].shape}, not '
                       f'{shape}: it is of another network')
  logging.info('%s: restored %d variables of the encoder; not used: %d values',
               path, len(shapes), len(values) - len(shapes))
  return {name: values[name] for name in shapes}


def restorer(encoder: Encoder, path: str) -> variable_loader.RestoreFn:
  """Make a function that loads the pretrained weights into the graph."""
  wanted = variables(encoder)
  loader = variable_loader.VariableLoader(wanted)
  return lambda session: loader.load(session, read(encoder, path, wanted))


def digest(encoder: Encoder, values: Mapping[str, np.ndarray]) -> str:
  """Compute a digest of the encoder's weights, 16 hexadecimal digits.

  Args:
    encoder: whose weights count.
    values: of a model, by variable name.
  """
  scope = f'{encoder.scope}/'
  return variable_loader.digest(
      {name: np.asarray(value, np.float32) for name, value in values.items()
       if name.startswith(scope)})


def check_features(
    config: configuration.ModelConfig, encoder: Encoder, shards: Shards,
    values: Mapping[str, np.ndarray],
) -> None:
  """Refuse feature shards that other weights than the model's have made.

  Args:
    config: the model.
    encoder: of the model.
    shards: what it reads; shards of images always pass.
    values: of the model, by variable name.

  Raises:
    ValueError: other weights or another encoder made the features.
  """
  features = shards.features_for(config)
  if features:
    features.check_weights(digest(encoder, values), shards.pattern)
