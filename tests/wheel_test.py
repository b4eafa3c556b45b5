"""The wheel: what is in it, and that it captions far from this folder."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from command_runner import ROOT

pytestmark = pytest.mark.long

PACKAGES = ('im2txt', 'data_prep', 'configs')


def run(*arguments, **options):
  return subprocess.run(
      [str(argument) for argument in arguments], check=True, text=True,
      capture_output=True, **options).stdout


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
  folder = tmp_path_factory.mktemp('wheel')
  source = folder / 'source'  # For a build leaves things where it is done.
  source.mkdir()
  for name in PACKAGES:
    shutil.copytree(ROOT / name, source / name,
                    ignore=shutil.ignore_patterns('__pycache__'))
  for name in ('pyproject.toml', 'README.md', 'LICENSE'):
    shutil.copy(ROOT / name, source)
  run(sys.executable, '-m', 'pip', 'wheel', '--no-index', '--no-deps',
      '--no-build-isolation', f'--wheel-dir={folder}', source)
  [path] = folder.glob('*.whl')
  return path


def test_it_has_the_packages_and_no_more(wheel):
  with zipfile.ZipFile(wheel) as f:
    names = {name for name in f.namelist() if '.dist-info/' not in name}
    [metadata] = [f.read(name).decode() for name in f.namelist()
                  if name.endswith('/METADATA')]
    licences = [name.partition('/licenses/')[2] for name in f.namelist()
                if '/licenses/' in name]
  assert names == {
      str(path.relative_to(ROOT)) for package in PACKAGES
      for path in (ROOT / package).rglob('*')
      if path.is_file() and '__pycache__' not in path.parts}
  assert '\nLicense-Expression: Apache-2.0 AND LicenseRef-' in metadata
  assert sorted(licences) == ['LICENSE', 'im2txt/pretrained/MODEL_CARD.md']


@pytest.fixture(scope='module')
def target(wheel, tmp_path_factory):
  """Where it is installed."""
  folder = tmp_path_factory.mktemp('installed')
  run(sys.executable, '-m', 'pip', 'install', '--no-index', '--no-deps',
      f'--target={folder}', wheel)
  return folder


def test_it_captions_where_it_is_installed(target, task, tmp_path):
  environment = os.environ | {'PYTHONPATH': str(target)}
  assert run(sys.executable, '-c', 'import im2txt; print(im2txt.__file__)',
             cwd=tmp_path, env=environment) == f'{target}/im2txt/__init__.py\n'
  said = run(target / 'bin' / 'im2txt', 'caption', task.images[0],
             cwd=tmp_path, env=environment)
  assert 'Captions for image red.jpg:\n  0) ' in said


def test_it_has_the_configurations(target, task, tmp_path):
  run(target / 'bin' / 'im2txt', 'check', '--config=show_and_tell_flickr8k',
      '--config.model.vocab_size=17',
      f'--input_file_pattern={task.train_pattern}', cwd=tmp_path,
      env=os.environ | {'PYTHONPATH': str(target)})
