"""`run_inference` into files of results: whole, in order, and going on."""

import html
import io
import json
import os
import pathlib
import re
import shutil
import signal
import time

import numpy as np
import pytest
from command_runner import SECONDS
from gallery_page import Page
from PIL import Image
from tiny_task import draw_image

from im2txt.results import journal as journals
from im2txt.results import result as results
from im2txt.results.outputs import Outputs

NUMBER, PIPE = 70, 40  # Of images; which of them can be made a pipe.
# A batch of 4 is searched for while the next is encoded: the last one waits.
KNOWN = PIPE - 4
KINDS = ('lines', 'json', 'jsonl', 'html')


def name_of(number):
  """As COCO named images of 2014 and of 2017."""
  return ('COCO_val2014_' if number % 2 else '') + f'{number:012}.png'


def image(number):
  """A PNG like no other's; some take longer to decode."""
  cells = np.random.default_rng(number).integers(0, 256, (3, 5, 3), np.uint8)
  size = (1500, 900) if number % 9 == 0 else (50, 30)
  buffer = io.BytesIO()
  Image.fromarray(cells).resize(size, Image.Resampling.NEAREST).save(
      buffer, 'PNG')
  return buffer.getvalue()


@pytest.fixture(scope='module')
def many(tmp_path_factory):
  """A folder of images with two others in it; their paths, in order."""
  folder = tmp_path_factory.mktemp('many')
  for inner in ('', 'a', 'a/c', 'b'):
    (folder / inner).mkdir(exist_ok=True)
  paths = [folder / ('' if i < 30 else 'a' if i < 50 else 'a/c' if i < 60
                     else 'b') / name_of(i if i < 30 else NUMBER + 30 - i)
           for i in range(NUMBER)]
  paths.sort(key=lambda path: (str(path.parent), path.name))
  for i, path in enumerate(paths):
    path.write_bytes(image(i))
  (folder / 'a' / 'notes.txt').write_text('no image, and not meant')
  return paths


def outputs(folder, *kinds):
  """Flags for files of results."""
  return [f'--output_{kind}={folder}/out.{kind}' for kind in kinds or KINDS]


def read_jsonl(path):
  return [json.loads(line) for line in path.read_text('utf-8').splitlines()]


def in_lines(results):
  """What im2txt would print."""
  return ''.join(
      f'Captions for image {os.path.basename(result["file"])}:\n' + ''.join(
          f'  {i}) {caption["caption"]} (p={caption["probability"]:f})\n'
          for i, caption in enumerate(result['captions']))
      for result in results if 'captions' in result)


