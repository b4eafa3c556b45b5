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
  """Parse the path of a configuration, or the name of one in `configs`."""

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
    flag.parser = _AssignableParser(_NameOrPath(path_parser=flag.parser))

  def value(self) -> configuration.Config | None:
    """Return the configuration of the flag, if it was given.

    Raises:
      ValueError: a field is of another type than it should be.
    """
    if self.config.value is None:
      return None
    flag = self._values[self.config.name]
    overrides = config_flags.get_override_values(flag)
    config = self.config.value.config
    # Made anew, so that the types of their fields are checked.
    model, training = (
        configuration.override(
            getattr(config, section),
            {name.removeprefix(f'{section}.'): value
             for name, value in overrides.items()
             if name.startswith(f'{section}.')}, '--config')
        for section in ('model', 'training'))
    name, _ = os.path.splitext(
        os.path.basename(config_flags.get_config_filename(flag)))
    return configuration.Config(model, training, name)


@dataclasses.dataclass
class _Assignable:
  """A configuration whose fields the flags --config.SECTION.FIELD assign."""

  model: Any
  training: Any
  config: configuration.Config  # As the file returned it.


class _AssignableParser(flags.ArgumentParser[Any]):
  """Parse --config to a record that the flags of fields can assign to."""

  def __init__(self, parser: flags.ArgumentParser[Any]):
    self._parser = parser

  def parse(self, argument: str) -> _Assignable:
    """Return the configuration that an argument names.

    Raises:
      ValueError: it cannot be loaded, or is no configuration.
    """
    config: Any = self._parser.parse(argument)
    try:
      sections = config.model, config.training
    except (AttributeError, OSError) as error:
      raise ValueError(
          'the file of --config must have a get_config() that returns a '
          f'configuration.Config: {error}') from None
    if not all(map(dataclasses.is_dataclass, sections)):
      raise ValueError('the file of --config must have a get_config() that '
                       'returns a configuration.Config')
    model, training = map(_assignable, sections)
    return _Assignable(model, training, config)

  def flag_type(self) -> str:
    """Return what --help calls such a value."""
    return self._parser.flag_type()


def _assignable(section: Any) -> Any:
  """Copy a section into a dataclass that is not frozen.

  It has the older names of fields, too.
  """
  types = {field.name: field.type for field in dataclasses.fields(section)}
  values = [(name, kind, getattr(section, name))
            for name, kind in types.items()]
  older = [(old, str if new is None else types[new], None)
           for old, new in configuration.LEGACY_FIELDS.items()
           if new in types or new is None]
  return dataclasses.make_dataclass(
      type(section).__name__, [*values, *older])()
