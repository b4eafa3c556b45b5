"""Write results as text: im2txt's lines, and JSON lines.

Each writer is a context manager that yields a function to be called with each
result; the file is written atomically.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import IO

from im2txt.files import atomic_files
from im2txt.results.result import Result, Write, as_fields

# How files written here begin.
LINES = re.compile(rb'\ACaptions for image ')
JSON_LINES = re.compile(rb'\A\{"file": ')


def print_captions(
    result: Result, file: IO[str], names: Mapping[str, str]
) -> None:
  """Print an image's captions as im2txt does; nothing if it is unreadable.

  Args:
    result: of the image.
    file: where to.
    names: what images are called, by their files.
  """
  if result.error is not None:
    return
  print(f'Captions for image {names[result.file]}:',
        *(f'  {i}) {caption.text} (p={caption.probability:f})'
          for i, caption in enumerate(result.captions)),
        sep='\n', file=file, flush=True)


@contextlib.contextmanager
def lines(path: str, names: Mapping[str, str]) -> Iterator[Write]:
  """Write im2txt's lines, see `print_captions`."""
  with atomic_files.write(path) as f:
    yield lambda result: print_captions(result, f, names)


@contextlib.contextmanager
def json_lines(path: str) -> Iterator[Write]:
  """Write a line of JSON for each image: all its captions, or the error."""
  with atomic_files.write(path) as f:
    yield lambda result: print(
        json.dumps(as_fields(result)), file=f)
