"""Where results are written: several files at once, whole, and going on."""

import contextlib
import dataclasses
import functools
import io
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from absl import logging

from im2txt.files import file_system, overwriting
from im2txt.results import (
    attention_sheets,
    coco_results,
    contact_sheet,
    gallery,
    text_files,
)
from im2txt.results.journal import Journal
from im2txt.results.result import Result, Write
from im2txt.text import image_names


class Labels(NamedTuple):
  """What images are called in results, by their files."""

  names: Mapping[str, str]      # In lines; two of one name are told apart.
  ids: Mapping[str, int | str]  # In COCO's format, if that is written.


@dataclasses.dataclass(frozen=True)
class Outputs:
  """Paths of what to write of the results; None: not written."""

  lines: str | None = None
  json: str | None = None
  jsonl: str | None = None
  html: str | None = None
  contact_sheet: str | None = None
  attention_dir: str | None = None
  annotations_file: str | None = None  # Has the images' ids, for `json`.

  @property
  def files(self) -> list[str]:
    """Return the paths of the files of results.

    Beside the first of them lies the journal by which work goes on.
    """
    return [path for path in (self.lines, self.json, self.jsonl, self.html)
            if path]

  @property
  def show_images(self) -> bool:
    """Return whether the results need the images' thumbnails."""
    return bool(self.html or self.contact_sheet or self.attention_dir)

  def check(self, inputs: Sequence[str], overwrite: bool) -> None:
    """Refuse at once what could not or must not be written in the end.

    Args:
      inputs: files that are read.
      overwrite: whether files that are no earlier results may be replaced.

    Raises:
      ValueError: a folder is missing, or a path is one or no file at all, or
        is given twice, or files of results are to be written to another
        machine, or the sheet is no .png or .jpg, or as of
        `overwriting.check`.
    """
    for path in self.files:
      if file_system.is_remote(path):
        raise ValueError(f'{path}: results are written on this machine, for a '
                         'journal of them is appended to; copy them afterwards')
    if self.contact_sheet:
      contact_sheet.check_name('contact_sheet', self.contact_sheet)
    paths = self.files + ([self.contact_sheet] if self.contact_sheet else [])
    places = [file_system.realpath(path) for path in paths]
    for path, place in zip(paths, places, strict=True):
      if not file_system.isdir(os.path.dirname(path) or '.'):
        raise ValueError(f'{path}: there is no such folder to write it into')
      if file_system.exists(path) and not file_system.isfile(path):
        raise ValueError(f'{path} is a folder or a device; name a file')
      if places.count(place) > 1:
        raise ValueError(f'{path} is named by two flags')
    for flag, output, earlier in (
        ('output_lines', self.lines, text_files.LINES),
        ('output_json', self.json, coco_results.RESULTS),
        ('output_jsonl', self.jsonl, text_files.JSON_LINES),
        ('output_html', self.html, gallery.PAGE),
        ('contact_sheet', self.contact_sheet, contact_sheet.SHEET)):
      if output:
        overwriting.check(
            flag, output, earlier, is_image=flag == 'contact_sheet',
            inputs=inputs, overwrite=overwrite)

  def labels(self, files: Sequence[str]) -> Labels:
    """Return what the images are called in the results.

    Raises:
      OSError: the annotations cannot be read.
      ValueError: they are none.
    """
    return Labels(
        image_names.shortest(files),
        coco_results.image_ids(files, self.annotations_file)
        if self.json else {})

  def journal(
      self, settings: Mapping[str, Any]
  ) -> AbstractContextManager[Journal | None]:
    """Open the journal of the files; None in a context if there are none.

    Args:
      settings: what the results depend on; JSON values.

    Raises:
      OSError: it cannot be read or written, or another process has it open.
      ValueError: it is of other settings, or no journal.
    """
    if not self.files:
      return contextlib.nullcontext()
    return Journal(f'{self.files[0]}.progress', settings)

  @contextlib.contextmanager
  def open(self, labels: Labels) -> Iterator[list[Write]]:
    """Open all of them; yield what writes a result into each.

    Without a file of results they are printed.

    Args:
      labels: of the images.
    """
    ways = (
        (self.lines, functools.partial(
            text_files.lines, names=labels.names)),
        (self.json, functools.partial(coco_results.write, ids=labels.ids)),
        (self.jsonl, text_files.json_lines),
        (self.html, gallery.write),
        (self.contact_sheet, contact_sheet.write),
        (self.attention_dir, attention_sheets.write))
    with contextlib.ExitStack() as stack:
      writers = [stack.enter_context(write(path)) for path, write in ways
                 if path]
      if not self.files:
        # As in `lines`, a name that is no UTF-8 is no mistake.
        if isinstance(sys.stdout, io.TextIOWrapper):
          sys.stdout.reconfigure(errors='backslashreplace')
        writers.insert(0, functools.partial(
            text_files.print_captions, file=sys.stdout, names=labels.names))
      yield writers


def write(
    outputs: Outputs, labels: Labels, results: Iterable[Result]
) -> int:
  """Write results.

  Args:
    outputs: where to.
    labels: of the images.
    results: of the images, in the order of their files.

  Returns:
    The number of images that could not be read.

  Raises:
    OSError: a file cannot be written.
  """
  unreadable = 0
  with outputs.open(labels) as writers:
    for result in results:
      unreadable += result.error is not None
      for write_result in writers:
        write_result(result)
  for path in outputs.files:
    logging.info('wrote %s', path)
  return unreadable