def test_all_outputs_say_the_same(trained, many, caption, tmp_path):
  folder, results = tmp_path / 'copy', tmp_path / 'results'
  results.mkdir()
  shutil.copytree(many[0].parent, folder)
  files = [str(folder / path.relative_to(many[0].parent)) for path in many]
  bad = {files[3]: b'text', files[33]: b'', files[64]: image(64)[:99]}
  for file, content in bad.items():
    pathlib.Path(file).write_bytes(content)
  given = f'{folder},{files[0]},{files[3]}'
  all_at_once = caption(trained.folder, given, *outputs(results))
  two_by_two = caption(trained.folder, given, '--batch_size=2',
                       f'--output_jsonl={results}/two.jsonl')
  printed = caption(trained.folder, given, '--batch_size=1')

  found = read_jsonl(results / 'out.jsonl')
  assert [result['file'] for result in found] == [*files, files[0], files[3]]
  for result in found:
    assert set(result) == {
        'file', 'error' if result['file'] in bad else 'captions'}
  captioned = [result for result in found if 'captions' in result]
  # Each has its own, and if it is named twice, twice the same.
  assert found[-2:] == [found[0], found[3]]
  assert len({result['captions'][0]['log_probability']
              for result in captioned[:-1]}) > 0.9 * NUMBER

  for finished in (all_at_once, two_by_two, printed):
    assert finished.returncode == 1, finished.stderr
    told = [line for line in finished.lines if 'cannot be read' in line]
    assert {line.split(': ')[0] for line in told} == set(bad)
  assert all_at_once.stdout == two_by_two.stdout == ''
  assert sorted(path.name for path in results.iterdir()) == sorted(
      [*(f'out.{kind}' for kind in KINDS), 'two.jsonl'])

  assert (results / 'out.lines').read_text() == in_lines(found)
  scored = json.loads((results / 'out.json').read_text())
  assert scored == [
      {'image_id': int(result['file'][-16:-4]),
       'caption': result['captions'][0]['caption']}
      for result in captioned[:-1]]
  cards = Page((results / 'out.html').read_text('utf-8')).cards
  assert [card['title'] for card in cards] == [*files, files[0], files[3]]
  for card, result in zip(cards, found, strict=True):
    texts = [caption['caption'] for caption in result.get('captions', [])]
    assert card['captions'] == [text for text in texts if text]
    assert len(card['bars']) == len(texts)
    assert card.get('error') == result.get('error')
    assert ('image' in card) == ('captions' in result)

  # Batches of other sizes are the same but for rounding.
  for ours, theirs in zip(
      found, read_jsonl(results / 'two.jsonl'), strict=True):
    assert ours['file'] == theirs['file']
    assert ours.get('error') == theirs.get('error')
    for one, other in zip(ours.get('captions', []),
                          theirs.get('captions', []), strict=True):
      assert one['caption'] == other['caption']
      assert one['log_probability'] == pytest.approx(
          other['log_probability'], abs=1e-5)
  pattern = r'(?s)(.*?)\(p=(.*?)\)'
  ours, theirs = (re.findall(pattern, text)
                  for text in (in_lines(found), printed.stdout))
  assert [text for text, _ in ours] == [text for text, _ in theirs]
  np.testing.assert_allclose([float(p) for _, p in ours],
                             [float(p) for _, p in theirs], atol=2e-6)


@pytest.fixture(scope='module')
def unbroken(scripted, many, launch, tmp_path_factory):
  """Files of results of a run that nothing happened to."""
  folder = tmp_path_factory.mktemp('unbroken')
  finished = launch(
      'im2txt.run_inference', f'--checkpoint_path={scripted}',
      f'--input_files={many[0].parent}', '--batch_size=4', *outputs(folder))
  assert finished.returncode == 0, finished.stderr
  assert sorted(os.listdir(folder)) == sorted(f'out.{kind}' for kind in KINDS)
  return {kind: (folder / f'out.{kind}').read_bytes() for kind in KINDS}


@pytest.fixture
def stop(scripted, many, start, tmp_path):
  """Captions until a pipe that nobody writes into, and is stopped there."""
  def go(number):
    content = many[PIPE].read_bytes()
    many[PIPE].unlink()
    os.mkfifo(many[PIPE])
    try:
      command = start(
          'im2txt.run_inference', f'--checkpoint_path={scripted}',
          f'--input_files={many[0].parent}', '--batch_size=4',
          *outputs(tmp_path))
      journal = tmp_path / 'out.lines.progress'
      deadline = time.monotonic() + SECONDS
      while not journal.exists() or (
          journal.read_bytes().count(b'\n') < 1 + KNOWN):
        assert time.monotonic() < deadline
        time.sleep(0.02)
      command.send(number)
      if number == signal.SIGINT:  # It comes to that once the pipe is read.
        os.close(os.open(many[PIPE], os.O_RDWR))
      finished = command.finish()
    finally:
      many[PIPE].unlink()
      many[PIPE].write_bytes(content)
    assert journal.read_bytes().count(b'\n') == 1 + KNOWN
    return finished
  return go


def rounded(content):
  """A file without the digits in which batches of another size may differ."""
  return re.sub(
      rb'\d+\.\d{6,}', lambda number: b'%.5f' % float(number[0]), content)


def goes_on(scripted, many, caption, folder, unbroken):
  """Run it again, with batches of another size."""
  finished = caption(scripted, many[0].parent, *outputs(folder))
  assert finished.returncode == 0, finished.stderr
  assert f'{NUMBER - KNOWN} images are left' in finished.stderr
  for kind in KINDS:
    found = (folder / f'out.{kind}').read_bytes()
    assert rounded(found) == rounded(unbroken[kind]), kind
  assert len(os.listdir(folder)) == len(KINDS)  # No journal, nothing else.


