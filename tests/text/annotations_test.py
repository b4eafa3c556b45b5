"""Captions of people: which form a file has, and files that are broken.

Tables are tested in caption_tables_test.
"""

import gzip
import json

import pytest

from im2txt.text import annotations
from im2txt.text.caption_rows import Columns

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
      (7, 'dög.jpg', ['A dög.'], f'{path}: images[0]', None),
      (3, None, ['A "cat".', 'Cats'], f'{path}: images[1]', None)]


def test_flickr8k_is_known_by_its_content(write, begin):
  path = write(begin + TOKENS)
  first = begin.count(b'\n') + 1
  assert annotations.read(path) == [
      ('10_a.jpg', '10_a.jpg', ['A dög .', '[brackets]'], f'{path}:{first}',
       None),
      ('b.jpg', 'b.jpg', ['{braces}'], f'{path}:{first + 1}', None)]


def test_indented_coco(write):
  path = write(json.dumps(json.loads(COCO), indent=2).encode())
  assert [image.image_id for image in annotations.read(path)] == [7, 3]


def test_images_without_captions_are_there(write):
  path = write(b'{"images": [{"id": 7}], "annotations": []}')
  assert annotations.read(path) == [
      (7, None, [], f'{path}: images[0]', None)]


@pytest.mark.parametrize('content', [b'', b'\n\n', BOM])
def test_a_file_of_nothing(write, content):
  assert annotations.read(write(content)) == []


