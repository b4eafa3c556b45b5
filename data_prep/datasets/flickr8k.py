"""Read Flickr8k's and Flickr30k's captions and image lists.

`im2txt.text.annotations` describes the forms that captions come in. Lists have
a file name a line, with its suffix or without. The original token file of
Flickr8k also has captions of an image that does not exist; it is in no list.
"""

import os
from collections.abc import Mapping

from absl import logging

from data_prep.datasets.captioned_images import (
    CaptionedImage,
    Splits,
    image_path,
    number_images,
    with_captions,
)
from im2txt.files import text_files
from im2txt.text import annotations


def read_splits(
    captions_file: str, lists: Mapping[str, str], image_dir: str
) -> Splits:
  """Read the images of the given lists and their captions.

  Args:
    captions_file: Flickr8k.token.txt, or the captions in any other form.
    lists: file that lists the images of a split, by split; none at all if the
      captions file says of each image which split it is in.
    image_dir: folder of the images.

  Raises:
    ValueError: a file has another format, or a listed image has no caption
      or is listed twice.
    OSError: a file cannot be read.
  """
  images = {str(image.file_name): image
            for image in with_captions(
                annotations.read(captions_file), captions_file)}
  listed: dict[str, str] = {}  # File and line, by image.
  names: dict[str, list[str]] = {split: [] for split in lists}
  for split, path in lists.items():
    for where, name in _read_list(path, images):
      if name in listed:
        raise ValueError(f'{where}: {name} is listed already, {listed[name]}')
      if name not in images:
        raise ValueError(f'{where}: {name} has no caption in {captions_file}')
      listed[name] = where
      names[split].append(name)
  if not lists:
    for name, image in images.items():
      if image.split is None:
        raise ValueError(f'{captions_file} does not say which images train; '
                         'give --train_list, --dev_list or --test_list')
      listed[name] = image.where
      names.setdefault(image.split, []).append(name)
  unlisted = images.keys() - listed.keys()
  if unlisted:
    logging.info(
        '%d captions of %d images are in no list and left out',
        sum(len(images[name].captions) for name in unlisted), len(unlisted))
  # Only listed images: the name of the missing one begins like another's.
  numbered = [name for name in images if name in listed]
  ids = dict(zip(numbered, number_images(numbered), strict=True))
  return {
      split: [CaptionedImage(ids[name],
                             image_path(image_dir, name, listed[name]),
                             images[name].captions) for name in of_split]
      for split, of_split in names.items()}


def _read_list(
    path: str, known: Mapping[str, object]
) -> list[tuple[str, str]]:
  """Return FILE:LINE and name of each image that a list has."""
  by_stem = {os.path.splitext(name)[0]: name for name in known}
  entries = []
  for number, line in text_files.lines(path):
    name = line.strip()
    if name:
      entries.append((f'{path}:{number}', name if name in known
                      else by_stem.get(name, name)))
  return entries
