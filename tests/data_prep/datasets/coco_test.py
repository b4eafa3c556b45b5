"""COCO's files are read in order, split as im2txt does, and mistrusted."""

import json

import pytest

from data_prep.datasets import coco
from data_prep.datasets.captioned_images import CaptionedImage


def images(*ids):
  return [{'id': i, 'file_name': f'{i}.jpg', 'width': 9} for i in ids]


def annotation(annotation_id, image_id, caption='A dog.'):
  return {'id': annotation_id, 'image_id': image_id, 'caption': caption}


def write(tmp_path, content):
  path = tmp_path / 'captions.json'
  path.write_text(
      content if isinstance(content, str) else json.dumps(content))
  return str(path)


def read(path):
  return coco.read_splits({'train': path}, {'train': 'pics'})['train']


def test_read_captions_in_order_of_images(tmp_path):
  path = write(tmp_path, {
      'info': {}, 'images': images(7, 3, 5),
      'annotations': [annotation(1, 3, 'x'), annotation(2, 7, 'y'),
                      annotation(3, 3, 'z'), annotation(4, 5, 'é\n')]})
  assert read(path) == [
      CaptionedImage(7, 'pics/7.jpg', ['y']),
      CaptionedImage(3, 'pics/3.jpg', ['x', 'z']),
      CaptionedImage(5, 'pics/5.jpg', ['é\n'])]


def test_images_without_captions_are_left_out(tmp_path, caplog):
  path = write(tmp_path, {'images': images(1, 2, 3),
                          'annotations': [annotation(1, 2)]})
  captioned = read(path)
  assert [image.image_id for image in captioned] == [2]
  assert '2 images have no caption' in caplog.text


@pytest.mark.parametrize(('content', 'message'), [
    ('{"images": [}', r'captions\.json:1:13: broken JSON'),
    ('[' * 100_000, 'no JSON text'),
    ([], 'has no captions'),
    ({'images': images(1)}, 'has no captions'),
    ({'images': images(1), 'annotations': 3}, "no list 'annotations'"),
    ({'images': images(1, 1), 'annotations': []}, 'image id 1 is there twice'),
    ({'images': [{'id': 1}], 'annotations': [annotation(8, 1)]},
     r"images\[0\]: 'file_name'"),
    ({'images': images(True), 'annotations': []}, r"images\[0\]: 'id'"),
    ({'images': images(2**63), 'annotations': []}, 'int64'),
    ({'images': ['x'], 'annotations': []}, r"images\[0\]: 'id'"),
    ({'images': [{'id': 1, 'file_name': '../1.jpg'}],
      'annotations': [annotation(8, 1)]},
     r"'\.\./1\.jpg' does not lie in the image folder pics"),
    ({'images': [{'id': 1, 'file_name': '/etc/passwd'}],
      'annotations': [annotation(8, 1)]}, 'does not lie in'),
    ({'images': [{'id': 1, 'file_name': '\ud83d.jpg'}],
      'annotations': [annotation(8, 1)]}, 'is broken text'),
    ({'images': [{'id': 1, 'file_name': ''}],
      'annotations': [annotation(8, 1)]}, 'does not lie in'),
    ({'images': images(1), 'annotations': [annotation(8, 2)]},
     r'annotations\[0\]: no image has the image id 2'),
    ({'images': images(1), 'annotations': [annotation(8, 1, ' \n')]},
     'has no captions'),
    ({'images': images(1), 'annotations': [annotation(8, 1, '\ud83d')]},
     r'annotations\[0\]: the caption is broken text'),
    ({'images': images(1), 'annotations': [annotation(8, 1, None)]},
     r"annotations\[0\]: 'caption' is missing"),
])
def test_read_captions_names_what_is_wrong(tmp_path, content, message):
  with pytest.raises(ValueError, match=message) as caught:
    read(write(tmp_path, content))
  assert 'captions.json' in str(caught.value)