@pytest.mark.long
def test_killed_it_goes_on(
    scripted, many, caption, stop, unbroken, train_features, tmp_path):
  assert stop(signal.SIGKILL).returncode == -signal.SIGKILL
  journal = tmp_path / 'out.lines.progress'
  with open(journal, 'ab') as f:
    f.write(b'{"file": "cut off in the mid')
  before = journal.read_bytes()

  refused = caption(scripted, many[0].parent, '--beam_size=2',
                    *outputs(tmp_path))
  assert refused.returncode == 1
  assert f'{journal} is of work begun with beam_size 3, not 2' in refused.error
  refused = caption(
      scripted, many[0].parent, *outputs(tmp_path),
      f'--consensus_file_pattern={train_features}/train-*')
  assert refused.returncode == 1
  assert 'begun with consensus_file_pattern None, not' in refused.lines[-1]
  assert journal.read_bytes() == before
  goes_on(scripted, many, caption, tmp_path, unbroken)


def test_interrupted_it_goes_on(
    scripted, many, caption, stop, unbroken, tmp_path):
  finished = stop(signal.SIGINT)
  assert finished.returncode == 130
  assert finished.error == 'run_inference: error: interrupted'
  assert os.listdir(tmp_path) == ['out.lines.progress']
  goes_on(scripted, many, caption, tmp_path, unbroken)


def test_what_was_unreadable_is_tried_again(tmp_path):
  journal = str(tmp_path / 'progress')

  def complete(opened, error):
    # 'red' is the one that may not be readable.
    yield from opened.complete(files, [
        [results.Result(file, error=error if file == 'red' else None)]
        for file in opened.left(files)])

  files = ['blue', 'red', 'blue', 'green']
  with (pytest.raises(KeyboardInterrupt),
        journals.Journal(journal, {}) as opened):
    assert opened.left(files) == ['blue', 'red', 'green']
    assert [result.error for result in complete(opened, 'cut off')] == [
        None, 'cut off', None, None]
    raise KeyboardInterrupt
  with journals.Journal(journal, {}) as opened:
    assert opened.left(files) == ['red']
    found = list(complete(opened, None))
    assert [result.file for result in found] == files
    assert not any(result.error for result in found)
    assert opened.left(files) == []
    assert list(complete(opened, None)) == found


def test_a_run_that_fails_before_the_first_result_can_be_mended(
    trained, scripted, task, caption, tmp_path):
  for name in ('config.json', 'word_counts.txt', 'model.ckpt-6.index'):
    (tmp_path / name).write_bytes((trained.folder / name).read_bytes())
  data = 'model.ckpt-6.data-00000-of-00001'
  (tmp_path / data).write_bytes(b'damaged')
  finished = caption(tmp_path, task.images[0], *outputs(tmp_path, 'jsonl'))
  assert finished.returncode == 1
  assert 'model.ckpt-6' in finished.lines[-1]
  assert not list(tmp_path.glob('out.*'))
  finished = caption(scripted, task.images[0], *outputs(tmp_path, 'jsonl'))
  assert finished.returncode == 0, finished.stderr
  [result] = read_jsonl(tmp_path / 'out.jsonl')
  assert result['file'] == str(task.images[0])


def test_ids_of_an_annotation_file(scripted, images, caption, tmp_path):
  annotations = tmp_path / 'annotations.json'
  annotations.write_text(json.dumps({'images': [
      {'file_name': name, 'id': image_id} for name, image_id in (
          ('green.jpg', 7), ('red.jpg', 9), ('blue.jpg', 2**33))]}))
  finished = caption(
      scripted, images, *outputs(tmp_path, 'json'),
      f'--annotations_file={annotations}', '--min_caption_length=3')
  assert finished.returncode == 0, finished.stderr
  assert json.loads((tmp_path / 'out.json').read_text()) == [
      {'image_id': image_id, 'caption': 'red'} for image_id in (2**33, 7, 9)]


