r"""Build TFRecord shards of Flickr8k or Flickr30k.

Each image list becomes one split (the dev list the split `val`); any of them
may be left out. The captions file may also be Kaggle's captions.txt or
results.csv. With Karpathy's dataset_flickr8k.json no list is needed.

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
from data_prep.shards.build import build
from data_prep.shards.flags import BuildFlags
from im2txt import command_line


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.image_dir = flags.DEFINE_string(
        'image_dir', None, 'Folder of the JPEG files.', required=True,
        flag_values=values)
    self.captions_file = flags.DEFINE_string(
        'captions_file', None, 'Flickr8k.token.txt, or another '
        'file of captions.', required=True,
        flag_values=values)
    self.train_list = flags.DEFINE_string(
        'train_list', None, 'Flickr_8k.trainImages.txt.', flag_values=values)
    self.dev_list = flags.DEFINE_string(
        'dev_list', None, 'Flickr_8k.devImages.txt.', flag_values=values)
    self.test_list = flags.DEFINE_string(
        'test_list', None, 'Flickr_8k.testImages.txt.', flag_values=values)
    self.build = BuildFlags(
        train_shards=8, val_shards=1, test_shards=1, values=values)


def main(flags_: Flags) -> None:
  options = flags_.build.options()
  check_folder(flags_.image_dir.value, 'image_dir')
  lists = {'train': flags_.train_list.value, 'val': flags_.dev_list.value,
           'test': flags_.test_list.value}
  splits = flickr8k.read_splits(
      flags_.captions_file.value,
      {split: path for split, path in lists.items() if path},
      flags_.image_dir.value)
  build(splits, options)


if __name__ == '__main__':
  command_line.run(main, Flags)
