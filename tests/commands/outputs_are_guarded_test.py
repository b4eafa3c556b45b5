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


@pytest.mark.parametrize(('name', 'flags'), [
    ('images.tsv', []), ('word_counts.txt', []), ('build.json', []),
    ('counts.txt', ['--word_counts_output_file={}/counts.txt'])])
def test_a_build_replaces_no_file_of_others(name, flags, tmp_path, launch):
  Image.new('RGB', (9, 7)).save(tmp_path / 'a.jpg')
  captions = 'image\tcaption\na.jpg\ta dog\n'
  (tmp_path / name).write_text(captions)
  (tmp_path / 'captions.tsv').write_text(captions)
  flags = ['data_prep.build_custom_data', f'--output_dir={tmp_path}',
           f'--captions_file={tmp_path}/captions.tsv', '--num_threads=1',
           *(flag.format(tmp_path) for flag in flags)]
  refused(launch(*flags), 'word_counts_output_file' if name == 'counts.txt'
          else 'output_dir')
  assert (tmp_path / name).read_text() == captions
  # Twice: with the flag, then because they are its own.
  for more in (['--overwrite'], []):
    finished = launch(*flags, *more)
    assert finished.returncode == 0, finished.stderr


def test_packing_and_drawing_replace_no_file_of_others(
    trained, tmp_path, launch):
  (tmp_path / 'config.json').write_text('{}')
  refused(launch('im2txt.pack_model', f'--checkpoint_path={trained.folder}',
                 f'--output_dir={tmp_path}'), 'output_dir')
  (tmp_path / 'annotations').mkdir()
  (tmp_path / 'annotations' / 'captions_train.json').write_text('{}')
  refused(launch('data_prep.build_toy_data', f'--output_dir={tmp_path}',
                 '--num_train=1', '--num_val=1'), 'output_dir')
  assert (tmp_path / 'config.json').read_text() == '{}'
