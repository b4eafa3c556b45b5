"""The flag --config, for every command that builds a system anew."""

import dataclasses
import os

from absl import flags
from ml_collections import config_flags

from im2txt import configuration

# The flag is the command's that constructs it, and in its --help.
flags.disclaim_key_flags()


class ConfigFlag:
  """The flag --config, and --config.FIELD for each field of the file."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self._values = values
    self.config = config_flags.DEFINE_config_file(
        'config', None, 'Python file with get_config(), such as '
        'configs/show_and_tell.py; --config.model.batch_size=16 changes a '
        'field. Training that goes on has it in its --train_dir.',
        flag_values=values)
    flags.register_validator('config', self._check, flag_values=values)

  def _check(self, config: object) -> bool:
    """Hold the file of --config to what `value` expects."""
    if config is None and not self.config.present:
      return True
    try:
      found = config.model, config.training
    except (AttributeError, OSError) as error:
      raise flags.ValidationError(
          'the file of --config must have a get_config() that returns a '
          f'configuration.Config: {error}') from None
    return all(map(dataclasses.is_dataclass, found))

  def value(self) -> configuration.Config | None:
    """Return the configuration of the flag, if it was given.

    Raises:
      ValueError: a field is of another type than it should be.
    """
    config = self.config.value
    if config is None:
      return None
    # Assembled anew, so that its fields' types are checked.
    model, training = (
        configuration.fill(type(record), dataclasses.asdict(record), '--config')
        for record in (config.model, config.training))
    path = config_flags.get_config_filename(self._values[self.config.name])
    name, _ = os.path.splitext(os.path.basename(path))
    return configuration.Config(model, training, name)
