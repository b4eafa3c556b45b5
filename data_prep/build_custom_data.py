r"""Builds TFRecord shards of your own captioned images.

The captions file is a CSV or TSV whose first line names the columns, or a
JSONL; one row a caption:

  image,caption
  dogs/rex.jpg,"A dog, asleep on a sofa."
  dogs/rex.jpg,A brown dog naps.

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

from data_prep.datasets import custom
from data_prep.datasets.captioned_images import check_folder, split_at_random
from data_prep.shards import flags as build_flags
from data_prep.shards.build import build
from im2txt import command_line

FLAGS = flags.FLAGS

flags.DEFINE_string('captions_file', None, 'A .csv, .tsv or .jsonl file.')
flags.mark_flag_as_required('captions_file')
flags.DEFINE_string('image_dir', None, 'Folder that the paths in the captions '
                    'file are relative to. Default: that file\'s own.')
flags.DEFINE_string('image_column', 'image', 'Column of the image\'s path.')
flags.DEFINE_string('caption_column', 'caption', 'Column of the caption.')
flags.DEFINE_string('split_column', None, 'Column with train, val or test '
                    '(dev and validation mean val). Default: the splits are '
                    'dealt out by --val_fraction and --test_fraction.')
flags.DEFINE_float('val_fraction', 0.05, 'Share of the images for the split '
                   'val; unused with --split_column.',
                   lower_bound=0, upper_bound=1)
flags.DEFINE_float('test_fraction', 0.1, 'Share of the images for the split '
                   'test; unused with --split_column.',
                   lower_bound=0, upper_bound=1)
build_flags.define(train_shards=8, val_shards=1, test_shards=1)


def main() -> None:
  options = build_flags.options()
  image_dir = FLAGS.image_dir or os.path.dirname(FLAGS.captions_file) or '.'
  check_folder(image_dir, 'image_dir')
  rows = custom.read_rows(FLAGS.captions_file, FLAGS.image_column,
                          FLAGS.caption_column, FLAGS.split_column)
  splits = custom.group_rows(rows, image_dir)
  if not FLAGS.split_column:
    splits = split_at_random(
        splits[None], FLAGS.val_fraction, FLAGS.test_fraction)
  build(splits, options)


if __name__ == '__main__':
  command_line.run(main)
