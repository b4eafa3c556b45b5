r"""Build TFRecord shards of your own captioned images.

The captions file may be a table (CSV, TSV, with `;` or `|`), JSON or JSON
lines; it is told by its content. A row has one caption or several:

  image,caption
  dogs/rex.jpg,"A dog, asleep on a sofa."
  dogs/rex.jpg,A brown dog naps.

Or it is a folder with a text beside each image: rex.jpg and rex.txt, a caption
a line. Rows without a caption are left out and counted.

The splits are dealt out by image at random (the same way each time), or
stand in a column.

Example:
  python -m data_prep.build_custom_data \
    --captions_file=captions.csv \
    --image_dir=photos \
    --output_dir=my_shards
"""

import os

from absl import flags

from data_prep.datasets.captioned_images import (
    by_split,
    check_folder,
    split_at_random,
    with_captions,
)
from data_prep.shards.build import build
from data_prep.shards.flags import BuildFlags
from im2txt import command_line
from im2txt.files import file_system
from im2txt.text import annotations
from im2txt.text.caption_rows import Columns


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.captions_file = flags.DEFINE_string(
        'captions_file', None, 'A table, JSON or JSON lines; or a folder of '
        'images with texts beside them.', required=True, flag_values=values)
    self.image_dir = flags.DEFINE_string(
        'image_dir', None, 'Folder that the paths in the captions file are '
        "relative to. Default: that file's own.", flag_values=values)
    self.image_column = flags.DEFINE_string(
        'image_column', None, "Column (key in JSON) of the image's path. "
        'Default: image, file_name or another usual name.',
        flag_values=values)
    self.caption_column = flags.DEFINE_string(
        'caption_column', None, 'Column of the caption. Default: caption, '
        'text or another usual name.', flag_values=values)
    self.split_column = flags.DEFINE_string(
        'split_column', None, 'Column with train, val or test (dev and '
        'validation mean val). Default: the splits are dealt out by '
        '--val_fraction and --test_fraction.', flag_values=values)
    self.val_fraction = flags.DEFINE_float(
        'val_fraction', 0.05, 'Share of the images for the split val; unused '
        'with --split_column.', lower_bound=0, upper_bound=1,
        flag_values=values)
    self.test_fraction = flags.DEFINE_float(
        'test_fraction', 0.1, 'Share of the images for the split test; unused '
        'with --split_column.', lower_bound=0, upper_bound=1,
        flag_values=values)
    self.build = BuildFlags(
        train_shards=8, val_shards=1, test_shards=1, values=values)


def main(flags_: Flags) -> None:
  options = flags_.build.options()
  captions_file = flags_.captions_file.value
  image_dir = flags_.image_dir.value or (
      captions_file if file_system.isdir(captions_file)
      else os.path.dirname(captions_file) or '.')
  check_folder(image_dir, 'image_dir')
  images = with_captions(annotations.read(captions_file, Columns(
      flags_.image_column.value, flags_.caption_column.value,
      flags_.split_column.value)), captions_file)
  splits = by_split(images, image_dir)
  if None in splits:
    splits = split_at_random(
        splits[None], flags_.val_fraction.value, flags_.test_fraction.value)
  build(splits, options)


if __name__ == '__main__':
  command_line.run(main, Flags)
