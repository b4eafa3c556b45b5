"""The toy scenes, their captions and the rule that judges captions."""

import collections
import json
import pathlib
import random
import re
import subprocess
import sys

import pytest
from PIL import Image

from data_prep import build_toy_data, score_toy_captions
from data_prep.toy import toy_images, toy_scenes

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent


def run(module, *flags):
  return subprocess.run(
      [sys.executable, '-m', f'data_prep.{module}', *map(str, flags)],
      cwd=ROOT, capture_output=True, text=True, check=False)


def contents(folder):
  return {str(path.relative_to(folder)): path.read_bytes()
          for path in folder.rglob('*') if path.is_file()}


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
  folder = tmp_path_factory.mktemp('toy')
  result = run('build_toy_data', '--output_dir', folder, '--num_train', 5,
               '--num_val', 3, '--seed', 7)
  assert result.returncode == 0, result.stderr
  return folder


def default_scenes():
  return toy_scenes.sample_scenes(600, random.Random('0/scenes'))


def test_layout_is_cocos(toy):
  ids = collections.Counter()
  for split, number in (('train', 5), ('val', 3)):
    coco = json.loads((toy / f'annotations/captions_{split}.json').read_text())
    assert set(coco) == {'info', 'licenses', 'images', 'annotations'}
    assert len(coco['images']) == number
    for image in coco['images']:
      assert set(image) == {
          'id', 'file_name', 'height', 'width', 'license', 'date_captured',
          'coco_url', 'flickr_url'}
      assert image['license'] in [entry['id'] for entry in coco['licenses']]
      assert image['file_name'] == f'toy_{split}_{image["id"]:012d}.jpg'
      path = toy / split / image['file_name']
      assert path.stat().st_size < 25_000
      with Image.open(path) as drawn:
        assert drawn.format == 'JPEG' and drawn.mode == 'RGB'
        assert drawn.size == (image['width'], image['height'])
      ids['image', image['id']] += 1
    captions = collections.defaultdict(set)
    for annotation in coco['annotations']:
      assert set(annotation) == {'id', 'image_id', 'caption'}
      captions[annotation['image_id']].add(annotation['caption'])
      ids['annotation', annotation['id']] += 1
    assert {image['id'] for image in coco['images']} == set(captions)
    assert all(len(different) == 5 for different in captions.values())
  assert len(ids) == 8 + 40
  assert set(ids.values()) == {1}


def test_scenes_file_tells_the_truth_of_every_image(toy):
  truth = json.loads((toy / 'annotations/scenes.json').read_text())
  assert sorted(truth) == sorted(path.name for path in toy.glob('*/*.jpg'))
  for split in ('train', 'val'):
    coco = json.loads((toy / f'annotations/captions_{split}.json').read_text())
    names = {image['id']: image['file_name'] for image in coco['images']}
    for annotation in coco['annotations']:
      scene = truth[names[annotation['image_id']]]
      claims = score_toy_captions.read_claims(annotation['caption'])
      assert claims == {key: scene[key] for key in claims}


def test_rerun_gives_the_same_bytes_and_replaces(toy, tmp_path):
  build_toy_data.build(str(tmp_path), 9, 1, seed=8)
  (tmp_path / 'val/mine.jpg').write_bytes(b'not ours')
  build_toy_data.build(str(tmp_path), 5, 3, seed=7)
  (tmp_path / 'val/mine.jpg').unlink()  # Only our own leftovers were removed.
  assert contents(tmp_path) == contents(toy)


def test_another_seed_draws_other_scenes(toy, tmp_path):
  build_toy_data.build(str(tmp_path), 5, 3, seed=8)
  ours, theirs = contents(toy), contents(tmp_path)
  assert ours.keys() == theirs.keys()
  assert all(ours[name] != theirs[name] for name in ours)


