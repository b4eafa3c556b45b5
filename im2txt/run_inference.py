r"""Caption images.

  python -m im2txt.run_inference photo.jpg more/

captions files, patterns and folders with the model that comes with the package;

  python -m im2txt.run_inference --checkpoint_path=runs/coco \
    --input_files='photos,more/*.png'

with one of your own. Printed are, best first, im2txt's lines:

  Captions for image surf.jpg:
    0) a man riding a wave on top of a surfboard . (p=0.040413)
    1) a person riding a surf board on a wave (p=0.017452)

Files of results instead, of all images in a folder and those within it:

  python -m im2txt.run_inference --checkpoint_path=runs/coco \
    --input_files=photos --output_jsonl=photos.jsonl --output_html=photos.html

Where a model with attention looked for each word:

  python -m im2txt.run_inference --checkpoint_path=runs/attend \
    --input_files=photos --attention_dir=sheets --output_html=photos.html

Cut off, the same command goes on where it was. A checkpoint of im2txt itself
works too; it needs its --vocab_file.
"""

import contextlib
import dataclasses
import functools
import itertools
import sys
from collections.abc import Iterable, Iterator

import tqdm
from absl import flags

from im2txt import command_line
from im2txt.files import file_system
from im2txt.flags.captioning import CaptioningFlags
from im2txt.flags.consensus import ConsensusFlags
from im2txt.flags.overwrite import OverwriteFlag
from im2txt.inference import batch_captioner, image_files
from im2txt.inference.loaded_model import LoadedModel
from im2txt.inputs.shards import Shards
from im2txt.results import contact_sheet, outputs
from im2txt.results.result import Result
from im2txt.search import beam_search

_THUMBNAIL_SIDE = 320  # Pixels.


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.captioning = CaptioningFlags(values)
    self.consensus = ConsensusFlags(values)
    self.input_files = flags.DEFINE_list(
        'input_files', [], 'Comma-separated files, patterns, or folders, of '
        "which all images are meant; for example 'photos,more/*.jpg'.",
        flag_values=values)
    self.input_list = flags.DEFINE_string(
        'input_list', None, 'A file with one such file, pattern or folder in '
        'each line.', flag_values=values)
    self.batch_size = flags.DEFINE_integer(
        'batch_size', 32, 'Images captioned at once; does not change captions.',
        lower_bound=1, flag_values=values)
    self.output_lines = flags.DEFINE_string(
        'output_lines', None, "Write im2txt's lines into this file. They are "
        'printed if no --output_ flag is given.', flag_values=values)
    self.output_json = flags.DEFINE_string(
        'output_json', None, 'Write the best captions into this file in the '
        "format of COCO's results, to be scored by im2txt.score_captions.",
        flag_values=values)
    self.annotations_file = flags.DEFINE_string(
        'annotations_file', None, "For --output_json: annotations in COCO's "
        "format, which have the images' ids. Default: COCO's own file names "
        'have the ids in them; other images go by their name.',
        flag_values=values)
    self.output_jsonl = flags.DEFINE_string(
        'output_jsonl', None, 'Write all captions with their probabilities '
        'into this file, a line of JSON an image.', flag_values=values)
    self.output_html = flags.DEFINE_string(
        'output_html', None, 'Write a page to look at and to search into this '
        'file: images, captions, probabilities. It takes about 20 kB an image.',
        flag_values=values)
    self.contact_sheet = flags.DEFINE_string(
        'contact_sheet', None, 'Also draw the images with their captions into '
        f'this file (.png or .jpg); the first {contact_sheet.MAX_IMAGES}.',
        flag_values=values)
    self.attention_dir = flags.DEFINE_string(
        'attention_dir', None, 'Also draw a sheet for each image into this '
        'folder: where the model looked for each word of the best caption. Of '
        'models that attend to regions only; --output_html shows it, too, and '
        'with any such file beside it a broken run goes on where it was.',
        flag_values=values)
    self.overwrite = OverwriteFlag(values)

  def names(self, arguments: list[str]) -> Iterable[str]:
    """Return the files, patterns and folders that the command line names.

    Args:
      arguments: those that are no flags.

    Raises:
      ValueError: there are none.
      OSError: the list cannot be read.
    """
    if not (arguments or self.input_files.value or self.input_list.value):
      raise ValueError('no images; name files or folders, or give '
                       '--input_files or --input_list')
    listed = (image_files.read_list(self.input_list.value)
              if self.input_list.value else ())
    return itertools.chain(arguments, self.input_files.value, listed)

  def outputs(self) -> outputs.Outputs:
    """Return what to write."""
    return outputs.Outputs(
        lines=self.output_lines.value,
        json=self.output_json.value,
        jsonl=self.output_jsonl.value,
        html=self.output_html.value,
        contact_sheet=self.contact_sheet.value,
        attention_dir=self.attention_dir.value,
        annotations_file=self.annotations_file.value)


