"""Tables of captions are read as people have them, or refused by line."""

import pytest

from im2txt.text import annotations
from im2txt.text.caption_rows import USUAL, Columns


def read(tmp_path, text, columns=USUAL):
  path = tmp_path / 'captions.of_any_name'
  path.write_text(text, newline='')
  return annotations.read(str(path), columns)


@pytest.mark.parametrize('text', [
    'image,caption\na.jpg,"A dog, wet"\nb.jpg,Cats\na.jpg,"A ""red"" dog"\n',
    # Header and line ends as programs write them.
    '\ufeffimage, caption \r\na.jpg, "A dog, wet" \r\nb.jpg,Cats\r\n'
    'a.jpg,"A ""red"" dog"\r\n',
    '"Image","Caption"\n"a.jpg","A dog, wet"\n"b.jpg","Cats"\n'
    '"a.jpg","A ""red"" dog"',
    'Filename;Text\na.jpg;A dog, wet\nb.jpg;Cats\na.jpg;A "red" dog\n',
    'image\tcaption\na.jpg\tA dog, wet\nb.jpg\tCats\na.jpg\tA "red" dog\n',
    # No quotes around commas.
    'image,caption\na.jpg,A dog, wet\nb.jpg,Cats\na.jpg,A "red" dog\n',
    'a.jpg,A dog, wet\nb.jpg, Cats\n\na.jpg,A "red" dog\n',
    'a.jpg#0,A dog, wet\nb.jpg#0,Cats\na.jpg#1,A "red" dog\n',
    # Flickr30k's, one row of which has lost a bar.
    'image_name| comment_number| comment\na.jpg| 0| A dog, wet\n'
    'b.jpg| 0 Cats\na.jpg| 1| A "red" dog\n',
    # Several captions in a row, and columns that nobody needs.
    'id,file_name,caption_0,caption_1\n1,a.jpg,"A dog, wet","A ""red"" dog"\n'
    '2,b.jpg,Cats,\n',
    'raw,split,filename\n"[""A dog, wet"", ""A \\""red\\"" dog""]",x,a.jpg\n'
    """"['Cats']",x,b.jpg\n""",
], ids=['csv', 'blanks', 'all in quotes', 'semicolons', 'tsv', 'commas',
        'no header', 'counted', 'bars', 'columns of captions', 'lists'])
def test_forms_of_tables(tmp_path, text):
  assert {image.file_name: image.captions for image in read(
      tmp_path, text)} == {'a.jpg': ['A dog, wet', 'A "red" dog'],
                           'b.jpg': ['Cats']}


def test_columns_by_name_and_splits(tmp_path):
  images = read(
      tmp_path, 'part,words,pic,image\nTRAIN,A dog,a,z\n dev ,"A\ncat",b,z\n',
      Columns('pic', 'words', 'part'))
  assert [(image.file_name, image.captions, image.split)
          for image in images] == [
              ('a', ['A dog'], 'train'), ('b', ['A\ncat'], 'val')]


def test_quotes_inside_a_cell_are_its_own(tmp_path):
  images = read(tmp_path, 'image\tcaption\na.jpg\t"Fetch" says a man\n'
                'b.jpg\tA 5" screen\n')
  assert [image.captions for image in images] == [
      ['"Fetch" says a man'], ['A 5" screen']]


@pytest.mark.parametrize(('text', 'lines'), [
    ('image,caption\na.jpg,A dog\nb.jpg,"A cat\nc.jpg,A cow\n', [3]),
    # The quote that would close it stands behind whole rows.
    ('image,caption\na.jpg,"A dog\nb.jpg,A cat\nc.jpg,A cow"\nd.jpg,A pig\n',
     [2]),
    ('10,"A dog\n11,A cat"\n', []),
    ('image\tcaption\na.jpg\t"A dog\nb.jpg\tA "cat"\nc.jpg\t"A cow\n', [2, 4]),
    ('image,caption,more\na.jpg,A dog\nb.jpg,A cat,x\nc.jpg,A cow, wet,x\n',
     [2, 4]),
    ('image,caption\n,A dog\n', [2]),
])
def test_bad_rows_are_named(tmp_path, text, lines):
  with pytest.raises(ValueError) as refused:
    read(tmp_path, text)
  said = str(refused.value)
  assert said.count('captions.of_any_name:') >= len(lines)
  for line in lines:
    assert f'captions.of_any_name:{line}: ' in said


def test_empty_cells_are_counted(tmp_path, caplog):
  images = read(tmp_path, 'image,caption\na.jpg,A dog\na.jpg,\nb.jpg, \n,\n')
  assert [image.captions for image in images] == [['A dog']]
  assert '2 empty captions' in caplog.text and '1 empty rows' in caplog.text


@pytest.mark.parametrize('columns', [
    USUAL, Columns(image='image'), Columns('pic', 'words', 'part')])
def test_a_header_without_the_columns(tmp_path, columns):
  with pytest.raises(ValueError, match=r":1: .*'pic ', 'words'"):
    read(tmp_path, 'pic ,words\na,A dog\n', columns)


def test_a_split_that_is_none(tmp_path):
  with pytest.raises(ValueError, match=":2: the split 'eval' is none of train"):
    read(tmp_path, 'image,caption,split\na.jpg,A dog,eval\n',
         Columns(split='split'))
