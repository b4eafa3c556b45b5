r"""Builds TFRecord shards of COCO 2014 or 2017 (im2txt's build_mscoco_data.py).

--split says which images train:
  im2txt    the training file and the first 85 % of the validation file train,
            its next 5 % are `val`, its last 10 % `test` (COCO 2014: 117,211 /
            2,025 / 4,051 images)
  official  the training file trains, the validation file is `val`; either may
            be left out
  karpathy  as --karpathy_file says; needs no caption files
  random    --val_fraction of the images of the training file, and of the
            validation file if it is given, is `val`, the others train

Example:
  python -m data_prep.build_coco_data \
    --train_image_dir=train2014 \
    --val_image_dir=val2014 \
    --train_captions_file=annotations/captions_train2014.json \
    --val_captions_file=annotations/captions_val2014.json \
    --output_dir=coco_shards
"""

from absl import flags

from data_prep.datasets import coco
from data_prep.datasets.captioned_images import check_folder, split_at_random
from data_prep.shards import flags as build_flags
from data_prep.shards.build import build
from im2txt import command_line

FLAGS = flags.FLAGS

flags.DEFINE_string('train_image_dir', None, 'Folder of the training JPEGs.')
flags.DEFINE_string('val_image_dir', None, 'Folder of the validation JPEGs.')
flags.DEFINE_string('train_captions_file', None, 'captions_train2014.json.')
flags.DEFINE_string('val_captions_file', None, 'captions_val2014.json.')
flags.DEFINE_enum('split', 'im2txt',
                  ['im2txt', 'official', 'karpathy', 'random'],
                  'Which images train; see above.')
flags.DEFINE_string('karpathy_file', None, 'Karpathy\'s dataset_coco.json.')
flags.DEFINE_float('val_fraction', 0.2, 'With --split=random: share of the '
                   'images for the split val.', lower_bound=0, upper_bound=1)
build_flags.define(train_shards=256, val_shards=4, test_shards=8)


def main() -> None:
  options = build_flags.options()
  image_dirs = {'train': FLAGS.train_image_dir, 'val': FLAGS.val_image_dir}
  files = {'train': FLAGS.train_captions_file, 'val': FLAGS.val_captions_file}
  if FLAGS.split == 'karpathy':
    require('karpathy_file', 'train_image_dir', 'val_image_dir')
    build(coco.read_karpathy(FLAGS.karpathy_file, image_dirs), options)
    return
  names = ['train', 'val']
  if FLAGS.split in ('official', 'random'):
    names = [name for name in names if files[name]]
  for name in names:
    require(f'{name}_captions_file', f'{name}_image_dir')
  splits = {name: coco.read_captions(files[name], image_dirs[name])
            for name in names}
  coco.check_ids_differ(splits)
  if FLAGS.split == 'im2txt':
    splits = coco.split_as_im2txt(splits['train'], splits['val'])
  elif FLAGS.split == 'random':
    splits = split_at_random(
        [image for captioned in splits.values() for image in captioned],
        FLAGS.val_fraction, 0)
  build(splits, options)


def require(*names: str) -> None:
  """Raises where a flag that --split needs is not given or no folder."""
  for name in names:
    if not FLAGS[name].value:
      raise ValueError(f'--split={FLAGS.split} needs --{name}')
    if name.endswith('_dir'):
      check_folder(FLAGS[name].value, name)


if __name__ == '__main__':
  command_line.run(main)