def test_ids_that_there_are_not_are_refused_first(
    scripted, images, caption, tmp_path):
  def error_of(files, *arguments):
    finished = caption(scripted, files, *outputs(tmp_path), *arguments)
    assert finished.returncode == 1
    assert finished.stdout == '' and 'restored' not in finished.stderr
    assert not list(tmp_path.glob('out.*'))
    return finished.error

  annotations = tmp_path / 'annotations.json'
  flag = f'--annotations_file={annotations}'
  assert f"No such file or directory: '{annotations}'" in error_of(
      images, flag)
  annotations.write_text('{"images": [')
  assert f'{annotations}:1:13: broken JSON' in error_of(images, flag)
  annotations.write_text(
      '{"images": [{"file_name": "blue.jpg", "id": 1}]}')
  assert f"{annotations} has no image with the file_name 'green.jpg'" in (
      error_of(images, flag))
  annotations.write_text(json.dumps({'images': [
      {'file_name': f'{name}.jpg', 'id': 5}
      for name in ('red', 'green', 'blue')]}))
  assert (f'{annotations}: images[1]: the image id 5 is there twice'
          in error_of(images, flag))


def test_names_that_are_hostile(scripted, caption, tmp_path):
  names = [b'<b>&"\'.jpg', b'caf\xe9.jpg', b"a, b;\n'c'.jpg"]
  folder = tmp_path / 'images'
  folder.mkdir()
  for name in names:
    with open(os.fsencode(folder) + b'/' + name, 'wb') as f:
      f.write(draw_image('red', 'square'))
  finished = caption(
      scripted, folder, *outputs(tmp_path, 'lines', 'jsonl', 'html'),
      f'--contact_sheet={tmp_path}/out.png')
  assert finished.returncode == 0, finished.stderr
  files = [f'{folder}/{os.fsdecode(name)}' for name in sorted(names)]
  assert [result['file'] for result in read_jsonl(tmp_path / 'out.jsonl')
          ] == files
  shown = [file.replace('\udce9', '\\udce9') for file in files]
  page = (tmp_path / 'out.html').read_text('utf-8')
  assert [card['title'] for card in Page(page).cards] == shown
  assert html.escape(shown[0]) in page
  lines = (tmp_path / 'out.lines').read_text('utf-8')
  assert all(f'Captions for image {os.path.basename(name)}:\n' in lines
             for name in shown)
  with Image.open(tmp_path / 'out.png') as sheet:
    sheet.load()


def test_places_that_cannot_be_written(task, scripted, caption, tmp_path):
  def check(paths, sheet):
    Outputs(
        **dict(zip(KINDS, paths, strict=False)), contact_sheet=sheet).check(
            [], overwrite=False)

  (tmp_path / 'link').symlink_to('.')
  os.mkfifo(tmp_path / 'pipe')
  for paths, sheet, error in (
      (['gone/out.json'], None, 'gone/out.json: there is no such folder'),
      (['a', '.'], None, '/. is a folder'),
      (['pipe'], None, 'pipe is a folder or a device'),
      (['a', 'b', 'a'], None, 'a is named by two flags'),
      (['a', './a'], None, 'a is named by two flags'),
      (['a', 'link/a'], None, 'a is named by two flags'),
      (['a.png'], 'a.png', 'a.png is named by two flags'),
      ([], 'gone/a.png', 'gone/a.png: there is no such folder'),
      ([], 'a.pdf', 'a.pdf must end in .png or .jpg')):
    with pytest.raises(ValueError) as refused:
      check([f'{tmp_path}/{path}' for path in paths],
            sheet and f'{tmp_path}/{sheet}')
    assert f'{tmp_path}/' in str(refused.value)
    assert error in str(refused.value)
  check([f'{tmp_path}/a', f'{tmp_path}/b', 'c', '/dev/../d'],
        f'{tmp_path}/a.JPG')

  finished = caption(scripted, task.images[0],
                     f'--output_html={tmp_path}/gone/out.html')
  assert finished.returncode == 1 and finished.stdout == ''
  assert f'{tmp_path}/gone/out.html: there is no such' in finished.error
