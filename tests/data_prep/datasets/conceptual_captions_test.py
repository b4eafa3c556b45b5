"""Conceptual Captions' files are read as far as the images are there."""

import hashlib
import subprocess

import pytest

from data_prep.datasets import conceptual_captions
from data_prep.datasets.captioned_images import CaptionedImage
from data_prep.images.image_fetcher import RemoteImage

DOG, CAT, COW = (f'http://example.org/{name}.jpg?w=1&h="2"'
                 for name in ('dog', 'cat', 'cow'))


def name_of(url, ending=''):
  return hashlib.sha256(url.encode()).hexdigest() + ending


def write(path, *rows):
  path.write_text(''.join('\t'.join(row) + '\n' for row in rows))
  return str(path)


@pytest.fixture
def images(tmp_path):
  """A folder with the images of the dog and the cow, but not of the cat."""
  folder = tmp_path / 'images'
  folder.mkdir()
  (folder / name_of(DOG)).touch()
  (folder / name_of(COW, '.JPEG')).touch()
  (folder / name_of(CAT, '.tmp')).touch()
  (folder / name_of(CAT, '.png')).mkdir()
  return folder


def test_captions_are_collected_by_image(tmp_path, images, caplog):
  train = write(tmp_path / 'train.tsv',
                ('a cat', CAT), (' "a dog ', DOG), ('a cow', COW),
                ('the cat', CAT), ('the dog', f'{DOG}\r'))
  val = write(tmp_path / 'val.tsv.', ('a cow', COW), ('no cow', f'{COW}#1'),
              ('yes', f'{DOG}#2'))
  (images / name_of(f'{DOG}#2', '.gif')).touch()
  with caplog.at_level('INFO'):
    splits = conceptual_captions.read_splits(
        {'train': train, 'val': val}, str(images))
  assert splits == {
      'train': [CaptionedImage(2, str(images / name_of(DOG)),
                               ['"a dog', 'the dog']),
                CaptionedImage(3, str(images / name_of(COW, '.JPEG')),
                               ['a cow'])],
      'val': [CaptionedImage(8, str(images / name_of(f'{DOG}#2', '.gif')),
                             ['yes'])]}
  said = [record.getMessage() for record in caplog.records]
  assert len(said) == 2
  assert said[0].startswith('train: 3 captions of 2 images; left out: 2 rows')
  assert said[1].startswith('val: 1 captions of 1 images; left out: 1 rows')
  assert said[1].endswith(' 1 have one of an earlier split')


def test_a_third_cell_names_the_file(tmp_path, images):
  (images / 'a').mkdir()
  (images / 'a' / '7.jpg').touch()
  (images / 'a' / '8.jpg').touch()
  train = write(tmp_path / 'train.tsv', ('a dog', DOG, 'a/7.jpg'),
                ('a cow', COW, 'a/9.jpg'), ('two cows', COW, ''),
                ('the dog', DOG, 'a/8.jpg'))
  files = {'train': train}
  assert conceptual_captions.read_splits(files, str(images)) == {'train': [
      CaptionedImage(1, str(images / 'a/7.jpg'), ['a dog', 'the dog']),
      CaptionedImage(3, str(images / name_of(COW, '.JPEG')), ['two cows'])]}
  assert list(conceptual_captions.missing_images(files, str(images))) == [
      RemoteImage(COW, str(images / 'a/9.jpg'))]


def test_missing_images(tmp_path, images):
  files = {'train': write(tmp_path / 'train.tsv', ('a', CAT), ('b', DOG)),
           'val': write(tmp_path / 'val.tsv', ('c', COW), ('d', CAT))}
  assert list(conceptual_captions.missing_images(files, str(images))) == [
      RemoteImage(CAT, str(images / name_of(CAT)))] * 2


def test_names_are_those_of_the_help():
  told = subprocess.run(['sh', '-c', 'printf %s "$0" | sha256sum', DOG],
                        capture_output=True, text=True, check=True).stdout
  assert told.split()[0] == conceptual_captions.image_name(DOG)


@pytest.mark.parametrize(('row', 'message'), [
    (('a dog',), 'train.tsv:2: not of the form .* 1 cells'),
    (('a dog', DOG, '7.jpg', ''), 'train.tsv:2: not of the form .* 4 cells'),
    ((' ', DOG), 'train.tsv:2: the caption is empty'),
    (('a dog', ''), "train.tsv:2: '' is no URL"),
    ((DOG, 'a dog'), "train.tsv:2: 'a dog' is no URL; .* second"),
    (('a dog', DOG, '../7.jpg'), 'train.tsv:2: .* does not lie in'),
    (('a dog', DOG, '/etc/passwd'), 'train.tsv:2: .* does not lie in'),
    (('a dog', DOG, 'a\0b.jpg'), 'train.tsv:2: no file can have the path'),
    (('a dog', DOG, 'a/'), 'train.tsv:2: no file can have the path'),
    (('a dog', DOG, 'a/b/..'), 'train.tsv:2: no file can have the path'),
    # 256 bytes, though fewer letters.
    (('a dog', DOG, f'a/{"ä" * 128}/b'),
     'train.tsv:2: no file can have the path'),
])
def test_malformed_rows(tmp_path, images, row, message):
  files = {'train': write(tmp_path / 'train.tsv', ('a cow', COW), row)}
  with pytest.raises(ValueError, match=message):
    conceptual_captions.read_splits(files, str(images))
  with pytest.raises(ValueError, match=message):
    list(conceptual_captions.missing_images(files, str(images)))


def test_an_image_to_fetch_leaves_room_for_its_temporary_name(
    tmp_path, images):
  longest = 'x' * 251
  rows = ('a cat', CAT, longest), ('a cow', COW, f'{longest}y')
  files = {'train': write(tmp_path / 'train.tsv', *rows)}
  missing = conceptual_captions.missing_images(files, str(images))
  assert next(missing) == RemoteImage(CAT, str(images / longest))
  with pytest.raises(ValueError, match='train.tsv:2: no file can have'):
    next(missing)
  for _, _, name in rows:  # Where it is there, it will do.
    (images / name).touch()
  assert not list(conceptual_captions.missing_images(files, str(images)))


@pytest.mark.parametrize(('rows', 'message'), [
    ([], 'val.tsv: none of its 0 rows is left'),
    ([('a cat', CAT), ('a dog', DOG)],
     'val.tsv: none of its 2 rows is left: 1 rows have no image in .*images, '
     '1 have one of an earlier split; --help'),
])
def test_nothing_left(tmp_path, images, rows, message):
  files = {'train': write(tmp_path / 'train.tsv', ('a dog', DOG)),
           'val': write(tmp_path / 'val.tsv', *rows)}
  with pytest.raises(ValueError, match=message):
    conceptual_captions.read_splits(files, str(images))


def test_text_that_is_not_utf8(tmp_path, images):
  path = tmp_path / 'train.tsv'
  path.write_bytes(b'a \xff\thttp://x/y\n')
  with pytest.raises(ValueError, match='train.tsv:1:3: is no UTF-8'):
    conceptual_captions.read_splits({'train': str(path)}, str(images))
