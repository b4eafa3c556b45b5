"""Draw captioned scenes in COCO's layout, so that the demo needs no download.

A scene is one, two or three things of one kind and colour in front of a
background. Everything follows from the seed. No held-out scene is a
combination (object, colour, count, background, size) seen in training.

Example:
  python -m data_prep.build_toy_data --output_dir /tmp/toy

writes train/*.jpg, val/*.jpg, annotations/captions_{train,val}.json in COCO's
schema and annotations/scenes.json, the truth about each image.
"""

import io
import json
import os
import random
import re
from collections.abc import Mapping

from absl import flags
from tqdm import tqdm

from data_prep.toy import toy_images, toy_scenes
from im2txt import command_line
from im2txt.files import atomic_files, file_system, locks, overwriting

# How captions files begin that are written here.
_OWN = re.compile(rb'\A{\s*"info": {\s*"description": "Toy scenes, ')


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.output_dir = flags.DEFINE_string(
        'output_dir', None, 'Folder to write to; made if absent.',
        required=True, flag_values=values)
    self.num_train = flags.DEFINE_integer(
        'num_train', 480, 'Number of training scenes.', lower_bound=1,
        flag_values=values)
    self.num_val = flags.DEFINE_integer(
        'num_val', 120, 'Number of held-out scenes.', lower_bound=1,
        flag_values=values)
    self.seed = flags.DEFINE_integer(
        'seed', 0, 'Another seed draws other scenes.', flag_values=values)


def _jpeg(scene: toy_scenes.Scene, rng: random.Random) -> bytes:
  buffer = io.BytesIO()
  toy_images.draw_image(scene, rng).save(buffer, 'JPEG', quality=88)
  return buffer.getvalue()


def _annotations(split: str, scenes: dict[int, toy_scenes.Scene],
                 captions: dict[int, list[str]]) -> bytes:
  """Return the split's JSON in the schema of COCO's captions_*.json."""
  return json.dumps({
      'info': {
          'description': f'Toy scenes, {split}',
          'url': '',
          'version': '1.0',
          'year': 2024,
          'contributor': 'data_prep/build_toy_data.py',
          'date_created': '2024/01/01',
      },
      'licenses': [{'id': 1, 'name': 'Drawn by this project', 'url': ''}],
      'images': [{
          'license': 1,
          'file_name': _file_name(split, image_id),
          'coco_url': '',
          'height': toy_images.SIZE,
          'width': toy_images.SIZE,
          'date_captured': '2024-01-01 00:00:00',
          'flickr_url': '',
          'id': image_id,
      } for image_id in scenes],
      'annotations': [
          # Five an image, so the ids are unique across both splits.
          {'image_id': image_id, 'id': 5 * image_id + i, 'caption': caption}
          for image_id in scenes
          for i, caption in enumerate(captions[image_id])
      ],
  }, indent=1).encode()


def _captions_file(output_dir: str, split: str) -> str:
  return os.path.join(output_dir, 'annotations', f'captions_{split}.json')


def _file_name(split: str, image_id: int) -> str:
  return f'toy_{split}_{image_id:012d}.jpg'


def build(output_dir: str, num_train: int, num_val: int, seed: int) -> None:
  """Write both splits; the same arguments give the same bytes.

  Args:
    output_dir: made if absent. An earlier run's images are replaced.
    num_train: number of training scenes.
    num_val: number of held-out scenes.
    seed: what everything follows from.

  Raises:
    ValueError: more scenes are asked for than there are, or the folder has
      annotations that are not of scenes.
    OSError: a file cannot be written, or another process is writing there.
  """
  chosen = toy_scenes.sample_scenes(num_train + num_val,
                                    random.Random(f'{seed}/scenes'))
  scenes = dict(enumerate(chosen, 1))
  splits = {'train': dict(list(scenes.items())[:num_train]),
            'val': dict(list(scenes.items())[num_train:])}
  for split in splits:
    overwriting.check('output_dir', _captions_file(output_dir, split), _OWN)
  file_system.makedirs(output_dir)
  with locks.folder(output_dir):
    _write(output_dir, splits, seed)


def _write(
    output_dir: str, splits: Mapping[str, Mapping[int, toy_scenes.Scene]],
    seed: int,
) -> None:
  annotations_dir = os.path.join(output_dir, 'annotations')
  file_system.makedirs(annotations_dir)
  truth = {}
  progress = tqdm(total=sum(map(len, splits.values())), unit='image',
                  desc='drawing scenes', disable=None)
  for split, members in splits.items():
    image_dir = os.path.join(output_dir, split)
    file_system.makedirs(image_dir)
    captions = {}
    for image_id, scene in members.items():
      name = _file_name(split, image_id)
      # A source for each image, so that none depends on the others.
      rng = random.Random(f'{seed}/{name}')
      atomic_files.write_bytes(os.path.join(image_dir, name), _jpeg(scene, rng))
      captions[image_id] = toy_scenes.write_captions(scene, rng)
      truth[name] = scene._asdict()
      progress.update()
    atomic_files.write_bytes(
        _captions_file(output_dir, split),
        _annotations(split, members, captions))
  progress.close()
  atomic_files.write_bytes(
      os.path.join(annotations_dir, 'scenes.json'),
      json.dumps(truth, indent=1).encode())
  for split in splits:
    _remove_leftovers(os.path.join(output_dir, split), truth)


def _remove_leftovers(image_dir: str, truth: dict[str, object]) -> None:
  # `val/*.jpg` must not caption images that scenes.json does not know.
  for name in file_system.listdir(image_dir):
    if re.fullmatch(r'toy_(train|val)_\d{12}\.jpg', name) and (
        name not in truth):
      file_system.remove(os.path.join(image_dir, name))


def main(flags_: Flags) -> None:
  build(flags_.output_dir.value, flags_.num_train.value, flags_.num_val.value,
        flags_.seed.value)


if __name__ == '__main__':
  command_line.run(main, Flags)
