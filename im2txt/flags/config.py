"""The flag --config, for every command that builds a system anew."""

import dataclasses
import os
from collections.abc import Sequence
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
    if argument.endswith('.json'):
      return _read_json(argument)
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


def _read_json(path: str) -> configuration.Config:
  """Read the configuration of a run folder.

  Raises:
    ValueError: it cannot be read, or is not named as in run folders.
  """
  # The import takes seconds, which other configurations do not need.
  from im2txt.checkpoints import run_folder

  folder, name = os.path.split(path)
  if name != configuration.CONFIG_FILE:
    raise ValueError(f'{path}: a configuration in JSON is that of a run '
                     f'folder, {configuration.CONFIG_FILE}')
  try:
    return run_folder.load_config(folder or os.curdir)
  except OSError as error:
    raise ValueError(str(error)) from None


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
        'a field. Or the config.json of a run folder.',
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
    name, suffix = os.path.splitext(
        os.path.basename(config_flags.get_config_filename(flag)))
    return configuration.Config(
        model, training, config.name if suffix == '.json' else name)

  def overrides(self) -> set[str]:
    """Return the names of the fields that the flags change, as they are said.

    For example 'model.batch_size'.
    """
    if self.config.value is None:
      return set()
    return set(config_flags.get_override_values(
        self._values[self.config.name]))


def name_config_of_run(argv: Sequence[str], folder_flag: str) -> list[str]:
  """Complete a command line that changes fields of a run's configuration.

  Args:
    argv: with flags such as --config.model.batch_size=16.
    folder_flag: name of the flag of the run folder.

  Returns:
    The command line with --config before what changes its fields, which must
    come later; it is that of the run folder, if no other was given.
  """
  arguments = list(argv)
  given = [argument.lstrip('-') for argument in arguments]
  if not any(name.startswith('config.') for name in given):
    return arguments
  for i, name in enumerate(given):
    if name.partition('=')[0] == 'config':
      end = i + (1 if '=' in name else 2)
      return [arguments[0], *arguments[i:end], *arguments[1:i],
              *arguments[end:]]
  folder = next((
      value or following for (name, _, value), following in zip(
          (name.partition('=') for name in given), [*arguments[1:], ''],
          strict=True) if name == folder_flag), '')
  path = os.path.join(os.path.expanduser(folder), configuration.CONFIG_FILE)
  if folder and file_system.exists(path):
    arguments.insert(1, f'--config={path}')
  return arguments


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
