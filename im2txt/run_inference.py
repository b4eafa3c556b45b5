r"""Captions images.

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
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import tqdm
from absl import flags, logging

from im2txt import command_line
from im2txt.checkpoints import trained_model
from im2txt.decoders import DECODERS
from im2txt.files import file_system
from im2txt.flags.captioning import CaptioningFlags
from im2txt.flags.consensus import ConsensusFlags
from im2txt.inference import batch_captioner, consensus, ensemble, image_files
from im2txt.results import (
  attention_sheets,
  coco_results,
  contact_sheet,
  gallery,
  text_files,
)
from im2txt.results import journal as result_journal
from im2txt.results import result as results
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
        'file: images, captions, probabilities. It takes about 20 kB a image.',
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


Batches = Iterator[list[results.Result]]


def check_outputs(paths: Sequence[str], sheet: str | None) -> None:
  """Refuses at once what could not be written in the end.

  Args:
    paths: of files of results.
    sheet: path of the contact sheet, if any.

  Raises:
    ValueError: a folder is not there, or a path is one or no file at all, or
      is given twice, or results are to be written to another machine, or the
      sheet is no .png or .jpg.
  """
  for path in paths:
    if file_system.is_remote(path):
      raise ValueError(f'{path}: results are written on this machine, for a '
                       'journal of them is appended to; copy them afterwards')
  if sheet:
    contact_sheet.check_name('contact_sheet', sheet)
  paths = [*paths, sheet] if sheet else paths
  places = [file_system.realpath(path) for path in paths]
  for path, place in zip(paths, places, strict=True):
    if not file_system.isdir(os.path.dirname(path) or '.'):
      raise ValueError(f'{path}: there is no such folder to write it into')
    if file_system.exists(path) and not file_system.isfile(path):
      raise ValueError(f'{path} is a folder or a device; name a file')
    if places.count(place) > 1:
      raise ValueError(f'{path} is named by two flags')


def check_attention(models: Sequence[trained_model.TrainedModel]) -> None:
  """Refuses sheets of models that cannot say where they look.

  Raises:
    ValueError: one does not attend to regions, or they look at different ones.
  """
  for model in models:
    if not DECODERS[model.config.decoder].attends:
      attending = ', '.join(
          name for name, decoder in DECODERS.items() if decoder.attends)
      raise ValueError(
          f'--attention_dir: the decoder {model.config.decoder!r} of '
          f'{model.prefix} does not attend to regions; {attending} do')
  if not ensemble.attends(models):
    raise ValueError('--attention_dir: these models divide images into '
                     'different regions; draw the sheets of one of them')


def find_images(meant: Iterable[str]) -> tuple[list[str], list[str]]:
  """Finds images.

  Args:
    meant: files, patterns and folders.

  Returns:
    The files, and a line for each name that means none.
  """
  files, mistakes = [], []
  for name in meant:
    try:
      files += image_files.find(name)
    except ValueError as error:
      mistakes.append(str(error))
  return files, mistakes


def show_progress(batches: Batches, number: int, quiet: bool) -> Batches:
  """Passes results on, with a progress bar and a line for what failed.

  Args:
    batches: results, batch by batch.
    number: of all of them.
    quiet: whether to do without the bar.
  """
  with tqdm.tqdm(total=number, unit='image', disable=quiet or None) as bar:
    for batch in batches:
      for result in batch:
        if result.error is not None:
          bar.write(f'{result.file}: cannot be read: {result.error}',
                    file=sys.stderr)
      bar.update(len(batch))
      yield batch


def by_consensus(
    features: np.ndarray, captions: Sequence[results.Caption],
    agreed: consensus.Consensus, number: int | None,
) -> list[results.Caption]:
  """The captions of an image that agree most, best first.

  Args:
    features: float32 [C], what the encoder says of it.
    captions: found by the search.
    agreed: knows how far they agree.
    number: of captions to keep; None: all.
  """
  order = agreed.rank(
      features, [caption.text for caption in captions],
      [caption.log_probability for caption in captions])
  return [captions[i] for i in order[:number]]


def go_on(
    journal: result_journal.Journal, files: Sequence[str],
    caption: Callable[[list[str]], Batches],
) -> Iterator[results.Result]:
  """Captions what the journal does not have, then reads all from there.

  Args:
    journal: of results.
    files: images; one that comes twice is captioned once.
    caption: captions images.

  Yields:
    A result for each of the files.
  """
  todo = [file for file in dict.fromkeys(files) if file not in journal]
  if len(journal):
    logging.info('going on where it stopped: %d images are left', len(todo))
  for batch in caption(todo) if todo else ():
    journal.append(batch)
  yield from map(journal.result, files)


def main(flags_: Flags, arguments: list[str]) -> int:
  """Reads the flags and captions; returns 1 if an image was unreadable."""
  if not (arguments or flags_.input_files.value or flags_.input_list.value):
    raise ValueError('no images; name files or folders, or give '
                     '--input_files or --input_list')
  check_outputs([flag.value for flag in (
      flags_.output_lines, flags_.output_json, flags_.output_jsonl,
      flags_.output_html) if flag.value], flags_.contact_sheet.value)
  files, mistakes = find_images(itertools.chain(
      arguments, flags_.input_files.value,
      image_files.read_list(flags_.input_list.value)
      if flags_.input_list.value else ()))
  for mistake in mistakes:
    print(mistake, file=sys.stderr)
  if not files:
    if not mistakes:
      raise ValueError(f'{flags_.input_list.value} names no files')
    return 1
  ids = coco_results.image_ids(
      files, flags_.annotations_file.value) if flags_.output_json.value else {}
  outputs = [(path, write) for path, write in (
      (flags_.output_lines.value, text_files.lines),
      (flags_.output_json.value,
       functools.partial(coco_results.write, ids=ids)),
      (flags_.output_jsonl.value, text_files.json_lines),
      (flags_.output_html.value, gallery.write)) if path]
  models = flags_.captioning.models()
  if flags_.attention_dir.value:
    check_attention(models)
  options = flags_.captioning.options()
  choose = None
  consensus_shards = flags_.consensus.shards(models[0].config.bad_records)
  agreed = flags_.consensus.read(consensus_shards, models[0])
  if agreed:
    choose = functools.partial(
        by_consensus, agreed=agreed, number=options.num_captions)
    options = dataclasses.replace(options, num_captions=None)
  search = functools.partial(
      beam_search.beam_search,
      rules=flags_.captioning.search.rules(models[0].vocab),
      options=options)
  thumbnails = bool(
      flags_.output_html.value or flags_.contact_sheet.value
      or flags_.attention_dir.value)

  def caption(files: list[str]) -> Batches:
    # On a terminal printed captions show the progress themselves.
    return show_progress(batch_captioner.caption_files(
        models, files, search, flags_.batch_size.value,
        _THUMBNAIL_SIDE if thumbnails else None, choose), len(files),
        quiet=not outputs and sys.stdout.isatty())

  unreadable = len(mistakes)
  with contextlib.ExitStack() as stack:
    if outputs:
      settings = {
          **flags_.captioning.settings(),
          **flags_.consensus.settings(consensus_shards),
          'checkpoint_path': [
              file_system.abspath(model.prefix) for model in models],
          'thumbnails': thumbnails}
      journal = stack.enter_context(result_journal.Journal(
          f'{outputs[0][0]}.progress', settings))
      found = go_on(journal, files, caption)
      writers = [stack.enter_context(write(path)) for path, write in outputs]
    else:
      # As in --output_lines, a name that is no UTF-8 is no mistake.
      sys.stdout.reconfigure(errors='backslashreplace')
      found = itertools.chain.from_iterable(caption(files))
      writers = [functools.partial(
          text_files.print_captions, file=sys.stdout)]
    if flags_.contact_sheet.value:
      writers.append(stack.enter_context(
          contact_sheet.write(flags_.contact_sheet.value)))
    if flags_.attention_dir.value:
      writers.append(stack.enter_context(
          attention_sheets.write(flags_.attention_dir.value)))
    for result in found:
      unreadable += result.error is not None
      for write in writers:
        write(result)
  for path, _ in outputs:
    logging.info('wrote %s', path)
  return 1 if unreadable else 0


if __name__ == '__main__':
  command_line.run(main, Flags, takes_arguments=True)
