"""Captioned images are located, numbered, split and sampled."""

import pytest

from data_prep.datasets import captioned_images
from data_prep.datasets.captioned_images import CaptionedImage
from im2txt.text.annotations import AnnotatedImage


@pytest.mark.parametrize('name', ['../a.jpg', '/a.jpg', '', '.'])
def test_paths_that_leave_the_folder(name):
  image = AnnotatedImage(name, name, ['A dog'], 'c.csv:2')
  with pytest.raises(ValueError, match='c.csv:2: .* does not lie in .* pics'):
    captioned_images.locate(image, 'pics', 1)


def test_an_image_without_a_name():
  image = AnnotatedImage(7, None, ['A dog'], 'c.json: images[0]')
  with pytest.raises(ValueError, match=r"c.json: images\[0\]: 'file_name'"):
    captioned_images.locate(image, 'pics', 7)


@pytest.mark.parametrize(('ids', 'numbers'), [
    ([7, 3], [7, 3]), ([7, 'x'], [1, 2]),
    (['30_a.jpg', '10_b.jpg'], [30, 10])])
def test_ids_are_numbers(ids, numbers):
  images = [AnnotatedImage(i, str(i), [], '') for i in ids]
  assert captioned_images.number_annotated(images) == numbers


def test_images_without_captions_are_left_out(caplog):
  some = AnnotatedImage(1, 'a.jpg', ['A dog'], '')
  none = AnnotatedImage(2, 'b.jpg', [], '')
  assert captioned_images.with_captions([none, some, none], 'c.csv') == [some]
  assert 'c.csv: 2 images have no caption' in caplog.text
  with pytest.raises(ValueError, match='c.csv has no captions'):
    captioned_images.with_captions([none], 'c.csv')


def test_split_at_random():
  captioned = [CaptionedImage(i, f'{i}.jpg', ['x']) for i in range(43)]
  splits = captioned_images.split_at_random(captioned, 0.1, 0.2)
  assert {name: len(split) for name, split in splits.items()} == {
      'train': 30, 'val': 4, 'test': 9}
  assert sorted(sum(splits.values(), [])) == captioned
  assert splits['val'] != captioned[:4]
  assert splits == captioned_images.split_at_random(captioned, 0.1, 0.2)


def test_split_at_random_of_few(caplog):
  captioned = [CaptionedImage(i, f'{i}.jpg', ['x']) for i in range(4)]
  splits = captioned_images.split_at_random(captioned, 0.05, 0)
  assert {name: len(split) for name, split in splits.items()} == {
      'train': 3, 'val': 1}
  with pytest.raises(ValueError, match='--val_fraction=0.5'):
    captioned_images.split_at_random(captioned, 0.5, 0.5)
  for few in (captioned[:1], captioned[:2], captioned[:3]):
    caplog.clear()
    assert captioned_images.split_at_random(few, 0.05, 0.1) == {'train': few}
    assert f'all {len(few)} images are for training' in caplog.text


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


def test_links_of_a_cache_of_hugging_face(tmp_path):
  for folder in ('data/blobs', 'data/snapshots/abc/train', 'data/other'):
    (tmp_path / folder).mkdir(parents=True)
  for name in ('data/blobs/aa11', 'data/other/bb22'):
    (tmp_path / name).touch()
  snapshot = tmp_path / 'data' / 'snapshots' / 'abc'
  (snapshot / 'a.jpg').symlink_to('../../blobs/aa11')
  (snapshot / 'train' / 'b.jpg').symlink_to('../../../blobs/aa11')
  (snapshot / 'c.jpg').symlink_to('../../other/bb22')
  for folder, name in ((snapshot, 'a.jpg'), (snapshot, 'train/b.jpg'),
                       (snapshot / 'train', 'b.jpg')):
    captioned_images.image_path(str(folder), name, 'c.csv:2')
  with pytest.raises(ValueError, match='c.csv:2: .* a link that leads out'):
    captioned_images.image_path(str(snapshot), 'c.jpg', 'c.csv:2')
