r"""Draw images with the captions that files of results have of them.

  python -m im2txt.draw_captions --output=sheet.jpg \
    before.jsonl after.jsonl

The files are of run_inference's --output_jsonl. An image that is in one of
them is drawn with its captions and their probabilities; one that is in several
with the best caption of each, by the file's name.
"""

import io
import os
from collections.abc import Sequence

from absl import flags, logging

from im2txt import command_line
from im2txt.files import file_system, json_lines, overwriting
from im2txt.flags.overwrite import OverwriteFlag
from im2txt.inputs import image_decoder
from im2txt.results import contact_sheet
from im2txt.results import result as results


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.output = flags.DEFINE_string(
        'output', None, 'The sheet, .png or .jpg; of the first '
        f'{contact_sheet.MAX_IMAGES} images.', required=True,
        flag_values=values)
    self.overwrite = OverwriteFlag(values)


def read(path: str) -> dict[str, results.Result]:
  """Read a file of results; images that could not be read are left out.

  Returns:
    The results by the images' files, in their order.

  Raises:
    OSError: there is no such file.
    ValueError: a line is no result.
  """
  found = json_lines.read(
      path, results.from_line, 'result', 'write the file anew')
  return {result.file: result for result in found if result.error is None}


def merge(
    of_files: Sequence[dict[str, results.Result]], names: Sequence[str]
) -> list[results.Result]:
  """Return a result an image, in the order in which they come first.

  Args:
    of_files: results by the images' files.
    names: of the files of results.
  """
  merged = []
  for file in dict.fromkeys(file for found in of_files for file in found):
    having = [(name, found[file]) for name, found
              in zip(names, of_files, strict=True) if file in found]
    _, result = having[0]
    if len(having) > 1:
      result = result._replace(captions=tuple(
          of_one.captions[0]._replace(text=f'{name}: {of_one.captions[0].text}')
          for name, of_one in having if of_one.captions))
    merged.append(result)
  return merged


def thumbnail(file: str) -> bytes:
  """Return a small JPEG of an image.

  Raises:
    ValueError: it cannot be read.
  """
  buffer = io.BytesIO()
  try:
    with file_system.open(file, 'rb') as f:
      data = f.read()
    with image_decoder.opened(data) as image:
      image_decoder.decode(image, data, contact_sheet.IMAGE_SIDE).save(
          buffer, 'JPEG', quality=90)
  # Pillow's decoders raise exceptions of any kind at damaged files.
  except Exception as error:
    raise ValueError(f'{file} cannot be drawn: {error}; run this in the '
                     'folder in which it was captioned') from None
  return buffer.getvalue()


def main(flags_: Flags, paths: list[str]) -> None:
  """Draw the sheet."""
  if not paths:
    raise ValueError('name files of results, of run_inference --output_jsonl')
  contact_sheet.check_name('output', flags_.output.value)
  names = [os.path.splitext(os.path.basename(path))[0] for path in paths]
  if len(set(names)) < len(names):
    raise ValueError(f'two of {", ".join(paths)} have one name, by which their '
                     'captions would be told apart; rename one')
  merged = merge(list(map(read, paths)), names)
  if not merged:
    raise ValueError(f'{", ".join(paths)} have captions of no image')
  overwriting.check(
      'output', flags_.output.value, contact_sheet.SHEET, is_image=True,
      inputs=[*paths, *(result.file for result in merged)],
      overwrite=flags_.overwrite.value())
  with contact_sheet.write(flags_.output.value) as write:
    for result in merged[:contact_sheet.MAX_IMAGES]:
      write(result._replace(thumbnail=thumbnail(result.file)))
  logging.info('wrote %s', flags_.output.value)


if __name__ == '__main__':
  command_line.run(main, Flags, takes_arguments=True)