def test_held_out_scenes_are_new_combinations():
  scenes = default_scenes()
  train = {scene[:5] for scene in scenes[:480]}
  assert len(train) == 480
  assert not train & {scene[:5] for scene in scenes[480:]}


def test_fields_are_balanced_and_independent():
  train = default_scenes()[:480]
  for pair, expected in ((('colour', 'background'), 480 / 30),
                         (('colour', 'object'), 480 / 48),
                         (('colour', 'count'), 480 / 18),
                         (('object', 'count'), 480 / 24)):
    met = collections.Counter(
        tuple(getattr(scene, field) for field in pair) for scene in train)
    assert min(met.values()) > 0.3 * expected, pair
    assert max(met.values()) < 2.0 * expected, pair


def test_captions_are_true_english():
  vocabulary = set()
  rng = random.Random(3)
  for scene in default_scenes():
    captions = toy_scenes.write_captions(scene, rng)
    assert len(set(captions)) == 5
    for caption in captions:
      assert re.fullmatch(r"[A-Z][a-z]*( [a-z]+,?)* [a-z]+\.", caption), caption
      words = re.findall('[a-z]+', caption.lower())
      vocabulary.update(words)
      assert not re.search(r'\ba [aeiou]|\ban [^aeiou]', ' '.join(words))
      one = scene.count == 1
      assert (scene.object in words) == one
      assert (toy_scenes.PLURALS[scene.object] in words) == (not one)
      assert ('are' if one else 'is') not in words
      claims = score_toy_captions.read_claims(caption)
      assert claims == {'colour': scene.colour, 'object': scene.object,
                        'count': scene.count}, caption
  assert 60 <= len(vocabulary) <= 100


def test_things_stay_inside_the_central_part_and_apart():
  rng = random.Random(4)
  margin = toy_images.SIZE / 10
  for scene in toy_scenes.sample_scenes(1440, rng):
    boxes = toy_images.place_objects(scene, rng)
    assert len(boxes) == scene.count
    for left, top, width in boxes:
      assert min(left, top) >= margin
      assert max(left, top) + width <= toy_images.SIZE - margin
    for i, (x1, y1, width) in enumerate(boxes):
      for x2, y2, _ in boxes[:i]:
        assert max(abs(x1 - x2), abs(y1 - y2)) > 0.9 * width, scene


@pytest.mark.parametrize('kind', toy_scenes.PLURALS)
@pytest.mark.parametrize('colour', toy_scenes.COLOURS)
def test_things_have_their_colour(kind, colour):
  scene = toy_scenes.Scene(kind, colour, 1, 'snow', 'large', 'middle')
  image = toy_images.draw_image(scene, random.Random(5))
  [(left, top, width)] = toy_images.place_objects(scene, random.Random(5))
  hues = collections.Counter()
  box = (left, top, left + width, top + width)
  for hue, saturation, value in image.convert('HSV').crop(
      box).get_flattened_data():
    if saturation > 150 and value > 100:
      hues[round(hue * 360 / 255 / 10) * 10 % 360] += 1
  [(hue, _)] = hues.most_common(1)
  wanted = {'red': 355, 'orange': 31, 'yellow': 52, 'green': 104, 'blue': 219,
            'purple': 286}
  nearest = min(wanted, key=lambda name: abs((wanted[name] - hue + 180) % 360
                                             - 180))
  assert nearest == colour


def test_too_many_scenes(tmp_path):
  result = run('build_toy_data', '--output_dir', tmp_path / 'new',
               '--num_train', 1440)
  assert result.returncode == 1
  assert len(result.stderr.splitlines()) == 1
  assert '--num_train' in result.stderr and '1440' in result.stderr
  assert not (tmp_path / 'new').exists()


def test_output_dir_that_is_a_file(tmp_path):
  (tmp_path / 'file').write_text('')
  result = run('build_toy_data', '--output_dir', tmp_path / 'file')
  assert result.returncode == 1
  assert len(result.stderr.splitlines()) == 1
  assert str(tmp_path / 'file') in result.stderr


