"""Readers of caption files: whatever is in them, captions or one clear line."""

import csv
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    changed_json,
    damaged,
    read_or_refuse,
    texts_gone_wrong,
    whole_texts,
)

from data_prep.datasets import (
    captioned_images,
    coco,
    conceptual_captions,
    flickr8k,
)
from im2txt.inference import image_files
from im2txt.text import annotations, caption_json
from im2txt.text.caption_rows import Columns

COCO = {
    'images': [{'id': 7, 'file_name': 'a/b.jpg'}, {'id': 0, 'file_name': 'c'},
               {'id': -9, 'file_name': 'd.jpg', 'flickr_url': None}],
    'annotations': [{'id': 0, 'image_id': 7, 'caption': 'a dog .'},
                    {'id': 1, 'image_id': 7, 'caption': 'A "dog"'},
                    {'id': 2, 'image_id': 0, 'caption': 'ein Hündchen'}]}
KARPATHY = {'images': [
    {'cocoid': 7, 'filepath': 'val2014', 'filename': 'a.jpg', 'split': 'test',
     'sentences': [{'raw': 'a dog'}, {'raw': 'A dog.'}]},
    {'cocoid': 0, 'filepath': 'train2014', 'filename': 'b.jpg',
     'split': 'restval', 'sentences': [{'raw': 'a cat'}]}]}

captions = whole_texts().filter(str.strip)
# What a caption in a file of lines can be: no line ends, nothing at the ends
# that readers take off.
one_line = whole_texts().map(
    lambda text: ' '.join(text.replace('\ufeff', '').split())).filter(bool)
names = st.integers(0, 9).map('dir/image {}.jpg'.format)
flickr8k_lines = st.builds(
    '{}#{}\t{}'.format, names, st.integers(0, 3), one_line)
cell_lines = st.lists(names | one_line, min_size=2, max_size=3).map('\t'.join)
conceptual_lines = st.builds(
    '{}\t{}'.format, one_line,
    st.sampled_from(['http://a/b.jpg', 'http://a/b.jpg\td.jpg', 'x']))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return str(tmp_path_factory.mktemp('captions'))


def check_splits(splits, folder):
  """Every path lies in the folder, every id fits, no caption is empty."""
  for images in splits.values():
    for image_id, path, captions in images:
      assert abs(image_id) <= caption_json.MAX_INT64
      assert os.path.abspath(path).startswith(folder + os.sep)
      path.encode()
      assert captions and all(c.strip() and c.encode() for c in captions)


@given(content=changed_json(COCO))
def test_coco(folder, content):
  read_or_refuse(annotations.read, f'{folder}/any', content)
  found = read_or_refuse(
      lambda path: coco.read_splits({'train': path}, {'train': folder}),
      f'{folder}/coco.json', content)
  check_splits(found or {}, folder)


@given(content=damaged(json.dumps(COCO).encode()))
def test_damaged_coco(folder, content):
  for name in ('any', 'zipped.gz'):
    read_or_refuse(annotations.read, f'{folder}/{name}', content)


@given(images=st.dictionaries(
    st.integers(-2**63 + 1, 2**63 - 1),
    st.tuples(st.none() | whole_texts(), st.lists(captions, max_size=3)),
    max_size=4))
def test_coco_is_read_as_it_was_written(folder, images):
  path = f'{folder}/written.json'
  with open(path, 'w', encoding='utf-8') as f:
    json.dump({
        'images': [{'id': i, 'file_name': name}
                   for i, (name, _) in images.items()],
        'annotations': [
            {'id': n, 'image_id': i, 'caption': caption}
            for n, (i, caption) in enumerate(
                (i, caption) for i, (_, of_image) in images.items()
                for caption in of_image)]}, f)
  assert {image.image_id: (image.file_name, image.captions)
          for image in annotations.read(path)} == images


@given(content=changed_json(KARPATHY))
def test_karpathy(folder, content):
  found = read_or_refuse(
      lambda path: coco.read_karpathy(
          path, {'train': folder, 'val': f'{folder}/val'}),
      f'{folder}/karpathy.json', content)
  check_splits(found or {}, folder)


@given(content=texts_gone_wrong(flickr8k_lines))
def test_flickr8k(folder, content):
  path = f'{folder}/tokens'
  images = read_or_refuse(annotations.read, path, content) or []
  with open(f'{folder}/list', 'w', encoding='utf-8') as f:
    f.writelines(f'{image.file_name}\n' for image in images)
  try:
    splits = flickr8k.read_splits(path, {'train': f'{folder}/list'}, folder)
  except ValueError as error:  # Names that no file can have.
    assert folder in str(error)
  else:
    check_splits(splits, folder)


