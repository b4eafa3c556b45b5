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
from im2txt.files import file_system
from im2txt.flags import captioning as captioning_flags
from im2txt.flags import consensus as consensus_flags
from im2txt.flags import search as search_flags
from im2txt.inference import batch_captioner, consensus, image_files
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

flags.adopt_module_key_flags(captioning_flags)
flags.adopt_module_key_flags(consensus_flags)
_INPUT_FILES = flags.DEFINE_list(
    'input_files', [], 'Comma-separated files, patterns, or folders, of which '
    "all images are meant; for example 'photos,more/*.jpg'.")
_INPUT_LIST = flags.DEFINE_string(
    'input_list', None, 'A file with one such file, pattern or folder in each '
    'line.')
_BATCH_SIZE = flags.DEFINE_integer(
    'batch_size', 32, 'Images captioned at once; does not change captions.',
    lower_bound=1)
_OUTPUT_LINES = flags.DEFINE_string(
    'output_lines', None, "Write im2txt's lines into this file. They are "
    'printed if no --output_ flag is given.')
_OUTPUT_JSON = flags.DEFINE_string(
    'output_json', None, 'Write the best captions into this file in the '
    "format of COCO's results, to be scored by im2txt.score_captions.")
_ANNOTATIONS_FILE = flags.DEFINE_string(
    'annotations_file', None, "For --output_json: annotations in COCO's "
    "format, which have the images' ids. Default: COCO's own file names "
    'have the ids in them; other images go by their name.')
_OUTPUT_JSONL = flags.DEFINE_string(
    'output_jsonl', None, 'Write all captions with their probabilities into '
    'this file, a line of JSON an image.')
_OUTPUT_HTML = flags.DEFINE_string(
    'output_html', None, 'Write a page to look at and to search into this '
    'file: images, captions, probabilities. It takes about 20 kB a '
    'image.')
_CONTACT_SHEET = flags.DEFINE_string(
    'contact_sheet', None, 'Also draw the images with their captions into '
    f'this file (.png or .jpg); the first {contact_sheet.MAX_IMAGES}.')
_ATTENTION_DIR = flags.DEFINE_string(
    'attention_dir', None, 'Also draw a sheet for each image into this '
    'folder: where the model looked for each word of the best caption. Of '
    'models that attend to regions only; --output_html shows it, too, and '
    'with any such file beside it a broken run goes on where it was.')

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


def main(arguments: list[str]) -> int:
  """Reads the flags and captions; returns 1 if an image was unreadable."""
  if not (arguments or _INPUT_FILES.value or _INPUT_LIST.value):
    raise ValueError('no images; name files or folders, or give '
                     '--input_files or --input_list')
  check_outputs([flag.value for flag in (
      _OUTPUT_LINES, _OUTPUT_JSON, _OUTPUT_JSONL, _OUTPUT_HTML) if flag.value],
      _CONTACT_SHEET.value)
  files, mistakes = find_images(itertools.chain(
      arguments, _INPUT_FILES.value,
      image_files.read_list(_INPUT_LIST.value) if _INPUT_LIST.value else ()))
  for mistake in mistakes:
    print(mistake, file=sys.stderr)
  if not files:
    if not mistakes:
      raise ValueError(f'{_INPUT_LIST.value} names no files')
    return 1
  ids = coco_results.image_ids(
      files, _ANNOTATIONS_FILE.value) if _OUTPUT_JSON.value else {}
  outputs = [(path, write) for path, write in (
      (_OUTPUT_LINES.value, text_files.lines),
      (_OUTPUT_JSON.value, functools.partial(coco_results.write, ids=ids)),
      (_OUTPUT_JSONL.value, text_files.json_lines),
      (_OUTPUT_HTML.value, gallery.write)) if path]
  model = captioning_flags.model()
  if _ATTENTION_DIR.value:
    model.check_attention('attention_dir')
  options = captioning_flags.options()
  choose = None
  agreed = consensus_flags.read(model)
  if agreed:
    choose = functools.partial(
        by_consensus, agreed=agreed, number=options.num_captions)
    options = dataclasses.replace(options, num_captions=None)
  search = functools.partial(
      beam_search.beam_search, rules=search_flags.rules(model.vocab),
      options=options)
  thumbnails = bool(
      _OUTPUT_HTML.value or _CONTACT_SHEET.value or _ATTENTION_DIR.value)

  def caption(files: list[str]) -> Batches:
    # On a terminal printed captions show the progress themselves.
    return show_progress(batch_captioner.caption_files(
        model, files, search, _BATCH_SIZE.value,
        _THUMBNAIL_SIDE if thumbnails else None, choose), len(files),
        quiet=not outputs and sys.stdout.isatty())

  unreadable = len(mistakes)
  with contextlib.ExitStack() as stack:
    if outputs:
      settings = captioning_flags.settings() | consensus_flags.settings() | {
          'checkpoint_path': list(map(file_system.abspath, model.prefixes)),
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
    if _CONTACT_SHEET.value:
      writers.append(stack.enter_context(
          contact_sheet.write(_CONTACT_SHEET.value)))
    if _ATTENTION_DIR.value:
      writers.append(stack.enter_context(
          attention_sheets.write(_ATTENTION_DIR.value)))
    for result in found:
      unreadable += result.error is not None
      for write in writers:
        write(result)
  for path, _ in outputs:
    logging.info('wrote %s', path)
  return 1 if unreadable else 0


if __name__ == '__main__':
  command_line.run(main, takes_arguments=True)
