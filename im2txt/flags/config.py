"""The flag --config, for every command line that builds a system anew."""

import dataclasses
import os

from absl import flags
from ml_collections import config_flags

from im2txt import configuration

_CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'Python file with get_config(), such as '
    'configs/show_and_tell.py; --config.model.batch_size=16 changes a field. '
    'Training that goes on has it in its --train_dir.')


@flags.validator('config')
def _check_config(config: object) -> bool:
  """Holds the file of --config to what `value` expects."""
  if config is None and not _CONFIG.present:
    return True
  try:
    found = config.model, config.training
  except (AttributeError, OSError) as error:
    raise flags.ValidationError(
        'the file of --config must have a get_config() that returns a '
        f'configuration.Config: {error}') from None
  return all(map(dataclasses.is_dataclass, found))


def value() -> configuration.Config | None:
  """The configuration of the flag, if it was given.

  Raises:
    ValueError: a field is of another type than it should be.
  """
  if _CONFIG.value is None:
    return None
  # Assembled anew, so that its fields' types are checked.
  model, training = (
      configuration.fill(type(record), dataclasses.asdict(record), '--config')
      for record in (_CONFIG.value.model, _CONFIG.value.training))
  path = config_flags.get_config_filename(flags.FLAGS[_CONFIG.name])
  name, _ = os.path.splitext(os.path.basename(path))
  return configuration.Config(model, training, name)
