"""The command `im2txt`."""

import subprocess
import sys

import pytest
from conftest import ROOT


def im2txt(*arguments):
  return subprocess.run(
      [sys.executable, '-c', 'from im2txt import cli; cli.main()', *arguments],
      cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize('arguments', [[], ['--help'], ['help']])
def test_help(arguments):
  finished = im2txt(*arguments)
  assert finished.returncode == 0 and not finished.stderr
  for command in ('caption', 'train', 'evaluate', 'score', 'export'):
    assert f'\n  {command} ' in finished.stdout


def test_commands_explain_themselves():
  finished = im2txt('caption', '--help')
  assert 'Captions pictures.' in finished.stdout
  assert '--beam_size: ' in finished.stdout


def test_an_unknown_command():
  finished = im2txt('describe')
  assert finished.returncode == 2
  assert finished.stderr == (
      "im2txt: error: there is no command 'describe'; there are caption, "
      'train, evaluate, score, export\n')


def test_commands_are_the_modules(trained, task):
  finished = im2txt('caption', str(task.pictures[0]), str(task.pictures[1]),
                    f'--checkpoint_path={trained.folder}', '--beam_size=1')
  assert finished.returncode == 0, finished.stderr
  assert finished.stdout.count('Captions for image ') == 2
  finished = im2txt('caption', f'--checkpoint_path={trained.folder}')
  assert finished.returncode == 1
  assert finished.stderr.splitlines()[-1].startswith(
      'run_inference: error: no pictures')