@pytest.mark.parametrize(('content', 'message'), [
    # JSON, as they begin.
    (b'[3]', ': row 0: no object'),
    (b'{"images": [], "annotations": {}}', "no list 'annotations'"),
    (b'{"images": [],', r':1:15: broken JSON'),
    (b'\n{"images": 3', r':2:13: broken JSON'),
    (b'{"images": [{"id": ' + b'9' * 5000 + b'}]}', 'is no JSON text'),
    (b'{"images": [{"id": 7, "file_name": 3}], "annotations": []}',
     r"images\[0\]: 'file_name' is missing or no str"),
    (b'{"image": "a.jpg", "caption": 5}', ': row 0: no caption'),
    (b'{"image": "a.jpg", "caption": "x"}\n{"image":',
     ':2: broken JSON'),
    (b'{"image": "a.jpg", "caption": "x"}\n{"imge": "b", "caption": "x"}',
     ":2: .*'image' and 'caption'.*'imge', 'caption'"),
    # Tables.
    (b'"images"', r":1: .* column 'image' and 'caption' .* has '"),
    (b'\n3', ':2: '),
    (b'a.jpg#0\tA dog.\n{}', ':2: not of the form'),
    # No text.
    (b'\xff\xfea', 'is no UTF-16 text .* save the file as UTF-8'),
    (b'{"images": "\xff"}', ':1:13: is no UTF-8 text'),
    (b'{\n"images": "\xc3\xb6 \xff"}', ':2:14: is no UTF-8 text'),
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


@pytest.mark.parametrize('content', [COCO, TOKENS], ids=['coco', 'flickr8k'])
@pytest.mark.parametrize('kind', broken_gzips(b''))
def test_a_broken_gzip_is_one_line(tmp_path, content, kind):
  path = tmp_path / 'captions.gz'
  path.write_bytes(broken_gzips(content)[kind])
  with pytest.raises(ValueError) as refused:
    annotations.read(str(path))
  assert str(refused.value).startswith(str(path))
  assert '\n' not in str(refused.value)


@pytest.mark.parametrize('name', ['none', 'none.gz'])
def test_a_file_that_cannot_be_read(tmp_path, name):
  with pytest.raises(OSError, match=name):
    annotations.read(str(tmp_path / name))


def of_images(images):
  return {image.file_name: image.captions for image in images}


A_AND_B = {'a.jpg': ['A dog.', 'A "red" dog, wet'], 'b.jpg': ['Cats']}
ROWS = [('a.jpg', 'A dog.'), ('b.jpg', 'Cats'), ('a.jpg', 'A "red" dog, wet')]


@pytest.mark.parametrize('text', [
    '\n'.join(json.dumps({'file_name': name, 'text': caption})
              for name, caption in ROWS),
    json.dumps([{'image': name, 'caption': caption}
                for name, caption in ROWS], indent=1),
    json.dumps([{'id': i, 'file_path': name, 'captions': captions}
                for i, (name, captions) in enumerate(A_AND_B.items())]),
    '\n\n'.join(json.dumps({'filename': name, 'captions': [
        {'raw': caption, 'tokens': []} for caption in captions]})
                for name, captions in A_AND_B.items()),
    json.dumps(A_AND_B),
    json.dumps({'images': [
        {'filename': name, 'split': 'val', 'imgid': 3,
         'sentences': [{'raw': caption} for caption in captions]}
        for name, captions in A_AND_B.items()], 'dataset': 'flickr8k'}),
], ids=['lines', 'array', 'lists', 'lists of objects', 'object', 'karpathy'])
def test_forms_of_json(write, text):
  assert of_images(annotations.read(write(text.encode()))) == A_AND_B


@pytest.mark.parametrize('encoding', [
    'utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
@pytest.mark.parametrize('text', [
    'image,caption\nä.jpg,Ein Hünd\n', '[{"image": "ä.jpg", "caption": '
    '"Ein Hünd"}]', 'ä.jpg#0\tEin Hünd\r\n'])
def test_encodings(write, text, encoding):
  assert of_images(annotations.read(write(text.encode(encoding)))) == {
      'ä.jpg': ['Ein Hünd']}


def test_ids_are_numbers_however_they_are_written(write):
  path = write(json.dumps({
      'images': [{'id': '7', 'file_name': 'a'}, {'id': 3.0, 'file_name': 'b'},
                 {'id': 'x9', 'file_name': 'c'}],
      # Without ids, or with the same.
      'annotations': [{'image_id': 7, 'caption': 'x'},
                      {'image_id': '3', 'caption': 'y', 'id': 1},
                      {'image_id': 'x9', 'caption': 'z', 'id': 1}]}).encode())
  assert [image[:3] for image in annotations.read(path)] == [
      (7, 'a', ['x']), (3, 'b', ['y']), ('x9', 'c', ['z'])]


def test_what_is_left_out_is_counted(write, caplog):
  path = write(json.dumps({
      'images': [{'id': 7}], 'annotations': [
          {'image_id': 7, 'caption': 'A dog.', 'is_rejected': False},
          {'image_id': 7, 'caption': '  '},
          {'image_id': 7, 'caption': 'Bad image', 'is_precanned': True},
          {'image_id': 7, 'caption': 'Spam', 'is_rejected': True}]}).encode())
  assert annotations.read(path)[0].captions == ['A dog.']
  assert '1 empty captions' in caplog.text
  assert '2 rejected or precanned captions' in caplog.text


def test_faults_are_listed_and_counted(write):
  path = write(json.dumps({
      'images': [{'id': 7}],
      'annotations': [{'image_id': i, 'caption': 'x'} for i in range(20)],
  }).encode())
  with pytest.raises(ValueError) as refused:
    annotations.read(path)
  said = str(refused.value)
  assert said.count('no image has the image id') == 10
  assert 'annotations[0]' in said and 'annotations[10]' in said
  assert 'and 9 more: 19 faults' in said and '\n' not in said


def test_an_image_in_two_splits(write):
  path = write(b'image,part,caption\na.jpg,train,x\na.jpg,dev,y\n')
  with pytest.raises(ValueError, match=':3: a.jpg is in val here but in train'):
    annotations.read(path, Columns(split='part'))


def test_a_folder_with_texts_beside_images(tmp_path, caplog):
  (tmp_path / 'b').mkdir()
  for name, text in {
      'a.jpg': '', 'a.txt': 'A dog.\n\nA wet dog.\n', 'b/c.PNG': '',
      'b/c.caption': 'A cat.', 'd.jpg': '', 'e.jpg': '', 'e.txt': ' \n',
      'readme.txt': 'Photos.'}.items():
    (tmp_path / name).write_text(text)
  assert of_images(annotations.read(str(tmp_path))) == {
      'a.jpg': ['A dog.', 'A wet dog.'], 'b/c.PNG': ['A cat.']}
  for said in ('1 images without a text', '1 empty texts', '1 texts without'):
    assert said in caplog.text
  # Hugging Face's table is used where it is there.
  (tmp_path / 'metadata.csv').write_text('file_name,text\nd.jpg,A cow.\n')
  assert of_images(annotations.read(str(tmp_path))) == {'d.jpg': ['A cow.']}
