"""Results as COCO's evaluation tools read them.

The format: https://cocodataset.org/#format-results, section Image Captioning.
"""

import contextlib
import json
import operator
import os
import re
from collections.abc import Iterable, Iterator, Mapping

from im2txt import results, whole_file

# COCO_val2014_000000000042.jpg, 000000000042.jpg
_COCO_NAME = re.compile(r'(?:COCO_\w+_)?(\d{12})\.\w+')


def image_ids(
    files: Iterable[str], annotations_file: str | None
) -> dict[str, int]:
  """Finds out the id of each picture.

  Args:
    files: pictures.
    annotations_file: JSON in COCO's format, whose `images` have `file_name`
      and `id`; None: COCO's own file names have the id in them.

  Returns:
    Ids by file.

  Raises:
    OSError: the annotations cannot be read.
    ValueError: they are none, or a picture has no id, or two have the same.
  """
  known = _read_ids(annotations_file) if annotations_file else None
  ids, owners = {}, {}
  for file in files:
    name = os.path.basename(file)
    if known is not None:
      if name not in known:
        raise ValueError(f'{file}: {annotations_file} has no image with the '
                         f'file_name {name!r}')
      ids[file] = known[name]
    else:
      match = _COCO_NAME.fullmatch(name)
      if not match:
        raise ValueError(
            f'{file}: not one of COCO\'s file names, which have the image id '
            'in them; give the --annotations_file that names the ids')
      ids[file] = int(match.group(1))
    owner = owners.setdefault(ids[file], file)
    if owner != file:
      raise ValueError(f'{owner} and {file} are both image {ids[file]}; '
                       'results in COCO\'s format have each image once')
  return ids


@contextlib.contextmanager
def write(
    path: str, ids: Mapping[str, int]
) -> Iterator[results.Write]:
  """Writes the best caption of each picture, the file whole or not at all.

  Args:
    path: the file.
    ids: image ids by file.

  Yields:
    A function to be called with each result; a picture that could not be
    read, or for which nothing was found, or that came before, is left out.
  """
  with whole_file.write(path) as f:
    written = set()

    def add(result: results.Result) -> None:
      if result.captions and ids[result.file] not in written:
        f.write((',\n' if written else '[\n') + json.dumps({
            'image_id': ids[result.file],
            'caption': result.captions[0].text}))
        written.add(ids[result.file])

    yield add
    f.write('\n]\n' if written else '[]\n')


def _read_ids(path: str) -> dict[str, int]:
  try:
    with open(path, encoding='utf-8') as f:
      return {image['file_name']: operator.index(image['id'])
              for image in json.load(f)['images']}
  except (ValueError, LookupError, TypeError) as error:
    raise ValueError(f'{path} is no annotation file of COCO\'s format: '
                     f'{error!r}') from None
