"""Flickr8k's original files are read, its quirk is left out."""

import json

import pytest

from data_prep.datasets import flickr8k
from data_prep.datasets.captioned_images import CaptionedImage

TOKENS = """10_a.jpg#0\tA child in a dress .
10_a.jpg#1\tA girl .
2258277193_586949ec62.jpg.1#0\tpeople waiting for the subway
2258277193_586949ec62.jpg#0\tA man .
30_c.jpg#0\tTwo # dogs\tplay .
"""


def read(tmp_path, tokens=TOKENS, **lists):
  captions = tmp_path / 'token.txt'
  captions.write_text(tokens)
  paths = {}
  for split, names in lists.items():
    (tmp_path / f'{split}.txt').write_text(names)
    paths[split] = str(tmp_path / f'{split}.txt')
  return flickr8k.read_splits(str(captions), paths, 'pics')


def test_read_splits(tmp_path, caplog):
  with caplog.at_level('INFO'):
    splits = read(tmp_path, val='30_c.jpg\r\n10_a.jpg\r\n\r\n')
  assert splits == {'val': [
      CaptionedImage(30, 'pics/30_c.jpg', ['Two # dogs\tplay .']),
      CaptionedImage(10, 'pics/10_a.jpg',
                     ['A child in a dress .', 'A girl .'])]}
  assert '2 captions of 2 images are in no list' in caplog.text


def test_lists_without_suffixes(tmp_path):
  splits = read(tmp_path, train='10_a\n', test='30_c')
  assert {split: [image.path for image in images]
          for split, images in splits.items()} == {
              'train': ['pics/10_a.jpg'], 'test': ['pics/30_c.jpg']}


def test_a_file_that_has_the_splits_needs_no_lists(tmp_path):
  entries = [{'filename': f'{name}.jpg', 'split': split,
              'sentences': [{'raw': 'A dog.'}]}
             for name, split in (('10_a', 'test'), ('30_c', 'train'))]
  assert read(tmp_path, json.dumps({'images': entries})) == {
      'test': [CaptionedImage(10, 'pics/10_a.jpg', ['A dog.'])],
      'train': [CaptionedImage(30, 'pics/30_c.jpg', ['A dog.'])]}
  with pytest.raises(ValueError, match='--train_list'):
    read(tmp_path)


def test_missing_image_takes_no_id(tmp_path):
  splits = read(tmp_path, train='2258277193_586949ec62.jpg\n')
  assert splits['train'][0].image_id == 2258277193


def test_other_names_are_numbered(tmp_path):
  splits = read(tmp_path, tokens='a.jpg#0\tx\nb.jpg#0\tx\nc.jpg#0\tx\n',
                train='c.jpg', val='a.jpg')
  assert splits['train'][0].image_id == 2
  assert splits['val'][0].image_id == 1


@pytest.mark.parametrize(('tokens', 'message'), [
    ('10_a.jpg#0 A girl .\n', r'token\.txt:1: the first line'),
    ('10_a.jpg#x\tA girl .\n', r'token\.txt:1: the first line'),
    ('10_a.jpg#0\tx\n10_a.jpg#x\tA girl .\n',
     r'token\.txt:2: not of the form'),
    ('10_a.jpg#0\t\n', r'token\.txt has no captions'),
    ('10_a.jpg#0\tx\n10_a.jpg#0\ty\n', r'token\.txt:2: 10_a\.jpg#0 stands'),
    ('', r'token\.txt has no captions'),
    ('../10_a.jpg#0\tx\n', r'train\.txt:1: 10_a\.jpg has no caption'),
])
def test_bad_captions_file(tmp_path, tokens, message):
  with pytest.raises(ValueError, match=message):
    read(tmp_path, tokens, train='10_a.jpg\n')


@pytest.mark.parametrize(('lists', 'message'), [
    ({'train': 'none.jpg'}, r'train\.txt:1: none\.jpg has no caption'),
    ({'train': '10_a.jpg\n10_a.jpg\n'},
     r'train\.txt:2: 10_a\.jpg is listed already, .*train\.txt:1'),
    ({'train': '10_a.jpg', 'test': '30_c.jpg\n10_a.jpg'},
     r'test\.txt:2: 10_a\.jpg is listed already, .*train\.txt:1'),
])
def test_bad_lists(tmp_path, lists, message):
  with pytest.raises(ValueError, match=message):
    read(tmp_path, **lists)


def test_path_that_leaves_the_folder(tmp_path):
  with pytest.raises(ValueError, match=r'val\.txt:1: .* does not lie in'):
    read(tmp_path, '../10_a.jpg#0\tx\n', val='../10_a.jpg')


def test_text_that_is_not_utf8(tmp_path):
  path = tmp_path / 'token.txt'
  path.write_bytes(b'10_a.jpg#0\t\xff\n')
  with pytest.raises(ValueError, match='token.txt:1:12: is no UTF-8'):
    flickr8k.read_splits(str(path), {}, 'pics')
