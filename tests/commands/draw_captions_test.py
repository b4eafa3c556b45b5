"""`python -m im2txt.draw_captions`."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from im2txt import draw_captions
from im2txt.results.result import Caption, Result


def write(path, **captions_of):
  """A file of results: by image its captions; None: it was unreadable."""
  with open(path, 'w', encoding='utf-8') as f:
    for name, captions in captions_of.items():
      fields = {'file': str(path.parent / f'{name}.png')} | (
          {'error': 'no image'} if captions is None else {'captions': [
              {'caption': text, 'probability': math.exp(-i),
               'log_probability': -i} for i, text in enumerate(captions)]})
      f.write(json.dumps(fields) + '\n')
  return path


@pytest.fixture
def images(tmp_path):
  """Three images of one colour each."""
  for name, colour in (('a', 'red'), ('b', 'lime'), ('c', 'blue')):
    Image.new('RGB', (70, 50), colour).save(tmp_path / f'{name}.png')


def test_images_of_several_files_have_a_caption_of_each(tmp_path):
  before = write(tmp_path / 'before.jsonl', a=['a dog', 'a cat'], b=['x'])
  after = write(tmp_path / 'after.jsonl', c=['y'], a=['two dogs', 'z'])
  merged = draw_captions.merge(
      [draw_captions.read(before), draw_captions.read(after)], ['b4', 'then'])
  assert merged == [
      Result(str(tmp_path / 'a.png'), (
          Caption('b4: a dog', 0), Caption('then: two dogs', 0))),
      Result(str(tmp_path / 'b.png'), (Caption('x', 0),)),
      Result(str(tmp_path / 'c.png'), (Caption('y', 0),))]


def test_a_sheet_is_drawn(launch, images, tmp_path):
  paths = [write(tmp_path / 'before.jsonl', a=['a dog'], b=None, c=['x']),
           write(tmp_path / 'after.jsonl', a=['two dogs'])]
  finished = launch('im2txt.draw_captions', f'--output={tmp_path}/sheet.png',
                    *paths)
  assert finished.returncode == 0, finished.stderr
  sheet = np.asarray(Image.open(tmp_path / 'sheet.png'))
  def area(*colour):
    return (abs(sheet.astype(int) - colour).max(-1) < 9).sum()
  assert area(255, 0, 0) == area(0, 0, 255) == 240 * 240
  assert area(0, 255, 0) == 0  # It could not be read.


@pytest.mark.parametrize('arguments, said', [
    ([], 'name files of results'),
    (['none.jsonl'], 'none.jsonl'),
    (['bad.jsonl'], 'bad.jsonl:2: '),
    (['empty.jsonl'], 'empty.jsonl have captions of no image'),
    (['gone.jsonl'], 'gone.png cannot be drawn'),
    (['--output=sheet.gif', 'gone.jsonl'], '--output=sheet.gif must end in'),
    (['gone.jsonl', './gone.jsonl'], 'gone.jsonl have one name'),
])
def test_mistakes(arguments, said, launch, tmp_path):
  good = write(tmp_path / 'gone.jsonl', gone=['x']).read_text()
  (tmp_path / 'bad.jsonl').write_text(f'{good}[]\n')
  (tmp_path / 'empty.jsonl').touch()
  finished = launch('im2txt.draw_captions', '--output=sheet.png', *arguments,
                    folder=tmp_path)
  assert finished.returncode == 1
  assert said in finished.error
  assert not (tmp_path / 'sheet.png').exists()
