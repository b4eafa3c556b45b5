"""Read Flickr8k's captions and image lists (Flickr30k's have the same format).

Flickr8k.token.txt has lines `1000268201_693b08cb0e.jpg#0<TAB>A child ...`, the
lists have a file name a line. The original token file also has captions of an
image that does not exist; it is in no list.
"""

from collections.abc import Mapping

from absl import logging

from data_prep.datasets.captioned_images import (
    CaptionedImage,
    Splits,
    image_path,
    number_images,
)
from im2txt.text import annotations


def read_splits(
    captions_file: str, lists: Mapping[str, str], image_dir: str
) -> Splits:
  """Read the images of the given lists and their captions.

  Args:
    captions_file: Flickr8k.token.txt.
    lists: file that lists the images of a split, by split.
    image_dir: folder of the images.

  Raises:
    ValueError: a file has another format, or a listed image has no caption
      or is listed twice.
    OSError: a file cannot be read.
  """
  captions = {image.file_name: image.captions
              for image in annotations.read_flickr8k(captions_file)}
  listed: dict[str, str] = {}  # File and line, by image.
  names: dict[str, list[str]] = {split: [] for split in lists}
  for split, path in lists.items():
    for where, line in annotations.lines(path):
      name = line.strip()
      if name in listed:
        raise ValueError(f'{where}: {name} is listed already, {listed[name]}')
      if name not in captions:
        raise ValueError(f'{where}: {name} has no caption in {captions_file}')
      listed[name] = where
      names[split].append(name)
  unlisted = captions.keys() - listed.keys()
  if unlisted:
    logging.info('%d captions of %d images are in no list and left out',
                 sum(len(captions[name]) for name in unlisted), len(unlisted))
  # Only listed images: the name of the missing one begins like another's.
  numbered = [name for name in captions if name in listed]
  ids = dict(zip(numbered, number_images(numbered), strict=True))
  return {
      split: [CaptionedImage(ids[name],
                             image_path(image_dir, name, listed[name]),
                             captions[name]) for name in names[split]]
      for split in lists}
