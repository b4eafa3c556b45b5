r"""Score captions against those that people wrote.

  python -m im2txt.run_inference --checkpoint_path=runs/flickr8k/best \
    --input_list=dev_images.txt --output_json=results.json
  python -m im2txt.score_captions --results=results.json \
    --annotations=Flickr8k.token.txt \
    --train_captions='flickr_features/train-*'

prints BLEU, METEOR, ROUGE_L and CIDEr as COCO's evaluation computes them, how
varied and how new the captions are, and what constant captions score: those
of training that do best in BLEU-4 and in CIDEr when they are said of every
image. A model that is not far better has not looked at the images.

Results are JSON in COCO's format, [{"image_id": 42, "caption": "a man ..."},
...]; an image_id may also be a file's name. METEOR needs Java. CIDEr depends on
which images are scored together, for it weighs words by their rarity there.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence

from absl import flags, logging

from im2txt import command_line
from im2txt.files import atomic_files, file_system, overwriting
from im2txt.flags.overwrite import OverwriteFlag
from im2txt.inputs import captions as shard_captions
from im2txt.inputs.shards import Shards
from im2txt.results import coco_results
from im2txt.scoring import metrics, ptb_tokenizer
from im2txt.text import annotations, caption_json, image_names

# How files of scores begin that are written here.
_SCORES = re.compile(rb'\A\{\n "num_images": ')


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.results = flags.DEFINE_string(
        'results', None, 'JSON of captions, as run_inference --output_json '
        'writes it.', required=True, flag_values=values)
    self.annotations = flags.DEFINE_string(
        'annotations', None, "What people wrote: JSON in COCO's format, or "
        'Flickr8k.token.txt; may be gzipped (.gz).', required=True,
        flag_values=values)
    self.train_captions = flags.DEFINE_string(
        'train_captions', None, 'The captions of training: comma-separated '
        'patterns of training shards, or a file like --annotations. Without '
        'them novelty is unknown, and the constant captions are of '
        '--annotations.', flag_values=values)
    self.tokenized_annotations = flags.DEFINE_bool(
        'tokenized_annotations', False, 'The annotations are tokenized '
        'already, as by the Penn Treebank: take their words as they are.',
        flag_values=values)
    self.output_json = flags.DEFINE_string(
        'output_json', None, 'Also write all of it, and the scores of each '
        'image, into this file.', flag_values=values)
    self.overwrite = OverwriteFlag(values)


def find_references(
    results: Mapping[int | str, str],
    images: Sequence[annotations.AnnotatedImage],
) -> dict[int | str, list[str]]:
  """Find what people wrote of the images of results.

  Args:
    results: captions by image's id, or by its file's name.
    images: annotated images.

  Returns:
    Their captions, by the ids of the results and in their order.

  Raises:
    ValueError: an image is not annotated, or has no caption, or is twice
      among the results, or two have the name that is meant.
  """
  by_id = {image.image_id: image for image in images}
  by_name = {image.file_name: image for image in images if image.file_name}
  names = image_names.ImageNames(
      image.file_name for image in images if image.file_name)
  # The ids that builders of shards give to images that have none.
  by_number = dict(zip(
      image_names.numbers(list(by_name)) or [], by_name.values(),
      strict=False))
  found = {}
  for name in results:
    # An id may be written as a text.
    number = caption_json.image_id(str(name))
    image = (by_id.get(name) or by_id.get(number) or by_id.get(str(name))
             or by_number.get(number))
    if image is None and isinstance(name, str):
      image = by_name.get(names.find(name))
    found[name] = image
  unknown = [name for name, image in found.items() if image is None]
  if unknown:
    raise ValueError(
        f'image {unknown[0]!r} is not annotated' + (
            f', nor are {len(unknown) - 1} others' if unknown[1:] else ''))
  owners = {}
  for name, image in found.items():
    if not image.captions:
      raise ValueError(f'image {name!r} is without captions')
    other = owners.setdefault(image.image_id, name)
    if other != name:
      raise ValueError(f'{other!r} and {name!r} are the same image')
  return {name: image.captions for name, image in found.items()}


def read_training_captions(source: str) -> list[str]:
  """Read the captions of training.

  Args:
    source: patterns of shards, or a file of annotations.

  Raises:
    OSError: the file cannot be read.
    ValueError: there are no such shards, or the file is none of annotations,
      or has no captions.
  """
  if file_system.isfile(source) and not _is_shard(source):
    found = [caption for image in annotations.read(source)
             for caption in image.captions]
  else:
    found = shard_captions.read(Shards.find(source)).everything()
  if not found:
    raise ValueError(f'{source} has no captions')
  return found


def _is_shard(path: str) -> bool:
  # A TFRecord begins with a length of 64 bits, a text has no byte of 0.
  with file_system.open(path, 'rb') as f:
    return b'\0' in f.read(8) and not path.endswith('.gz')


def to_table(evaluation: metrics.Evaluation, has_training: bool) -> str:
  """Return lines of text that show an evaluation."""
  constants = evaluation.constants
  lines = [f'{"":<18}{"captions":>9}   constant captions, best in',
           f'{"":<27}' + ''.join(f'{name:>10}' for name in constants)]
  for name, score in evaluation.captions.overall.items():
    # What everybody calls CIDEr is CIDEr-D in its paper.
    label = 'CIDEr (CIDEr-D)' if name == 'CIDEr' else name
    lines.append(f'{label:<18}{score:>9.4f}' + ''.join(
        f'{constant.scores[name]:>10.4f}' for constant in constants.values()))
  diversity = evaluation.diversity
  novel = ('unknown, give --train_captions' if diversity.novel is None
           else f'{diversity.novel:.1%}')
  source = ('training' if has_training else
            'these images (give --train_captions)')
  return '\n'.join([
      *lines, '',
      f'distinct captions    {diversity.distinct:.1%}',
      f'not in training      {novel}',
      f'different words      {diversity.num_words}',
      f'words a caption      {diversity.mean_length:.1f}', '',
      f'Of the captions of {source},',
      'said of every image, these do best in',
      *(f'{name:<9}{constant.caption}'
        for name, constant in constants.items())])


def main(flags_: Flags) -> None:
  """Score captions and print the table."""
  output = flags_.output_json.value
  if output and not file_system.isdir(os.path.dirname(output) or '.'):
    raise ValueError(f'--output_json={output}: there is no such folder')
  if output:
    overwriting.check(
        'output_json', output, _SCORES,
        inputs=filter(file_system.isfile, filter(None, (
            flags_.results.value, flags_.annotations.value,
            flags_.train_captions.value))),
        overwrite=flags_.overwrite.value())
  results = coco_results.read(flags_.results.value)
  images = annotations.read(flags_.annotations.value)
  try:
    references = find_references(results, images)
  except ValueError as error:
    raise ValueError(f'{flags_.results.value}: {error} in '
                     f'{flags_.annotations.value}') from None
  training = (read_training_captions(flags_.train_captions.value)
              if flags_.train_captions.value else None)
  logging.info('scoring %d of the %d annotated images%s', len(results),
               len(images), '' if len(results) == len(images) else
               '; the others have no result')
  empty = sum(not caption.strip() for caption in results.values())
  if empty:
    logging.warning('%d captions are empty and score 0', empty)
  if len(results) == 1:
    logging.warning('CIDEr of one image is 0 whatever is said of it: it weighs '
                    'words by how few of the images they are said of')
  tokenize = (str.split if flags_.tokenized_annotations.value
              else ptb_tokenizer.tokenize)
  scorer = metrics.Scorer(references, training, tokenize)
  evaluation = scorer.evaluate(results)
  print(to_table(evaluation, training is not None))
  if output:
    with atomic_files.write(output) as f:
      json.dump(evaluation.summary() | {'of_image': [
          {'image_id': name} | {
              score: values[i]
              for score, values in evaluation.captions.each.items()}
          for i, name in enumerate(results)]}, f, indent=1)
      f.write('\n')
    logging.info('wrote %s', output)


if __name__ == '__main__':
  command_line.run(main, Flags)
