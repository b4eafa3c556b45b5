"""Files of results: im2txt's lines, and JSON lines.

Each is a context manager that gives a function to be called with one result
after the other; the file is written whole or not at all.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from typing import IO

from im2txt.files import atomic_files
from im2txt.results import result as results


def print_captions(result: results.Result, file: IO[str]) -> None:
  """Prints an image's captions as im2txt does; of an unreadable one none."""
  if result.error is not None:
    return
  print(f'Captions for image {os.path.basename(result.file)}:',
        *(f'  {i}) {caption.text} (p={caption.probability:f})'
          for i, caption in enumerate(result.captions)),
        sep='\n', file=file, flush=True)


@contextlib.contextmanager
def lines(path: str) -> Iterator[results.Write]:
  """im2txt's lines, see `print_captions`."""
  with atomic_files.write(path) as f:
    yield lambda result: print_captions(result, f)


@contextlib.contextmanager
def json_lines(path: str) -> Iterator[results.Write]:
  """A line of JSON an image: file and all its captions, or the error."""
  with atomic_files.write(path) as f:
    yield lambda result: print(
        json.dumps(results.as_fields(result)), file=f)
