r"""Builds TFRecord shards of Flickr8k from its original files.

Each image list becomes one split (the dev list the split `val`); any of them
may be left out. Flickr30k works too, once its captions and lists have the same
form.

Example:
  python -m data_prep.build_flickr8k_data \
    --image_dir=Flicker8k_Dataset \
    --captions_file=Flickr8k.token.txt \
    --train_list=Flickr_8k.trainImages.txt \
    --dev_list=Flickr_8k.devImages.txt \
    --test_list=Flickr_8k.testImages.txt \
    --output_dir=flickr8k_shards
"""

from absl import flags

from data_prep.datasets import flickr8k
from data_prep.datasets.captioned_images import check_folder
from data_prep.shards import flags as build_flags
from data_prep.shards.build import build
from im2txt import command_line

FLAGS = flags.FLAGS

flags.DEFINE_string('image_dir', None, 'Folder of the JPEG files.')
flags.DEFINE_string('captions_file', None, 'Flickr8k.token.txt.')
flags.DEFINE_string('train_list', None, 'Flickr_8k.trainImages.txt.')
flags.DEFINE_string('dev_list', None, 'Flickr_8k.devImages.txt.')
flags.DEFINE_string('test_list', None, 'Flickr_8k.testImages.txt.')
flags.mark_flags_as_required(['image_dir', 'captions_file'])
build_flags.define(train_shards=8, val_shards=1, test_shards=1)


def main() -> None:
  options = build_flags.options()
  check_folder(FLAGS.image_dir, 'image_dir')
  lists = {'train': FLAGS.train_list, 'val': FLAGS.dev_list,
           'test': FLAGS.test_list}
  splits = flickr8k.read_splits(
      FLAGS.captions_file,
      {split: path for split, path in lists.items() if path},
      FLAGS.image_dir)
  build(splits, options)


if __name__ == '__main__':
  command_line.run(main)
