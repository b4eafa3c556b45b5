"""All commands are imported together, and --help has the flags of each."""

import importlib
import pathlib
import re

import pytest
from absl import flags

from data_prep import build_toy_data

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PACKAGES = ('im2txt', 'data_prep', 'benchmarks')
COMMANDS = sorted(
    f'{package}.{path.stem}' for package in PACKAGES
    for path in (ROOT / package).glob('*.py')
    if "__name__ == '__main__'" in path.read_text()
    and 'command_line.run(' in path.read_text())
OF_BENCHMARKS_MODELS = {'benchmarks.training', 'benchmarks.determinism'}


def define(module):
  """Define a command's flags anew; return their names."""
  values = flags.FlagValues()
  name = 'TrainingFlags' if module in OF_BENCHMARKS_MODELS else 'Flags'
  getattr(importlib.import_module(module), name)(values)
  return set(values)


def test_commands_are_found():
  assert {'im2txt.train', 'im2txt.export', 'data_prep.cache_features',
          'data_prep.build_coco_data', 'benchmarks.cluster'} < set(COMMANDS)
  assert len(COMMANDS) == 25


def test_all_commands_are_imported_together_and_define_no_flags():
  for module in [*COMMANDS, *reversed(COMMANDS)]:
    importlib.import_module(module)
  assert not [module for module in flags.FLAGS.flags_by_module_dict()
              if module.split('.')[0] in PACKAGES]


def test_flags_are_defined_as_often_as_one_likes():
  for module in COMMANDS:
    assert define(module) == define(module) != set()


def test_main_runs_in_process_as_often_as_one_likes(tmp_path):
  for name, number in (('first', 2), ('second', 3)):
    values = flags.FlagValues()
    flags_ = build_toy_data.Flags(values)
    values(['build_toy_data', f'--output_dir={tmp_path / name}',
            f'--num_train={number}', '--num_val=1'])
    build_toy_data.main(flags_)
    assert len(list((tmp_path / name / 'train').iterdir())) == number


@pytest.mark.parametrize('module', COMMANDS)
def test_help_lists_all_flags_of_the_command_and_no_others(launch, module):
  # Absl lists the key flags of the main module only.
  stdout = launch(module, '--help').stdout
  assert f'python -m {module} ' in stdout.replace('\n', ' ')
  _, _, listed = stdout.partition('\nflags:\n')
  names = re.findall(r'^  (?:-\w,)?--(?:\[no\])?([\w.]+):', listed, re.M)
  assert set(names) == define(module)