Batches = Iterator[list[Result]]


def show_progress(batches: Batches, number: int, quiet: bool) -> Batches:
  """Pass results on, with a progress bar and a line for what failed.

  Args:
    batches: results, batch by batch.
    number: of all of them.
    quiet: whether to do without the bar.
  """
  with tqdm.tqdm(total=number, unit='image',
                 disable=quiet or not number or None) as bar:
    for batch in batches:
      for result in batch:
        if result.error is not None:
          bar.write(f'{result.file}: cannot be read: {result.error}',
                    file=sys.stderr)
      bar.update(len(batch))
      yield batch


def make_search(
    flags_: Flags, model: LoadedModel, shards: Shards | None
) -> tuple[batch_captioner.Search, batch_captioner.Rerank | None]:
  """Return how to find an image's captions, and how to choose among them.

  Args:
    flags_: of this command.
    model: what captions the images.
    shards: of the images by which captions are chosen; None: the search alone
      chooses them.
  """
  options = flags_.captioning.options()
  rerank = None
  consensus = flags_.consensus.read(shards, model)
  if consensus:
    rerank = functools.partial(consensus.choose, number=options.num_captions)
    options = dataclasses.replace(options, num_captions=None)
  return functools.partial(
      beam_search.beam_search, options=options,
      rules=flags_.captioning.search.rules(model.vocab)), rerank


def caption_and_write(
    flags_: Flags, files: list[str], wanted: outputs.Outputs,
    labels: outputs.Labels,
) -> int:
  """Caption images and write the results, going on where a run was cut off.

  Args:
    flags_: of this command.
    files: the images.
    wanted: what to write.
    labels: of the images.

  Returns:
    The number of images that could not be read.
  """
  model = flags_.captioning.model()
  if wanted.attention_dir:
    model.check_attention('attention_dir')
  shards = flags_.consensus.shards(model.config.bad_records)
  search, rerank = make_search(flags_, model, shards)
  settings = {
      **flags_.captioning.settings(), **flags_.consensus.settings(shards),
      'checkpoint_path': list(map(file_system.abspath, model.prefixes)),
      'thumbnails': wanted.show_images}
  with wanted.journal(settings) as journal:
    left = files if journal is None else journal.left(files)
    # Closed whatever happens: a process does not end while images are decoded.
    with contextlib.closing(batch_captioner.caption_files(
        model, left, search, flags_.batch_size.value,
        _THUMBNAIL_SIDE if wanted.show_images else None,
        rerank)) as captioned:
      batches = show_progress(
          captioned, len(left),
          # On a terminal printed captions show the progress themselves.
          quiet=not wanted.files and sys.stdout.isatty())
      results = (itertools.chain.from_iterable(batches) if journal is None
                 else journal.complete(files, batches))
      return outputs.write(wanted, labels, results)


def main(flags_: Flags, arguments: list[str]) -> int:
  """Caption images; return 1 if one could not be read."""
  names = flags_.names(arguments)
  wanted = flags_.outputs()
  found = image_files.find_all(names)
  files, mistakes, _ = found
  wanted.check([*files, *filter(None, (
      flags_.input_list.value, flags_.annotations_file.value))],
      flags_.overwrite.value())
  for mistake in mistakes:
    print(mistake, file=sys.stderr)
  if not files:
    if not mistakes:
      raise ValueError(f'{flags_.input_list.value} names no files')
    return 1
  unreadable = caption_and_write(flags_, files, wanted, wanted.labels(files))
  if found.left_out:
    print(found.describe_left_out(), file=sys.stderr)
  return 1 if unreadable or mistakes else 0


if __name__ == '__main__':
  command_line.run(main, Flags, takes_arguments=True)
