r"""Build TFRecord shards of COCO 2014 or 2017 (im2txt's build_mscoco_data.py).

--split says which images train:
  im2txt    the training file and the first 85 % of the validation file train,
            its next 5 % are `val`, its last 10 % `test` (COCO 2014: 117,211 /
            2,025 / 4,051 images)
  official  the training file trains, the validation file is `val`; either may
            be left out
  karpathy  as --karpathy_file says; needs no caption files. For
            dataset_flickr8k.json give --train_image_dir alone
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
from data_prep.shards.build import build
from data_prep.shards.flags import BuildFlags
from im2txt import command_line


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.train_image_dir = flags.DEFINE_string(
        'train_image_dir', None, 'Folder of the training JPEGs.',
        flag_values=values)
    self.val_image_dir = flags.DEFINE_string(
        'val_image_dir', None, 'Folder of the validation JPEGs.',
        flag_values=values)
    self.train_captions_file = flags.DEFINE_string(
        'train_captions_file', None, 'captions_train2014.json.',
        flag_values=values)
    self.val_captions_file = flags.DEFINE_string(
        'val_captions_file', None, 'captions_val2014.json.', flag_values=values)
    self.split = flags.DEFINE_enum(
        'split', 'im2txt', ['im2txt', 'official', 'karpathy', 'random'],
        'Which images train; see above.', flag_values=values)
    self.karpathy_file = flags.DEFINE_string(
        'karpathy_file', None, "Karpathy's dataset_coco.json.",
        flag_values=values)
    self.val_fraction = flags.DEFINE_float(
        'val_fraction', 0.2, 'With --split=random: share of the images for the '
        'split val.', lower_bound=0, upper_bound=1, flag_values=values)
    self.build = BuildFlags(
        train_shards=256, val_shards=4, test_shards=8, values=values)


def main(flags_: Flags) -> None:
  options = flags_.build.options()
  image_dirs = {'train': flags_.train_image_dir.value,
                'val': flags_.val_image_dir.value}
  files = {'train': flags_.train_captions_file.value,
           'val': flags_.val_captions_file.value}
  split = flags_.split.value
  if split == 'karpathy':
    require(flags_, 'karpathy_file', 'train_image_dir')
    build(coco.read_karpathy(flags_.karpathy_file.value, image_dirs), options)
    return
  names = ['train', 'val']
  if split in ('official', 'random'):
    names = [name for name in names if files[name]]
  for name in names:
    require(flags_, f'{name}_captions_file', f'{name}_image_dir')
  splits = coco.read_splits({name: files[name] for name in names}, image_dirs)
  if split == 'im2txt':
    splits = coco.split_as_im2txt(splits['train'], splits['val'])
  elif split == 'random':
    splits = split_at_random(
        [image for captioned in splits.values() for image in captioned],
        flags_.val_fraction.value, 0)
  build(splits, options)


def require(flags_: Flags, *names: str) -> None:
  """Raise where a flag that --split needs is not given or no folder."""
  for name in names:
    value = getattr(flags_, name).value
    if not value:
      raise ValueError(f'--split={flags_.split.value} needs --{name}')
    if name.endswith('_dir'):
      check_folder(value, name)


if __name__ == '__main__':
  command_line.run(main, Flags)