TRUTH = {
    'a.jpg': {'object': 'boat', 'colour': 'orange', 'count': 1,
              'background': 'night', 'size': 'small', 'position': 'left'},
    'b.jpg': {'object': 'butterfly', 'colour': 'red', 'count': 3,
              'background': 'city', 'size': 'large', 'position': 'row'},
}
PRINTED = """Restored model.ckpt-100
Captions for image a.jpg:
  0) an orange boat at night . (p=0.040413)
  1) two red cars on the beach . (p=0.020000)
Captions for image {second}:
  0) {caption} (p=1e-05)
"""


def score(tmp_path, printed, *flags):
  (tmp_path / 'captions.txt').write_text(printed)
  (tmp_path / 'scenes.json').write_text(json.dumps(TRUTH))
  return run('score_toy_captions', '--captions_file', tmp_path / 'captions.txt',
             '--scenes_file', tmp_path / 'scenes.json', *flags)


def test_scores_are_counted_over_top_captions(tmp_path):
  printed = PRINTED.format(second='folder/b.jpg',
                           caption='two red butterflies over the city .')
  result = score(tmp_path, printed)
  assert result.returncode == 0, result.stderr
  assert [line.split() for line in result.stdout.splitlines()] == [
      ['colour', '2/2', '100.0', '%'],
      ['object', '2/2', '100.0', '%'],
      ['count', '1/2', '50.0', '%'],
      ['all', 'three', '1/2', '50.0', '%'],
  ]
  assert score(tmp_path, printed, '--min_accuracy=0.5').returncode == 0
  low = score(tmp_path, printed, '--min_accuracy=0.51')
  assert low.returncode == 1
  assert low.stdout == result.stdout
  assert len(low.stderr.splitlines()) == 1
  assert 'count' in low.stderr and 'colour' not in low.stderr


@pytest.mark.parametrize('caption, colour, kind, count', [
    ('a picture of two red boats .', 'red', 'boat', 2),
    ('an orange car in a row .', 'orange', 'car', 1),
    ('there are three large blue houses in a group .', 'blue', 'house', 3),
    ('one green butterfly', 'green', 'butterfly', 1),
    ('red boats in a meadow .', 'red', 'boat', None),
    ('two red and blue boats .', None, 'boat', 2),
    ('two red boats and a red car .', 'red', None, 2),
    ('three red things .', 'red', None, 3),
    ('', None, None, None),
])
def test_claims(caption, colour, kind, count):
  assert score_toy_captions.read_claims(caption) == {
      'colour': colour, 'object': kind, 'count': count}


@pytest.mark.parametrize('printed, message', [
    ('', 'Captions for image'),
    ('no captions here\n', 'Captions for image'),
    ('Captions for image a.jpg:\n', 'a.jpg'),
    (PRINTED.format(second='unknown.jpg', caption='a car .'), 'unknown.jpg'),
])
def test_captions_file_that_cannot_be_judged(tmp_path, printed, message):
  result = score(tmp_path, printed)
  assert result.returncode == 1
  assert result.stdout == ''
  assert len(result.stderr.splitlines()) == 1
  assert message in result.stderr


@pytest.mark.parametrize('text', ['', '[]', '{"a.jpg": {}}', '{"a.jpg": 3}'])
def test_scenes_file_of_another_kind(tmp_path, text):
  (tmp_path / 'scenes.json').write_text(text)
  with pytest.raises(ValueError, match='scenes.json'):
    score_toy_captions.read_scenes(str(tmp_path / 'scenes.json'))


def test_missing_files_are_one_line(tmp_path):
  result = run('score_toy_captions', '--captions_file', tmp_path / 'none.txt',
               '--scenes_file', tmp_path / 'scenes.json')
  assert result.returncode == 1
  assert len(result.stderr.splitlines()) == 1
  assert 'none.txt' in result.stderr
