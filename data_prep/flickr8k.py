"""Reads Flickr8k's captions and image lists (Flickr30k's have the same form).

Flickr8k.token.txt has lines `1000268201_693b08cb0e.jpg#0<TAB>A child ...`, the
lists one file name a line. The original token file also captions a picture
that does not exist; it is in no list.
"""

from collections.abc import Iterator, Mapping

from absl import logging

from data_prep.captioned_images import (
    CaptionedImage,
    Splits,
    check_caption,
    image_path,
    number_images,
)


def read_splits(
    captions_file: str, lists: Mapping[str, str], image_dir: str
) -> Splits:
  """Reads the pictures of the given lists and their captions.

  Args:
    captions_file: Flickr8k.token.txt.
    lists: file with a split's pictures, by split.
    image_dir: folder of the pictures.

  Raises:
    ValueError: a file is not of its form, or a listed picture has no caption
      or stands in the lists twice.
    OSError: a file cannot be read.
  """
  captions = _read_captions(captions_file)
  listed = {}  # Where each picture is listed.
  names = {split: [] for split in lists}
  for split, path in lists.items():
    for where, line in _lines(path):
      name = line.strip()
      if name in listed:
        raise ValueError(f'{where}: {name} is listed already, {listed[name]}')
      if name not in captions:
        raise ValueError(f'{where}: {name} has no caption in {captions_file}')
      listed[name] = where
      names[split].append(name)
  unlisted = captions.keys() - listed.keys()
  if unlisted:
    logging.info('%d captions of %d pictures are in no list and left out',
                 sum(len(captions[name]) for name in unlisted), len(unlisted))
  # Not all of them: the missing picture's name begins like another's.
  numbered = [name for name in captions if name in listed]
  ids = dict(zip(numbered, number_images(numbered), strict=True))
  return {
      split: [CaptionedImage(ids[name],
                             image_path(image_dir, name, listed[name]),
                             captions[name]) for name in names[split]]
      for split in lists}


def _read_captions(path: str) -> dict[str, list[str]]:
  captions = {}
  keys = set()
  for where, line in _lines(path):
    key, tab, caption = line.partition('\t')
    name, hash_mark, number = key.rpartition('#')
    if not (tab and hash_mark and name and number.strip().isdigit()):
      raise ValueError(f'{where}: not of the form NAME.jpg#NUMBER<TAB>CAPTION')
    if key in keys:
      raise ValueError(f'{where}: {key} stands in the file twice')
    keys.add(key)
    captions.setdefault(name, []).append(check_caption(caption.strip(), where))
  return captions


def _lines(path: str) -> Iterator[tuple[str, str]]:
  """Yields FILE:LINE and the line, without those that are empty."""
  try:
    with open(path, encoding='utf-8-sig') as f:
      for number, line in enumerate(f, 1):
        if line.strip():
          yield f'{path}:{number}', line
  except UnicodeDecodeError as error:
    raise ValueError(f'{path} is no UTF-8 text: {error}') from None
