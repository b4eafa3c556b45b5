"""Sheets of attention, looked at by their pixels."""

import io
import math
import os

import numpy as np
import pytest
from PIL import Image

from im2txt.results import attention_sheets
from im2txt.results.result import Caption, Result

PAPER = 255
ROWS, COLUMNS = 3, 5


def jpeg(size=(320, 240), grey=128):
  buffer = io.BytesIO()
  Image.new('RGB', size, (grey,) * 3).save(buffer, 'JPEG')
  return buffer.getvalue()


def looking(*places, text=None, rows=ROWS, columns=COLUMNS):
  """A caption, each of whose words looks at one place, (row, column)."""
  weights = np.zeros([len(places), rows, columns], np.float32)
  for word, place in zip(weights, places, strict=True):
    word[place] = 1
  if text is None:
    text = ' '.join('dog' for _ in places)
  return Caption(text, math.log(0.25), weights)


def entry(*captions, file='a.jpg', size=(320, 240), grey=128, visible=1.0):
  return Result(
      file, captions, thumbnail=jpeg(size, grey), visible_fraction=visible)


def pixels(result):
  sheet = attention_sheets.draw(result)
  assert sheet.mode == 'RGB'
  return np.asarray(sheet.convert('L')).astype(int)


def cells(sheet, width, height, number):
  """The images of a sheet, in their order; found by their full rows."""
  assert number <= 5
  dark = (sheet < 250).sum(1) >= number * width
  top = dark.argmax()
  assert dark[top:top + height].all() and not dark[top + height]
  lefts = [x for x in range(1, sheet.shape[1] - width + 1)
           if (sheet[top:top + height, x:x + width] < 250).all()
           and (sheet[top:top + height, x - 1] == PAPER).all()]
  assert len(lefts) == number
  return [sheet[top:top + height, left:left + width] for left in lefts]


def centre(cell):
  """Row and column of the brightest spot, as shares of the sides."""
  rows, columns = (cell >= cell.max() - 1).nonzero()
  return (rows.mean() + 0.5) / cell.shape[0], (
      columns.mean() + 0.5) / cell.shape[1]


@pytest.mark.parametrize('visible', [1.0, 299 / 346, 0.5])
@pytest.mark.parametrize('place', [(1, 1), (1, 3), (1, 2)])
def test_the_brightest_spot_is_where_the_model_looked(place, visible):
  _, cell = cells(pixels(entry(looking(place), visible=visible)), 240, 180, 2)
  row, column = place
  expected = (0.5 + visible * ((row + 0.5) / ROWS - 0.5),
              0.5 + visible * ((column + 0.5) / COLUMNS - 0.5))
  np.testing.assert_allclose(centre(cell), expected, atol=0.012)


def test_each_word_has_its_own_place():
  _, *words = cells(pixels(entry(looking((1, 1), (1, 3)))), 240, 180, 3)
  assert [round(COLUMNS * centre(cell)[1] - 0.5) for cell in words] == [1, 3]


def test_regions_tile_the_seen_part_and_the_rest_is_dark():
  even = looking((0, 0))._replace(
      attention=np.full([1, ROWS, COLUMNS], 1 / 15, np.float32))
  plain, cell = cells(pixels(entry(even, visible=0.5)), 240, 180, 2)
  assert (abs(plain - 128) <= 2).all()
  inside = np.zeros(cell.shape, bool)
  inside[45:135, 60:180] = True
  assert cell[inside].min() > 128 > 60 > cell[~inside].max()
  assert np.ptp(cell[inside]) <= 2 and np.ptp(cell[~inside]) <= 2


def test_corners_are_not_swapped():
  *_, cell = cells(pixels(entry(looking((0, COLUMNS - 1)))), 240, 180, 2)
  assert cell[0, -1] == cell.max() > cell[0, 0] + 50
  assert cell[-1, -1] == cell[0, 0] == cell.min()


def test_weights_are_interpolated():
  *_, cell = cells(pixels(entry(looking((1, 2)))), 240, 180, 2)
  middle = cell[90, 72:120]  # Between the middles of two regions.
  assert (np.diff(middle) >= 0).all() and np.ptp(middle) > 80
  assert abs(middle[24] - (middle[0] + middle[-1]) / 2) < 4


def test_a_word_is_scaled_by_its_own_maximum():
  sharp = looking((1, 1), (1, 1))
  sharp.attention[1] *= 0.01
  _, first, second = cells(pixels(entry(sharp)), 240, 180, 3)
  assert (abs(first - second) <= 1).all()


def test_black_that_is_looked_at_is_lighter_than_white_that_is_not():
  black, white = (cells(pixels(entry(looking((1, 2)), grey=grey)),
                        240, 180, 2)[1] for grey in (0, 245))
  assert black.max() > white.min() + 10


@pytest.mark.parametrize('words, columns, rows', [
    (0, 1, 1), (1, 2, 1), (4, 5, 1), (5, 5, 2), (9, 5, 2), (10, 5, 3)])
def test_the_sheet_grows_with_the_words(words, columns, rows):
  def size(words):
    caption = looking(*[(0, 0)] * words, text=' '.join('i' * words))
    return attention_sheets.draw(entry(caption)).size

  one, two, six = size(0), size(1), size(5)
  assert size(words) == (one[0] + (columns - 1) * (two[0] - one[0]),
                         one[1] + (rows - 1) * (six[1] - two[1]))


@pytest.mark.parametrize('size', [
    (1, 1), (1, 500), (500, 1), (31, 17), (97, 300), (640, 100)])
