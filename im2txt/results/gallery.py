"""Write captioned images as one HTML file that needs no network.

Style and script are those of `gallery.html`. Where the model attends, a word
under the pointer, tapped, or reached with the arrow keys shows its attention
on the image, as in `attention_sheets`.
"""

import base64
import contextlib
import html
import importlib.resources
import math
import os
import re
from collections.abc import Iterator

import numpy as np

from im2txt.files import atomic_files
from im2txt.results.result import Caption, Result, Write

# What pages written here have at their beginning.
PAGE = re.compile(rb'<title>Captioned images</title>')
# What gallery.html has in place of the images.
_MARKER = '<!-- figures -->\n'


@contextlib.contextmanager
def write(path: str) -> Iterator[Write]:
  """Write a gallery, image by image, atomically.

  Nothing is kept in memory. The page gets its name when the block ends
  without an error; otherwise an older file of that name stays as it was.

  Args:
    path: the HTML file; `path`.tmp beside it holds the page meanwhile.

  Yields:
    A function that adds an image to the page.

  Raises:
    OSError: the file can't be written.
  """
  template = importlib.resources.files('im2txt.results') / 'gallery.html'
  head, tail = template.read_text(encoding='utf-8').split(_MARKER)
  with atomic_files.write(path) as page:
    page.write(head)

    def add(result: Result) -> None:
      page.write(_card(result))

    yield add
    page.write(tail)


def _card(result: Result) -> str:
  """Return the HTML figure of an image."""
  thumbnail = result.thumbnail if result.error is None else None
  attends = thumbnail is not None and any(
      caption.attention is not None for caption in result.captions)
  parts = [f'<figure data-seen="{result.visible_fraction:.6g}">\n' if attends
           else '<figure>\n']
  if thumbnail is not None:
    best = result.captions[0].text if result.captions else ''
    image = base64.b64encode(thumbnail).decode('ascii')
    parts.append(f'<img loading="lazy" decoding="async" '
                 f'alt="{html.escape(best)}" '
                 f'src="data:image/jpeg;base64,{image}">\n')
  parts.append(f'<figcaption>\n<p class="name" '
               f'title="{html.escape(result.file)}">'
               f'{html.escape(os.path.basename(result.file))}</p>\n')
  if result.error is not None:
    parts.append(f'<p class="error">{html.escape(result.error)}</p>\n')
  elif result.captions:
    parts += ['<ol class="attends">\n' if attends else '<ol>\n',
              *_items(result.captions, attends), '</ol>\n']
  parts.append('</figcaption>\n</figure>\n')
  return ''.join(parts)


def _items(
    captions: tuple[Caption, ...], attends: bool
) -> Iterator[str]:
  """Return the list items of an image's captions."""
  # Not the first's: a search that weighs length may rank a less probable
  # caption first. A difference of logarithms serves where both are 0.
  top = max(caption.log_probability for caption in captions)
  for caption in captions:
    share = (0.0 if top == -math.inf
             else math.exp(caption.log_probability - top))
    yield (f'<li><span class="text"{_weights(caption) if attends else ""}>'
           f'{html.escape(caption.text)}</span> '
           f'<span class="bar"><i style="width:{share:.2%}"></i></span> '
           f'<small>p={_format(caption.probability)}</small></li>\n')


def _weights(caption: Caption) -> str:
  """Return attributes for the script: a byte a weight, word by word."""
  if caption.attention is None or not caption.words:
    return ''
  weights = np.rint(255 * caption.relative_attention).astype(np.uint8)
  _, rows, columns = weights.shape
  encoded = base64.b64encode(weights.tobytes()).decode('ascii')
  return f' data-grid="{rows}x{columns}" data-weights="{encoded}"'


def _format(probability: float) -> str:
  """Return a probability with six digits, or in scientific notation."""
  fixed = f'{probability:f}'
  return f'{probability:.2e}' if fixed == '0.000000' else fixed
