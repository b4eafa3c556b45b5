"""Results in COCO's format and the ids in them."""

import json

import pytest

from im2txt.results import coco_results
from im2txt.results.result import Caption, Result

NAMES = {'val/COCO_val2014_000000000042.jpg': 42,
         'COCO_train2014_000000581929.jpg': 581929,
         'val2017/000000000139.jpg': 139, '/a b,c/000000000000.png': 0}


@pytest.fixture
def annotations(tmp_path):
  """Write an annotation file."""
  def make(content):
    path = tmp_path / 'annotations.json'
    path.write_bytes(content if isinstance(content, bytes)
                     else json.dumps(content).encode())
    return str(path)
  return make


def images(**ids):
  return {'images': [{'file_name': f'{name}.jpg', 'id': image_id}
                     for name, image_id in ids.items()],
          'annotations': []}


def test_ids_of_cocos_names():
  assert coco_results.image_ids(list(NAMES), None) == NAMES


@pytest.mark.parametrize('name', [
    'dog.jpg', '42.jpg', '00000000042.jpg', '0000000000042.jpg',
    'x000000000042.jpg', '000000000042', '000000000042_small.jpg',
    'COCO_000000000042.jpg', '000000000042.jpg.bak'])
def test_other_images_go_by_their_name(name):
  assert coco_results.image_ids([*NAMES, f'd/{name}'], None) == NAMES | {
      f'd/{name}': name}


def test_ids_of_an_annotation_file(annotations):
  path = annotations(images(dog=7, hünd=9, cat=2**40))
  assert coco_results.image_ids(['a/hünd.jpg', 'cat.jpg'], path) == {
      'a/hünd.jpg': 9, 'cat.jpg': 2**40}


def test_an_image_that_is_not_annotated(annotations):
  path = annotations(images(dog=7))
  # Its own name would do, but the file is what was asked for.
  for name in ('d/cat.jpg', '000000000042.jpg'):
    with pytest.raises(ValueError) as refused:
      coco_results.image_ids(['dog.jpg', name], path)
    assert f'{name}: {path} has no image' in str(refused.value)


def test_two_images_of_one_id_are_refused(annotations):
  for files, path in (
      (['a/000000000042.jpg', 'b/COCO_val2014_000000000042.jpg'], None),
      (['a/dog.jpg', 'b/dog.jpg'], annotations(images(dog=42))),
      (['a/dog.jpg', 'dog.jpg'], annotations(images(dog=42)))):
    with pytest.raises(ValueError) as refused:
      coco_results.image_ids(files, path)
    assert f'{files[0]} and {files[1]} are both image 42' in str(refused.value)


def test_images_of_one_name_are_told_apart_by_their_folders(annotations):
  files = ['x/a/42', 'x/b/42', 'x/b/7']
  assert coco_results.image_ids(files, None) == dict(zip(
      files, ['a/42', 'b/42', '7'], strict=True))
  path = annotations({'images': [
      {'file_name': 'a/dog.jpg', 'id': 3}, {'file_name': 'b/dog.jpg', 'id': 5},
      {'file_name': 'c/cat.jpg', 'id': 7}]})
  assert coco_results.image_ids(
      ['/d/b/dog.jpg', 'a/dog.jpg', 'cat.jpg'], path) == {
          '/d/b/dog.jpg': 5, 'a/dog.jpg': 3, 'cat.jpg': 7}
  with pytest.raises(ValueError, match=r"'dog.jpg' may be any of 2 images"):
    coco_results.image_ids(['dog.jpg'], path)


def test_a_file_that_comes_twice_is_one_image():
  assert coco_results.image_ids(['000000000042.jpg'] * 2, None) == {
      '000000000042.jpg': 42}


@pytest.mark.parametrize('content', [
    b'', b'{', b'\xff\xfe', b'\x1f\x8b\x08', [], {}, 3, None,
    {'images': 3}, {'images': [3]}, {'images': [{'id': 7}]},
    {'images': [{'file_name': 'dog.jpg'}]},
    {'images': [{'file_name': ['dog.jpg'], 'id': 7}]},
    {'images': [{'file_name': 'dog.jpg', 'id': [7]}]},
    {'images': [{'file_name': 'dog.jpg', 'id': None}]}])
def test_a_broken_annotation_file_is_one_line(annotations, content):
  path = annotations(content)
  with pytest.raises(ValueError) as refused:
    coco_results.image_ids(['dog.jpg'], path)
  message = str(refused.value)
  assert message.startswith(path) and '\n' not in message
  assert len(message) < len(path) + 300


def test_no_annotation_file(tmp_path):
  with pytest.raises(OSError, match='none.json'):
    coco_results.image_ids([], str(tmp_path / 'none.json'))


