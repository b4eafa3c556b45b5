r"""Count by rule how many captions of toy scenes tell the truth.

Example:
  python -m im2txt.run_inference ... --input_files '/tmp/toy/val/*.jpg' \
    > /tmp/captions.txt
  python -m data_prep.score_toy_captions --captions_file /tmp/captions.txt \
    --scenes_file /tmp/toy/annotations/scenes.json --min_accuracy 0.8

prints how many top captions name the right colour, object and count.
"""

import os
import re

from absl import flags

from data_prep.toy import toy_scenes
from im2txt import command_line
from im2txt.files import file_system, json_files


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.captions_file = flags.DEFINE_string(
        'captions_file', None, 'What run_inference printed on standard output.',
        required=True, flag_values=values)
    self.scenes_file = flags.DEFINE_string(
        'scenes_file', None, 'scenes.json that build_toy_data wrote.',
        required=True, flag_values=values)
    self.min_accuracy = flags.DEFINE_float(
        'min_accuracy', 0.0, 'Exit with status 1 if the share of right '
        'colours, objects or counts is lower.', lower_bound=0.0,
        upper_bound=1.0, flag_values=values)


JUDGED = ('colour', 'object', 'count')

_HEADING = re.compile(r'Captions for image (.+):')
_TOP_CAPTION = re.compile(r'\s*0\) (.*?)(?:\s*\(p=[^()]*\))?\s*')
_OBJECTS = {word: singular
            for singular, plural in toy_scenes.PLURALS.items()
            for word in (singular, plural)}


def read_captions(path: str) -> dict[str, str]:
  """Read the most probable caption of each image.

  Args:
    path: what run_inference printed. Lines of another kind are passed over.

  Returns:
    Image file name, without folders -> caption.

  Raises:
    OSError: the file cannot be read.
    ValueError: it has no captions, or none for one of its images.
  """
  captions = {}
  with file_system.open(path, encoding='utf-8', errors='replace') as f:
    name = None
    for line in f.read().splitlines():
      if heading := _HEADING.fullmatch(line.strip()):
        name = os.path.basename(heading[1])
        captions[name] = None
      elif name and (top := _TOP_CAPTION.fullmatch(line)):
        captions[name] = top[1]
        name = None
  if not captions:
    raise ValueError(f"{path} has no line 'Captions for image NAME:'; is it "
                     'what run_inference printed?')
  for name, caption in captions.items():
    if caption is None:
      raise ValueError(f"{path} has no caption '  0) ...' for image {name}")
  return captions


def read_scenes(path: str) -> dict[str, dict[str, object]]:
  """Read the truth about each image.

  Args:
    path: the scenes.json of build_toy_data.

  Returns:
    Image file name -> the fields of a `toy_scenes.Scene`.

  Raises:
    OSError: the file cannot be read.
    ValueError: it is not such a file.
  """
  try:
    with file_system.open(path, encoding='utf-8') as f:
      scenes = json_files.parse(f.read())
    for scene in scenes.values():
      toy_scenes.Scene(**scene)
  except (AttributeError, TypeError, ValueError) as error:
    raise ValueError(f'{path} is no scenes.json of build_toy_data: '
                     f'{error}') from None
  return scenes


def read_claims(caption: str) -> dict[str, object]:
  """Return the one colour, object and count that a caption names.

  A value is None where the caption names none or several. The count is the
  last number word before the object: 'an image of two red boats' says two.
  """
  words = re.findall('[a-z]+', caption.lower())
  colours = {word for word in words if word in toy_scenes.COLOURS}
  places = [i for i, word in enumerate(words) if word in _OBJECTS]
  objects = {_OBJECTS[words[i]] for i in places}
  numbers = [toy_scenes.NUMBERS[word]
             for word in words[:places[0] if places else None]
             if word in toy_scenes.NUMBERS]
  return {
      'colour': colours.pop() if len(colours) == 1 else None,
      'object': objects.pop() if len(objects) == 1 else None,
      'count': numbers[-1] if numbers else None,
  }


def score(captions: dict[str, str],
          scenes: dict[str, dict[str, object]]) -> dict[str, int]:
  """Count true captions.

  Args:
    captions: image file name -> caption.
    scenes: image file name -> truth.

  Returns:
    How many captions have the right colour, object and count, and all three.

  Raises:
    ValueError: an image is not among the scenes.
  """
  right = dict.fromkeys((*JUDGED, 'all three'), 0)
  for name, caption in captions.items():
    if name not in scenes:
      raise ValueError(f'image {name} is not among the scenes')
    claims = read_claims(caption)
    hits = [claims[key] == scenes[name][key] for key in JUDGED]
    for key, hit in zip(right, (*hits, all(hits)), strict=True):
      right[key] += hit
  return right


def main(flags_: Flags) -> None:
  captions = read_captions(flags_.captions_file.value)
  right = score(captions, read_scenes(flags_.scenes_file.value))
  total = len(captions)
  for key, number in right.items():
    print(f'{key:<9} {number:>4}/{total}  {100 * number / total:5.1f} %')
  least = flags_.min_accuracy.value
  low = [key for key in JUDGED if right[key] < least * total]
  if low:
    raise ValueError(f'{", ".join(low)} below --min_accuracy {least:g}')


if __name__ == '__main__':
  command_line.run(main, Flags)
