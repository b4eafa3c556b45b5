"""No command replaces a file that is not its own."""

import json
import pathlib
import shutil

import pytest
from PIL import Image

FLAGS = {'output_lines': 'a.txt', 'output_json': 'a.json',
         'output_jsonl': 'a.jsonl', 'output_html': 'a.html',
         'contact_sheet': 'a.png'}


def refused(finished, flag):
  assert finished.returncode == 1, finished.stderr
  assert f'--{flag}=' in finished.error


@pytest.mark.parametrize('flag', FLAGS)
def test_captioning_replaces_no_image(flag, scripted, images, launch):
  first, second = images / 'red.jpg', images / 'blue.jpg'
  before = first.read_bytes()
  # As an input, and for its name where no image is written.
  for inputs in ([first, second], [second])[:1 + (flag == 'output_html')]:
    refused(launch('im2txt.run_inference', f'--checkpoint_path={scripted}',
                   f'--{flag}', first, *inputs, '--overwrite'), flag)
  assert first.read_bytes() == before


@pytest.fixture(scope='module')
def results(scripted, task, launch, tmp_path_factory):
  """A folder with a result of each kind."""
  folder = tmp_path_factory.mktemp('results')
  finished = launch(
      'im2txt.run_inference', f'--checkpoint_path={scripted}', task.images[0],
      *(f'--{flag}={folder / name}' for flag, name in FLAGS.items()))
  assert finished.returncode == 0, finished.stderr
  return folder


def test_earlier_results_are_replaced(results, scripted, task, launch):
  before = {path.name: path.stat().st_ino for path in results.iterdir()}
  finished = launch(
      'im2txt.run_inference', f'--checkpoint_path={scripted}', task.images[1],
      *(f'--{flag}={results / name}' for flag, name in FLAGS.items()))
  assert finished.returncode == 0, finished.stderr
  after = {path.name: path.stat().st_ino for path in results.iterdir()}
  assert before.keys() == after.keys() == set(FLAGS.values())
  assert all(before[name] != after[name] for name in before)


def test_files_of_somebody_else_are_not(scripted, task, launch, tmp_path):
  outputs = {flag: tmp_path / name for flag, name in FLAGS.items()}
  for flag, path in outputs.items():
    if flag == 'contact_sheet':
      Image.new('RGB', (9, 7)).save(path)
    else:
      path.write_text('My notes of Captions for image and {"file": ')
  before = {flag: path.read_bytes() for flag, path in outputs.items()}
  arguments = ['im2txt.run_inference', f'--checkpoint_path={scripted}',
               task.images[0]]
  for flag, path in outputs.items():
    refused(launch(*arguments, f'--{flag}={path}'), flag)
    assert path.read_bytes() == before[flag]
  finished = launch(*arguments, '--overwrite', *(
      f'--{flag}={path}' for flag, path in outputs.items()))
  assert finished.returncode == 0, finished.stderr
  assert all(path.read_bytes() != before[flag]
             for flag, path in outputs.items())


def test_lists_and_annotations_are_not_replaced(
    scripted, task, launch, tmp_path):
  path = tmp_path / 'list.txt'
  path.write_text(f'{task.images[0]}\n')
  refused(launch('im2txt.run_inference', f'--checkpoint_path={scripted}',
                 f'--input_list={path}', f'--output_lines={path}',
                 '--overwrite'), 'output_lines')
  assert path.read_text() == f'{task.images[0]}\n'


def test_a_sheet_replaces_no_image(results, task, launch, tmp_path):
  shutil.copy(results / 'a.jsonl', tmp_path / 'b.jsonl')
  other = tmp_path / 'other.png'
  Image.new('RGB', (9, 7)).save(other)
  drawn = next(json.loads(line)['file'] for line in (
      tmp_path / 'b.jsonl').read_text().splitlines())
  for path, more in ((pathlib.Path(drawn), ['--overwrite']), (other, [])):
    before = path.read_bytes()
    refused(launch('im2txt.draw_captions', tmp_path / 'b.jsonl',
                   f'--output={path}', *more), 'output')
    assert path.read_bytes() == before
  for _ in range(2):
    finished = launch('im2txt.draw_captions', tmp_path / 'b.jsonl',
                      f'--output={tmp_path / "sheet.jpg"}')
    assert finished.returncode == 0, finished.stderr


def test_home(scripted, images, launch, tmp_path):
  work = tmp_path / 'work'
  work.mkdir()
  finished = launch(
      'im2txt.run_inference', f'--checkpoint_path={scripted}',
      '--input_files=~/red.jpg,~/blue.jpg', '--output_lines=~/a.txt',
      environment={'HOME': str(images)}, folder=work)
  assert finished.returncode == 0, finished.stderr
  assert (images / 'a.txt').read_text().count('Captions for image ') == 2
  assert not list(work.iterdir())