def written(path, *results, ids=NAMES):
  with coco_results.write(str(path), ids) as add:
    for result in results:
      add(result)
  return json.loads(path.read_text('utf-8'))


def captioned(file, *texts):
  return Result(file, tuple(Caption(text, -1.0) for text in texts))


def test_the_best_caption_of_each_image(tmp_path):
  forty_two, train, val, zero = NAMES
  assert written(
      tmp_path / 'results.json',
      captioned(train, 'a "dog"', 'a cat'), Result(val, error='no image'),
      captioned(zero, ''), captioned(train, 'a "dog"', 'a cat'),
      Result(forty_two)) == [
          {'image_id': 581929, 'caption': 'a "dog"'},
          {'image_id': 0, 'caption': ''}]


@pytest.mark.parametrize('results', [
    (), (Result('val2017/000000000139.jpg', error='no image'),)])
def test_no_captions_are_an_empty_list(tmp_path, results):
  assert written(tmp_path / 'results.json', *results) == []


def test_a_failure_keeps_the_older_file(tmp_path):
  path = tmp_path / 'results.json'
  path.write_text('old')
  with pytest.raises(KeyError):
    written(path, captioned('of no id', 'a dog'))
  assert path.read_text() == 'old'
  assert list(tmp_path.iterdir()) == [path]


def test_what_is_written_is_read(tmp_path):
  path = tmp_path / 'results.json'
  forty_two, train, *_ = NAMES
  written(path, captioned(train, 'a "dög"', 'a cat'),
          captioned('d/dog.jpg', 'a cat'), captioned(forty_two, 'a cat'),
          ids=NAMES | {'d/dog.jpg': 'dog.jpg'})
  assert coco_results.read(str(path)) == {
      581929: 'a "dög"', 'dog.jpg': 'a cat', 42: 'a cat'}


@pytest.mark.parametrize(('content', 'message'), [
    ('[{]', 'results.json:1:3: broken JSON'),
    ([], 'has no results'),
    ([3], r"result 0: 'image_id' or 'caption' is missing"),
    ([{'caption': 'a dog'}], r"result 0: 'image_id' or 'caption' is missing"),
    ([{'image_id': None, 'caption': 'a dog'}], "result 0: 'image_id'"),
    ([{'image_id': 1.5, 'caption': 'a dog'}], "result 0: 'image_id'"),
    ([{'image_id': True, 'caption': 'a dog'}], "result 0: 'image_id'"),
    ([{'image_id': [1], 'caption': 'a dog'}], "result 0: 'image_id'"),
    ([{'image_id': 1, 'caption': 'a dog'}, {'image_id': 7}],
     "result 1: 'image_id' or 'caption' is missing"),
    ([{'image_id': 7, 'caption': 3}], r'result 0 \(image 7\): no caption'),
    ([{'image_id': 7, 'caption': [3]}], r'result 0 \(image 7\): a caption'),
    ('{"image_id": 7, "caption": "x"}\n{"image_id": 8', ':2: broken JSON'),
    ([{'image_id': 7, 'caption': '\ud83d'}], 'the caption is broken text'),
    ([{'image_id': 7, 'caption': 'a'}, {'image_id': 7, 'caption': 'a'}],
     r'result 1 \(image 7\): this image has a result already'),
])
def test_hostile_results_are_one_line(tmp_path, content, message):
  path = tmp_path / 'results.json'
  path.write_text(content if isinstance(content, str)
                  else json.dumps(content))
  with pytest.raises(ValueError, match=message) as refused:
    coco_results.read(str(path))
  assert str(refused.value).startswith(str(path))
  assert '\n' not in str(refused.value)


@pytest.mark.parametrize('content', [
    '[{"image_id": "a.jpg", "caption": "A dog"}, '
    '{"image_id": 3.0, "caption": ""}]',
    '{"image_id": "a.jpg", "caption": "A dog"}\n'
    '{"image_id": "3", "caption": " "}\n',
    '{"a.jpg": "A dog", "3": ""}',
    '{"a.jpg": ["A dog"], "3": []}',
    # As run_inference --output_jsonl writes them.
    '{"file": "a.jpg", "captions": [{"caption": "A dog", "probability": 0.3}, '
    '{"caption": "A cat", "probability": 0.1}]}\n'
    '{"file": "3", "captions": []}\n{"file": "b.jpg", "error": "cut off"}',
], ids=['list', 'lines', 'object', 'object of lists', 'all captions'])
def test_forms_of_results(tmp_path, content):
  path = tmp_path / 'results'
  path.write_text(content)
  found = coco_results.read(str(path))
  assert {str(name): caption.strip() for name, caption in found.items()} == {
      'a.jpg': 'A dog', '3': ''}
