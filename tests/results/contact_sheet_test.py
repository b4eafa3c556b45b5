"""The sheet of images and captions, looked at by its pixels."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from im2txt.results import contact_sheet
from im2txt.results.result import Caption, Result

BAR = (201, 220, 242)
PAPER = (255, 255, 255)


def encode(colour, size=(31, 17), mode='RGB', file_format='PNG'):
  buffer = io.BytesIO()
  Image.new('RGB', size, colour).convert(mode).save(buffer, file_format)
  return buffer.getvalue()


def entry(name='a.jpg', colour='red', captions=(('a dog .', 0.5),), **kwargs):
  return Result(
      name, tuple(Caption(text, math.log(p) if p else -math.inf)
                  for text, p in captions),
      thumbnail=encode(colour, **kwargs))


def pixels(entries):
  sheet = contact_sheet.draw(entries)
  assert sheet.mode == 'RGB'
  return np.asarray(sheet)


def area(sheet, colour):
  return int((sheet == colour).all(-1).sum())


def box(sheet, colour):
  """Left, top, right and bottom of a colour's pixels."""
  rows, columns = (sheet == colour).all(-1).nonzero()
  return columns.min(), rows.min(), columns.max(), rows.max()


def bars(sheet):
  """Widths of the bars, top to bottom, one for each row of pixels in one."""
  widths = []
  for row in (sheet == BAR).all(-1):
    if row.any():
      columns = row.nonzero()[0]
      widths.append(columns.max() - columns.min() + 1)
  return widths


def test_images_stand_in_rows_in_the_given_order():
  colours = [(200, 0, 0), (0, 150, 0), (0, 0, 250), (9, 8, 7), (50, 60, 70)]
  sheet = pixels([entry(colour=colour) for colour in colours])
  boxes = [box(sheet, colour) for colour in colours]
  sides = {(right - left, bottom - top) for left, top, right, bottom in boxes}
  assert len(sides) == 1 and sides.pop() == (239, 239)
  lefts = [left for left, *_ in boxes]
  tops = [top for _, top, *_ in boxes]
  assert lefts[0] < lefts[1] < lefts[2] < lefts[3]
  assert lefts[4] == lefts[0] and tops[4] > tops[3] == tops[0]


@pytest.mark.parametrize('number, columns, rows', [
    (1, 1, 1), (3, 3, 1), (4, 4, 1), (5, 4, 2), (9, 4, 3)])
def test_sheet_grows_with_the_images(number, columns, rows):
  one = contact_sheet.draw([entry()])
  two = contact_sheet.draw([entry()] * 2)
  many = contact_sheet.draw([entry()] * number)
  margin = 2 * one.width - two.width
  assert many.width - margin == columns * (one.width - margin)
  assert many.height - margin == rows * (one.height - margin)


def test_bars_show_probabilities_as_shares_of_the_best():
  sheet = pixels([entry(captions=[('a', 0.02), ('b', 0.01), ('c', 0.005)])])
  widths = sorted(set(bars(sheet)))
  assert len(widths) == 3
  np.testing.assert_allclose(widths, [61, 121, 241], atol=1)


def test_captions_are_written_in_ink():
  blank = pixels([entry(captions=[])])
  written = pixels([entry(captions=[('a dog', 0.5)])])
  assert blank.shape == written.shape
  dark = (written < 100).all(-1).sum() - (blank < 100).all(-1).sum()
  assert dark > 50


def test_a_long_caption_is_wrapped_and_stays_in_its_cell():
  long = ' '.join(['surfboard'] * 12)
  left, _, right, _ = box(pixels([entry(captions=[(long, 0.5)])]), BAR)
  assert right - left <= 240
  alone = pixels([entry(captions=[(long, 0.5)])])
  assert area(alone, BAR) > 3 * area(pixels([entry()]), BAR)


def test_captions_that_do_not_fit_are_left_out():
  few = pixels([entry(captions=[('a', 0.5)] * 7)])
  many = pixels([entry(captions=[('a', 0.5)] * 50)])
  assert few.shape == many.shape
  assert area(many, BAR) == area(few, BAR)


def test_a_caption_without_end_does_not_run_into_the_next_image():
  sheet = pixels([entry(captions=[('x' * 4000, 0.5)])] + [entry()] * 4)
  assert area(sheet, (255, 0, 0)) == 5 * 240 * 240


def test_an_image_without_captions_or_probability():
  assert area(pixels([entry(captions=[])]), (255, 0, 0)) == 240 * 240
  pixels([entry(captions=[('a', 0.0), ('b', 0.0)])])


def names_ink(name):
  return int((pixels([entry(name, captions=[])]) < 140).all(-1).sum())


def test_the_name_is_written():
  assert names_ink('2258277193_586949ec62.jpg') > names_ink('a.jpg') > 10


def test_of_a_long_name_most_is_shown():
  longest = 'x' * 30
  assert names_ink('x' * 60 + '.jpg') > names_ink(longest) / 2


@pytest.mark.parametrize('mode, file_format', [
    ('RGB', 'JPEG'), ('L', 'JPEG'), ('CMYK', 'JPEG'), ('RGBA', 'PNG'),
    ('P', 'PNG'), ('1', 'PNG')])
def test_images_of_every_mode(mode, file_format):
  sheet = pixels([entry(colour='black', mode=mode, file_format=file_format,
                        captions=[])])
  assert (sheet < 40).all(-1).sum() > 0.99 * 240 * 240


@pytest.mark.parametrize('size', [(1, 1), (1, 500), (500, 1)])
def test_images_of_every_form(size):
  sheet = pixels([entry(size=size, captions=[])])
  assert area(sheet, (255, 0, 0)) == 240 * 240


def test_words_of_other_scripts_can_be_drawn():
  pixels([entry(name='küche_犬.jpg', captions=[('ein Hünd 犬', 0.5)])])