@given(content=texts_gone_wrong(names))
def test_lists_of_flickr8k(folder, content):
  with open(f'{folder}/captions', 'w', encoding='utf-8') as f:
    f.writelines(f'dir/image {i}.jpg#0\ta dog\n' for i in range(10))
  found = read_or_refuse(
      lambda path: flickr8k.read_splits(
          f'{folder}/captions', {'train': path}, folder),
      f'{folder}/names', content)
  check_splits(found or {}, folder)


@given(images=st.dictionaries(
    one_line.filter(lambda name: not name.startswith(('{', '['))),
    st.lists(one_line, min_size=1, max_size=3), max_size=4))
def test_flickr8k_is_read_as_it_was_written(folder, images):
  path = f'{folder}/written'
  with open(path, 'w', encoding='utf-8') as f:
    f.writelines(f'{name}#{i}\t{caption}\n'
                 for name, of_image in images.items()
                 for i, caption in enumerate(of_image))
  assert {image.file_name: image.captions
          for image in annotations.read(path)} == images


COLUMNS = Columns('file', 'text', 'set')


def read_custom(path, folder):
  images = [image for image in annotations.read(path, COLUMNS)
            if image.captions]
  return captioned_images.by_split(images, folder)


@pytest.mark.parametrize('ending', ['csv', 'tsv'])
@given(content=texts_gone_wrong(
    cell_lines | st.just('file\ttext\tset')
    | st.builds('{}\t{}\ttrain'.format, names, one_line)))
def test_tables(folder, ending, content):
  for head in (b'', b'file\ttext\tset\n'):
    data = head + content
    found = read_or_refuse(
        lambda path: read_custom(path, folder), f'{folder}/table.{ending}',
        data.replace(b'\t', b',') if ending == 'csv' else data)
    check_splits(found or {}, folder)


@given(lines=st.lists(changed_json(
    {'file': 'a.jpg', 'text': 'a dog', 'set': 'val', 'more': 0}), max_size=3))
def test_json_lines(folder, lines):
  found = read_or_refuse(lambda path: read_custom(path, folder),
                         f'{folder}/lines.jsonl', b'\n'.join(lines))
  check_splits(found or {}, folder)


@pytest.mark.parametrize('ending', ['csv', 'tsv', 'jsonl'])
@given(rows=st.lists(st.tuples(
    names, captions.filter(lambda text: not text.lstrip().startswith('[')),
    st.just('val')), min_size=1))
def test_tables_are_read_as_they_were_written(folder, ending, rows):
  path = f'{folder}/written.{ending}'
  with open(path, 'w', encoding='utf-8', newline='') as f:
    if ending == 'jsonl':
      f.writelines(json.dumps(dict(zip(
          ('file', 'text', 'set'), row, strict=True))) + '\n' for row in rows)
    else:
      table = csv.writer(f, delimiter=',' if ending == 'csv' else '\t')
      table.writerows([('file', 'text', 'set'), *rows])
  expected = {}
  for name, caption, _ in rows:
    expected.setdefault(name, []).append(caption.split())
  assert {image.file_name: [caption.split() for caption in image.captions]
          for image in annotations.read(path, COLUMNS)} == expected


def read_conceptual(path, folder):
  missing = list(conceptual_captions.missing_images({'train': path}, folder))
  return missing, conceptual_captions.read_splits({'train': path}, folder)


@given(content=texts_gone_wrong(conceptual_lines))
def test_conceptual_captions(folder, content):
  for url in ('http://a/b.jpg', 'http://c'):
    with open(os.path.join(
        folder, conceptual_captions.image_name(url) + '.jpg'), 'wb'):
      pass
  found = read_or_refuse(lambda path: read_conceptual(path, folder),
                         f'{folder}/conceptual.tsv', content)
  if found:
    missing, splits = found
    check_splits(splits, folder)
    assert all(os.path.abspath(image.path).startswith(folder + os.sep)
               for image in missing)


@given(rows=st.lists(one_line, min_size=1))
def test_conceptual_captions_are_read_as_they_were_written(folder, rows):
  url = 'http://a/b.jpg'
  with open(os.path.join(
      folder, conceptual_captions.image_name(url) + '.jpg'), 'wb'):
    pass
  path = f'{folder}/written.conceptual'
  with open(path, 'w', encoding='utf-8') as f:
    f.writelines(f'{caption}\t{url}\n' for caption in rows)
  [image] = conceptual_captions.read_splits({'train': path}, folder)['train']
  assert image.captions == rows


@given(content=texts_gone_wrong(names))
def test_lists_of_images(folder, content):
  for name in read_or_refuse(
      lambda path: list(image_files.read_list(path)), f'{folder}/images',
      content):
    assert name.strip()
    os.fsencode(name)
