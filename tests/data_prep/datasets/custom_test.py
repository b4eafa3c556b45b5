"""Captions of anyone's own are read from CSV, TSV and JSONL."""

import json

import pytest

from data_prep.datasets import captioned_images, custom
from data_prep.datasets.captioned_images import CaptionedImage

CSV = '''image,caption,part
dogs/rex.jpg,"A dog, asleep.",train
cat.jpg,A cat.,dev
dogs/rex.jpg,"A ""good"" dog.",train
'''
ROWS = [('dogs/rex.jpg', 'A dog, asleep.', 'train'),
        ('cat.jpg', 'A cat.', 'val'),
        ('dogs/rex.jpg', 'A "good" dog.', 'train')]


def read(tmp_path, name, content, split_column='part'):
  path = tmp_path / name
  path.write_text(content)
  return custom.read_rows(str(path), 'image', 'caption', split_column)


@pytest.mark.parametrize(('name', 'content'), [
    ('c.csv', CSV),
    ('c.CSV', '\ufeff' + CSV.replace('\n', '\r\n') + '\r\n'),
    ('c.tsv', 'part\tcaption\timage\nTRAIN\tA dog, asleep.\tdogs/rex.jpg\n'
              'validation\tA cat.\tcat.jpg\n'
              'train\t"A ""good"" dog."\tdogs/rex.jpg\n'),
    ('c.jsonl', '\n'.join(
        json.dumps({'image': image, 'caption': caption, 'part': part})
        for image, caption, part in ROWS) + '\n\n'),
], ids=['csv', 'excel csv', 'tsv', 'jsonl'])
def test_read_rows(tmp_path, name, content):
  rows = read(tmp_path, name, content)
  assert [row[1:] for row in rows] == ROWS


def test_group_rows(tmp_path):
  rows = read(tmp_path, 'c.csv', CSV)
  assert custom.group_rows(rows, 'pics') == {
      'train': [CaptionedImage(1, 'pics/dogs/rex.jpg',
                               ['A dog, asleep.', 'A "good" dog.'])],
      'val': [CaptionedImage(2, 'pics/cat.jpg', ['A cat.'])]}


@pytest.mark.parametrize(('name', 'content', 'message'), [
    ('c.txt', CSV, 'must end in .csv, .tsv or .jsonl'),
    ('c.csv', '', 'has no captions'),
    ('c.csv', 'image,caption,part\n', 'has no captions'),
    ('c.csv', 'image;caption;part\n', "c.csv:1: .* one column 'image'"),
    ('c.csv', 'image,image,caption,part\n', "one column 'image'"),
    ('c.csv', CSV + 'a.jpg,A dog, asleep,train\n',
     'c.csv:5: 4 cells, the first line has 3; .* quotes'),
    ('c.csv', CSV + 'a.jpg,A dog\n', 'c.csv:5: 2 cells'),
    ('c.csv', CSV + 'a.jpg,"A" dog,train\n', "c.csv:5: ',' expected"),
    ('c.csv', CSV + 'a.jpg,"A dog,train\n', 'c.csv:5: unexpected end'),
    ('c.csv', CSV + 'a.jpg, ,train\n', 'c.csv:5: the caption is empty'),
    ('c.csv', CSV + 'a.jpg,A dog,eval\n', "c.csv:5: part 'eval' is none of"),
    ('c.jsonl', '{"image": "a.jpg",\n', 'c.jsonl:1: broken JSON'),
    ('c.jsonl', '["a.jpg"]\n', "c.jsonl:1: no text 'image'"),
    ('c.jsonl', '{"image": "a.jpg", "caption": 5, "part": "val"}\n',
     "c.jsonl:1: no text 'caption'"),
])
def test_read_rows_names_what_is_wrong(tmp_path, name, content, message):
  with pytest.raises(ValueError, match=message):
    read(tmp_path, name, content)


def test_text_that_is_not_utf8(tmp_path):
  path = tmp_path / 'c.csv'
  path.write_bytes(b'image,caption\na.jpg,\xff\n')
  with pytest.raises(ValueError, match='c.csv is no UTF-8'):
    custom.read_rows(str(path), 'image', 'caption', None)


def test_group_rows_refuses_an_image_in_two_splits(tmp_path):
  rows = read(tmp_path, 'c.csv', CSV + 'cat.jpg,A cat.,train\n')
  with pytest.raises(ValueError, match='c.csv:5: cat.jpg is in train here but '
                                       'in val at .*c.csv:3'):
    custom.group_rows(rows, 'pics')


