"""The flag --config, for every command that builds a system anew."""

import dataclasses
import os
from importlib import resources
from typing import Any

from absl import flags
from ml_collections import config_flags

from im2txt import configuration
from im2txt.files import file_system

# The flag is the command's that constructs it, and in its --help.
flags.disclaim_key_flags()


class _NameOrPath(flags.ArgumentParser[Any]):
  """Parses the path of a configuration, or the name of one in `configs`."""

  def __init__(self, path_parser: flags.ArgumentParser[Any]):
    self._path_parser = path_parser

  def parse(self, argument: str) -> object:
    """Return the configuration that an argument names.

    Raises:
      ValueError: `configs` has none of this name.
    """
    name = argument.partition(':')[0]  # Behind it: get_config()'s argument.
    if not name.isidentifier() or file_system.isfile(name):
      return self._path_parser.parse(argument)
    file = resources.files('configs') / f'{name}.py'
    if name.startswith('_') or not file.is_file():
      raise ValueError(f'there is no configuration {name!r}; name a file, or '
                       f'one of {", ".join(names())}')
    with resources.as_file(file) as path:
      return self._path_parser.parse(f'{path}{argument.removeprefix(name)}')

  def flag_type(self) -> str:
    """Return what --help calls such a value."""
    return self._path_parser.flag_type()


def names() -> list[str]:
  """Return the names of the configurations in `configs`."""
  stems = (os.path.splitext(file.name)
           for file in resources.files('configs').iterdir())
  return sorted(stem for stem, suffix in stems
                if suffix == '.py' and not stem.startswith('_'))


class ConfigFlag:
  """The flag --config, and --config.FIELD for each field of the file."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self._values = values
    self.config = config_flags.DEFINE_config_file(
        'config', None, 'Python file with get_config(), such as '
        'configs/show_and_tell.py; or the name of one that comes with this '
        'project, such as show_and_tell. --config.model.batch_size=16 changes '
        'a field. Training that goes on has it in its --train_dir.',
        flag_values=values)
    flag = values[self.config.name]
    flag.parser = _NameOrPath(path_parser=flag.parser)
    flags.register_validator(  # type: ignore[no-untyped-call]  # absl's.
        'config', self._check, flag_values=values)

  def _check(self, config: Any) -> bool:
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
