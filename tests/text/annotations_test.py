"""Captions of people: which form a file has, and files that are broken.

What `data_prep` reads through this is tested in coco_test and flickr8k_test.
"""

import gzip
import json

import pytest

from im2txt.text import annotations

COCO = json.dumps({
    'images': [{'id': 7, 'file_name': 'dög.jpg'}, {'id': 3}],
    'annotations': [{'id': 1, 'image_id': 3, 'caption': 'A "cat".'},
                    {'id': 2, 'image_id': 7, 'caption': 'A dög.'},
                    {'id': 3, 'image_id': 3, 'caption': 'Cats'}]},
    ensure_ascii=False).encode()
TOKENS = ('10_a.jpg#0\tA dög .\nb.jpg#0\t{braces}\n'
          '10_a.jpg#1\t[brackets]\n').encode()
BOM = b'\xef\xbb\xbf'


@pytest.fixture(params=['captions', 'captions.gz'])
def write(request, tmp_path):
  """Write a file, plain or gzipped; its name says nothing of its form."""
  path = tmp_path / request.param

  def write(content):
    path.write_bytes(
        gzip.compress(content) if path.suffix == '.gz' else content)
    return str(path)
  return write


@pytest.fixture(params=[b'', BOM, b'\n \r\n\t\n', BOM + b'\n'],
                ids=['plain', 'mark', 'blank lines', 'mark and blank line'])
def begin(request):
  """What a file may begin with."""
  return request.param


def test_coco_is_known_by_its_content(write, begin):
  path = write(begin + COCO)
  assert annotations.read(path) == [
      (7, 'dög.jpg', ['A dög.'], f'{path}: images[0]'),
      (3, None, ['A "cat".', 'Cats'], f'{path}: images[1]')]
  assert annotations.read(path) == annotations.read_coco(path)


def test_flickr8k_is_known_by_its_content(write, begin):
  path = write(begin + TOKENS)
  first = begin.count(b'\n') + 1
  assert annotations.read(path) == [
      ('10_a.jpg', '10_a.jpg', ['A dög .', '[brackets]'], f'{path}:{first}'),
      ('b.jpg', 'b.jpg', ['{braces}'], f'{path}:{first + 1}')]
  assert annotations.read(path) == annotations.read_flickr8k(path)


def test_indented_coco(write):
  path = write(json.dumps(json.loads(COCO), indent=2).encode())
  assert [image.image_id for image in annotations.read(path)] == [7, 3]


def test_images_without_captions_are_there(write):
  path = write(b'{"images": [{"id": 7}], "annotations": []}')
  assert annotations.read(path) == [(7, None, [], f'{path}: images[0]')]


@pytest.mark.parametrize('content', [b'', b'\n\n', BOM])
def test_a_file_of_nothing(write, content):
  assert annotations.read(write(content)) == []


@pytest.mark.parametrize(('content', 'message'), [
    # Of COCO's form, as they begin.
    (b'[{"image_id": 7, "caption": "A dog."}]', "no list 'images'"),
    (b' \n[]', "no list 'images'; is it a captions file of COCO's schema"),
    (b'{}', "no list 'images'"),
    (b'{"images": [],', r':1:15: broken JSON'),
    (b'\n{"images": 3', r':2:13: broken JSON'),
    (b'{"images": [{"id": ' + b'9' * 5000 + b'}]}', 'is no JSON text'),
    (b'{"images": [{"id": 7, "file_name": 3}], "annotations": []}',
     r"images\[0\]: 'file_name' is missing or no str"),
    # Of Flickr8k's.
    (b'"images"', ':1: not of the form'),
    (b'\n3', ':2: not of the form'),
    (b'A dog.', ':1: not of the form'),
    (b'a.jpg#0\tA dog.\n{}', ':2: not of the form'),
    # Of none.
    (b'\xff\xfea\x00', 'is no UTF-8 text'),
    (b'{"images": "\xff"}', 'is no UTF-8 text'),
    (b'{\n"images": "\xff"}', 'is no (UTF-8|JSON) text'),
])
def test_a_broken_file_is_one_line(write, content, message):
  path = write(content)
  with pytest.raises(ValueError, match=message) as refused:
    annotations.read(path)
  assert str(refused.value).startswith(path)
  assert '\n' not in str(refused.value)


def broken_gzips(content):
  """Ways in which a .gz can be broken, all of which Python tells apart."""
  whole = gzip.compress(content)
  middle = len(whole) // 2
  damaged = bytearray(whole)
  damaged[middle] ^= 0xff
  damaged[middle + 1] ^= 0xff
  checksum = whole[:-8] + bytes(4) + whole[-4:]
  return {'plain': content, 'image': b'\xff\xd8\xff\xe0' * 9,
          'beginning': whole[:5], 'header': whole[:10], 'cut off':
          whole[:middle], 'no checksum': whole[:-8], 'damaged': bytes(damaged),
          'wrong checksum': checksum, 'no deflate': whole[:10] + b'\xff' * 99,
          'trailing text': whole + b'{}'}


@pytest.mark.parametrize('read', [
    annotations.read, annotations.read_coco, annotations.read_flickr8k])
@pytest.mark.parametrize('content', [COCO, TOKENS], ids=['coco', 'flickr8k'])
@pytest.mark.parametrize('kind', broken_gzips(b''))
def test_a_broken_gzip_is_one_line(tmp_path, read, content, kind):
  path = tmp_path / 'captions.gz'
  path.write_bytes(broken_gzips(content)[kind])
  with pytest.raises(ValueError) as refused:
    read(str(path))
  assert str(refused.value).startswith(str(path))
  assert '\n' not in str(refused.value)


@pytest.mark.parametrize('name', ['none', 'none.gz'])
def test_a_file_that_cannot_be_read(tmp_path, name):
  for path in (tmp_path / name, tmp_path):
    with pytest.raises(OSError, match=path.name):
      annotations.read(str(path))