@pytest.mark.parametrize('name', ['../a.jpg', '/a.jpg', '', '.'])
def test_group_rows_refuses_paths_that_leave_the_folder(name):
  rows = [custom.Row('c.csv:2', name, 'A dog', None)]
  with pytest.raises(ValueError, match='c.csv:2: .* does not lie in .* pics'):
    custom.group_rows(rows, 'pics')


def test_split_at_random():
  captioned = [CaptionedImage(i, f'{i}.jpg', ['x']) for i in range(43)]
  splits = captioned_images.split_at_random(captioned, 0.1, 0.2)
  assert {name: len(split) for name, split in splits.items()} == {
      'train': 30, 'val': 4, 'test': 9}
  assert sorted(sum(splits.values(), [])) == captioned
  assert splits['val'] != captioned[:4]
  assert splits == captioned_images.split_at_random(captioned, 0.1, 0.2)


def test_split_at_random_of_few():
  captioned = [CaptionedImage(i, f'{i}.jpg', ['x']) for i in range(3)]
  splits = captioned_images.split_at_random(captioned, 0.05, 0)
  assert {name: len(split) for name, split in splits.items()} == {
      'train': 2, 'val': 1}
  with pytest.raises(ValueError, match='--val_fraction=0.5'):
    captioned_images.split_at_random(captioned, 0.5, 0.5)


SAMPLED = {
    'train': [CaptionedImage(i, f'{i}.jpg', [f'{i} {k}' for k in range(i % 4)])
              for i in range(1, 30)],
    'val': [CaptionedImage(99, '99.jpg', ['x', 'x', 'y'])]}


def pairs_of(splits):
  return [(split, image.image_id, caption) for split, captioned in
          splits.items() for image in captioned for caption in image.captions]


@pytest.mark.parametrize('number', [1, 2, 20, 44, 45])
def test_sample_pairs(number):
  everything = pairs_of(SAMPLED)
  assert len(everything) == 46
  splits = captioned_images.sample_pairs(SAMPLED, number)
  pairs = pairs_of(splits)
  # So many of all splits together, none twice, in the order of the captions.
  assert len(pairs) == number
  rest = iter(everything)
  assert all(pair in rest for pair in pairs)
  assert pairs != everything[:number]
  assert splits.keys() == SAMPLED.keys()
  assert all(image.captions for captioned in splits.values()
             for image in captioned)
  assert splits == captioned_images.sample_pairs(SAMPLED, number)
  assert pairs_of(SAMPLED) == everything


def test_sample_pairs_of_fewer():
  for number in (46, 47, 10**9):
    splits = captioned_images.sample_pairs(SAMPLED, number)
    assert pairs_of(splits) == pairs_of(SAMPLED)


def test_sample_pairs_is_fair():
  # Any pair is as likely as any other, whatever its split and image.
  splits = {split: [CaptionedImage(i, f'{i}.jpg', ['x'] * 5)
                    for i in range(start, start + size)]
            for split, start, size in (('train', 0, 300), ('val', 300, 100))}
  found = captioned_images.sample_pairs(splits, 500)
  assert sum(len(image.captions) for image in found['val']) == pytest.approx(
      125, abs=40)
  # Each image has one of its five with a chance of 5 * .25 * .75 ** 4.
  assert sum(len(image.captions) == 1 for image in found['train']) == (
      pytest.approx(119, abs=40))


def test_a_link_must_not_lead_out_of_the_folder(tmp_path):
  folder = tmp_path / 'images'
  folder.mkdir()
  (tmp_path / 'secret.jpg').touch()
  (folder / 'a.jpg').touch()
  (folder / 'within.jpg').symlink_to('a.jpg')
  (folder / 'out.jpg').symlink_to('../secret.jpg')
  (folder / 'up').symlink_to('..')
  # The folder itself may be anywhere.
  (tmp_path / 'link').symlink_to('images')
  for name in ('a.jpg', 'within.jpg', 'missing.jpg'):
    captioned_images.image_path(str(tmp_path / 'link'), name, 'c.csv:2')
  for name in ('out.jpg', 'up/secret.jpg'):
    with pytest.raises(ValueError, match='c.csv:2: .* a link that leads out'):
      captioned_images.image_path(str(tmp_path / 'link'), name, 'c.csv:2')
