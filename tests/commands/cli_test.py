"""The command `im2txt`."""

import subprocess
import sys

import pytest
from command_runner import ROOT


@pytest.mark.parametrize('arguments', [[], ['--help'], ['help']])
def test_help_comes_without_tensorflow(arguments):
  finished = subprocess.run(
      [sys.executable, '-c', 'import sys; from im2txt import cli; cli.main(); '
       'assert "tensorflow" not in sys.modules', *arguments],
      cwd=ROOT, capture_output=True, text=True, check=False)
  assert finished.returncode == 0 and not finished.stderr
  for command in ('caption', 'train', 'evaluate', 'score', 'check', 'export'):
    assert f'\n  {command} ' in finished.stdout


def test_an_unknown_command(launch):
  finished = launch('im2txt.cli', 'describe')
  assert finished.returncode == 2
  assert finished.error == (
      "im2txt: error: there is no command 'describe'; there are caption, "
      'train, evaluate, score, check, export')


def test_commands_explain_themselves(launch):
  finished = launch('im2txt.cli', 'caption', '--help')
  assert 'Caption images.' in finished.stdout
  assert '--beam_size: ' in finished.stdout


def test_commands_are_the_modules(trained, task, launch):
  command = ('im2txt.cli', 'caption', f'--checkpoint_path={trained.folder}')
  finished = launch(*command, *task.images[:2], '--beam_size=1')
  assert finished.returncode == 0, finished.stderr
  assert finished.stdout.count('Captions for image ') == 2
  finished = launch(*command)
  assert finished.returncode == 1
  assert finished.error.startswith('run_inference: error: no images')