def test_images_of_every_form(size):
  ratio = 240 / max(size)
  width, height = (max(1, round(side * ratio)) for side in size)
  sheet = attention_sheets.draw(
      entry(looking((0, 0), (2, 4)), size=size, visible=0.5))
  assert sheet.width >= 3 * width and sheet.height > height


@pytest.mark.parametrize('text', [
    'x' * 4000, '犬', 'Hünd 🐕', 'a\nb', 'a\0b', '\udcff', 'a  b', ' ', '',
    'שלום', ' '.join('abcdefghij' * 5)])
def test_every_text_can_be_drawn(text):
  number = len(text.split(' ')) if text else 0
  result = entry(looking(*[(1, 1)] * number, text=text),
                 file='d/küche\n犬\udce9.jpg', size=(97, 300))
  attention_sheets.draw(result)


def test_a_long_word_stays_in_its_cell():
  def ink(text):
    sheet = pixels(entry(looking((0, 0), (0, 0), text=text)))
    return (sheet[-30:, -30 - 240:] < 140).any(0).nonzero()[0]

  assert np.ptp(ink('a ' + 'surfboard' * 9)) <= 242
  assert np.ptp(ink('a ' + 'surfboard' * 9)) > 4 * np.ptp(ink('a dog')) > 40


def test_the_caption_and_its_probability_are_written():
  caption = looking((1, 1))
  likely, unlikely = (
      pixels(entry(caption._replace(log_probability=math.log(p))))
      for p in (0.25, 0.75))
  changed = (likely != unlikely).any(1).nonzero()[0]
  assert changed.min() > 0 and changed.max() < 40


@pytest.fixture
def folder(tmp_path):
  return tmp_path / 'new' / 'sheets'


def write(folder, *found):
  with attention_sheets.write(str(folder)) as add:
    for result in found:
      add(result)
  return sorted(os.listdir(folder))


def test_a_sheet_an_image(folder):
  result = entry(looking((1, 1)), file='photos/surf.board.png')
  assert write(folder, result) == ['surf.board.attention.jpg']
  with Image.open(folder / 'surf.board.attention.jpg') as sheet:
    assert sheet.format == 'JPEG'
    drawn = np.asarray(attention_sheets.draw(result)).astype(int)
    assert abs(np.asarray(sheet) - drawn).mean() < 2


def test_images_of_one_name_keep_their_sheets(folder):
  greys = {'a/x.jpg': 40, 'b/x.jpg': 90, 'b/x.png': 140, 'c/x-2.jpg': 190,
           'c/X.jpg': 240}
  results = [entry(looking((1, 1)), file=file, grey=grey)
             for file, grey in greys.items()]
  write(folder, *results, results[1])  # An image twice: one sheet.
  named = dict(zip(greys, ['x', 'x-2', 'x-3', 'x-2-2', 'X-4'], strict=True))
  assert sorted(os.listdir(folder)) == sorted(
      f'{name}.attention.jpg' for name in named.values())
  for file, name in named.items():
    with Image.open(folder / f'{name}.attention.jpg') as sheet:
      plain = cells(np.asarray(sheet.convert('L')).astype(int), 240, 180, 2)[0]
    assert abs(plain.mean() - greys[file]) < 3


def test_images_are_not_written_over(tmp_path):
  image = tmp_path / 'a.jpg'
  image.write_bytes(b'an image')
  assert write(tmp_path, entry(looking((1, 1)), file=str(image))) == [
      'a.attention.jpg', 'a.jpg']
  assert image.read_bytes() == b'an image'


def test_results_without_attention_are_left_out(folder):
  good = entry(looking((1, 1)))
  plain = Caption('a dog', -1.0)
  assert write(
      folder, good._replace(error='no image'), good._replace(captions=()),
      good._replace(thumbnail=None), good._replace(captions=(plain,)),
      good._replace(captions=(plain, *good.captions))) == []


@pytest.mark.parametrize('name', [
    'x' * 251 + '.jpg', '犬' * 83 + '.jpg', os.fsdecode(b'caf\xe9\xff.jpg')],
    ids=ascii)
def test_names_that_are_long_or_not_utf8(folder, name):
  first, second = write(folder, entry(looking((1, 1)), file=f'a/{name}'),
                        entry(looking((1, 1)), file=f'b/{name}'))
  assert first != second and second.endswith('.attention.jpg')


def test_sheets_of_before_are_replaced(folder):
  write(folder, entry(looking((1, 1)), grey=40))
  before = (folder / 'a.attention.jpg').read_bytes()
  assert write(folder, entry(looking((1, 1)), grey=200)) == ['a.attention.jpg']
  assert (folder / 'a.attention.jpg').read_bytes() != before


def test_a_sheet_that_cannot_be_written_leaves_the_older(folder, monkeypatch):
  write(folder, entry(looking((1, 1))))
  before = (folder / 'a.attention.jpg').read_bytes()

  def full(*_):
    raise OSError('no space left')

  monkeypatch.setattr(os, 'replace', full)
  with pytest.raises(OSError, match='no space left'):
    write(folder, entry(looking((1, 1)), grey=200))
  assert os.listdir(folder) == ['a.attention.jpg']
  assert (folder / 'a.attention.jpg').read_bytes() == before


def test_a_folder_that_cannot_be_made(tmp_path):
  (tmp_path / 'file').write_bytes(b'')
  for path in (tmp_path / 'file', tmp_path / 'file' / 'sheets'):
    with pytest.raises(OSError, match='file'):
      write(path)