def test_binary_file_is_no_json(tmp_path):
  path = tmp_path / 'captions.json.gz'
  path.write_bytes(b'\x1f\x8b\x08')
  with pytest.raises(ValueError, match='captions.json.gz is no whole gzip'):
    read(str(path))


def test_split_as_im2txt_has_its_counts():
  train = list(range(82_783))  # COCO 2014's files have so many images.
  val = list(range(100_000, 140_504))
  splits = coco.split_as_im2txt(train, val)
  assert [len(splits[name]) for name in ('train', 'val', 'test')] == [
      117_211, 2_025, 4_051]
  assert splits['train'] + splits['val'] + splits['test'] == train + val


def test_ids_that_are_texts_are_numbered(tmp_path):
  path = write(tmp_path, {'images': images('x', 'y'),
                          'annotations': [annotation(1, 'y')]})
  splits = coco.read_splits({'train': path, 'val': path},
                            {'train': 'pics', 'val': 'more'})
  assert splits == {'train': [CaptionedImage(1, 'pics/y.jpg', ['A dog.'])],
                    'val': [CaptionedImage(2, 'more/y.jpg', ['A dog.'])]}


def test_ids_in_two_files_are_refused():
  one = [CaptionedImage(1, '1.jpg', ['x']), CaptionedImage(2, '2.jpg', ['x'])]
  coco.check_ids_differ({'train': one[:1], 'val': one[1:]})
  with pytest.raises(ValueError, match='image id 2 is in both'):
    coco.check_ids_differ({'train': one, 'val': one[1:]})


def karpathy(image_id, split, **changes):
  return {'cocoid': image_id, 'split': split, 'filepath': 'val2014',
          'filename': f'{image_id}.jpg',
          'sentences': [{'raw': 'A dog.', 'tokens': ['a', 'dog']}], **changes}


def read_karpathy(tmp_path, *entries):
  return coco.read_karpathy(write(tmp_path, {'images': entries}),
                            {'train': 'a', 'val': 'b'})


def test_read_karpathy(tmp_path):
  splits = read_karpathy(
      tmp_path, karpathy(1, 'test'), karpathy(2, 'restval'),
      karpathy(3, 'train', filepath='train2014'), karpathy(4, 'test'))
  assert splits == {
      'train': [CaptionedImage(2, 'b/2.jpg', ['A dog.']),
                CaptionedImage(3, 'a/3.jpg', ['A dog.'])],
      'test': [CaptionedImage(1, 'b/1.jpg', ['A dog.']),
               CaptionedImage(4, 'b/4.jpg', ['A dog.'])]}


def test_read_karpathy_of_flickr8k(tmp_path):
  entries = [karpathy(7, 'train'), karpathy(8, 'val')]
  for entry in entries:
    del entry['cocoid'], entry['filepath']
  splits = coco.read_karpathy(
      write(tmp_path, {'images': entries}), {'train': 'a', 'val': None})
  assert splits == {'train': [CaptionedImage(7, 'a/7.jpg', ['A dog.'])],
                    'val': [CaptionedImage(8, 'a/8.jpg', ['A dog.'])]}
  with pytest.raises(ValueError, match='--val_image_dir'):
    coco.read_karpathy(write(tmp_path, {'images': [karpathy(1, 'test')]}),
                       {'train': 'a', 'val': None})


@pytest.mark.parametrize(('entry', 'message'), [
    (karpathy(1, 'train'), 'image id 1 is there twice'),
    (karpathy(2, 'minival'), "split 'minival' is none of"),
    (karpathy(2, 'test', filepath='flickr'), "filepath 'flickr' begins with"),
    (karpathy(2, 'test', filename='../2.jpg'), 'does not lie in'),
    (karpathy(2, 'test', sentences=[{}]), 'a caption is missing'),
    ({'split': 'test'}, "'filename' is missing"),
])
def test_read_karpathy_names_what_is_wrong(tmp_path, entry, message):
  with pytest.raises(ValueError, match=message) as caught:
    read_karpathy(tmp_path, karpathy(1, 'test'), entry)
  assert 'images[1]' in str(caught.value)
