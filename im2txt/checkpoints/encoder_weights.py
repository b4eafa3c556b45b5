"""The encoder's weights: where they come from and which they are."""

from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from im2txt import configuration, encoders
from im2txt.checkpoints import variable_loader
from im2txt.inputs.shards import Shards

tf1 = tf.compat.v1


def find(config: configuration.ModelConfig) -> str | None:
  """Where the encoder's pretrained weights are, if anywhere."""
  return (config.inception_checkpoint_file
          or encoders.make(config).default_weights())


def variables(config: configuration.ModelConfig) -> list[tf.Variable]:
  """The encoder's variables in the current graph."""
  return tf1.get_collection(
      tf1.GraphKeys.GLOBAL_VARIABLES, f'{encoders.make(config).scope}/')


def read(
    config: configuration.ModelConfig, wanted: Iterable[tf.Variable]
) -> dict[str, np.ndarray]:
  """Reads the encoder's pretrained weights.

  Args:
    config: names the encoder and its weights.
    wanted: the encoder's variables.

  Returns:
    Values by variable name.

  Raises:
    OSError: there is no such file.
    ValueError: it is damaged or of another network.
  """
  path = find(config)
  values = encoders.make(config).read_weights(path)
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


def restorer(config: configuration.ModelConfig) -> variable_loader.RestoreFn:
  """Makes a function that loads the encoder's pretrained weights."""
  wanted = variables(config)
  loader = variable_loader.VariableLoader(wanted)
  return lambda session: loader.load(session, read(config, wanted))


def digest(
    config: configuration.ModelConfig, values: Mapping[str, np.ndarray]
) -> str:
  """Tells the encoder's weights from others.

  Args:
    config: names the encoder.
    values: of the model, by variable name; all but the encoder's are ignored.
  """
  scope = f'{encoders.make(config).scope}/'
  return variable_loader.digest(
      {name: np.asarray(value, np.float32) for name, value in values.items()
       if name.startswith(scope)})


def check_features(
    config: configuration.ModelConfig, shards: Shards,
    values: Mapping[str, np.ndarray],
) -> None:
  """Refuse feature shards that other weights than the model's have made.

  Args:
    config: the model.
    shards: what it reads; those of images are always right.
    values: of the model, by variable name.

  Raises:
    ValueError: they are of other weights, or of another encoder.
  """
  features = shards.features_for(config)
  if features:
    features.check_weights(digest(config, values), shards.pattern)
