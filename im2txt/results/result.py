"""What is said of an image, on its way from the search to files."""

import base64
import json
import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from im2txt.files import json_files


class Caption(NamedTuple):
  """A caption in words."""

  text: str
  log_probability: float  # Nats.
  # float32 [words, rows, columns]: where the model looked for each of `words`;
  # a word's weights sum to 1. None: the decoder does not attend.
  attention: np.ndarray | None = None

  @property
  def words(self) -> list[str]:
    """The words, as attention has them; none in a caption without text."""
    return self.text.split(' ') if self.text else []

  @property
  def relative_attention(self) -> np.ndarray:
    """Attention as a share of each word's own maximum, to be shown."""
    assert self.attention is not None  # For decoders that attend.
    maxima = self.attention.max((1, 2), keepdims=True)
    relative: np.ndarray = self.attention / maxima
    return relative

  @property
  def probability(self) -> float:
    """Between 0 and 1."""
    return math.exp(self.log_probability)


class Result(NamedTuple):
  """An image's captions, or why it has none."""

  file: str
  captions: tuple[Caption, ...] = ()  # Best first.
  error: str | None = None            # One line, if the file is unreadable.
  thumbnail: bytes | None = None      # A small JPEG, if one was asked for.
  # Share of the image's height and of its width, about its middle, that the
  # model looks at; the rows and columns of attention tile that part.
  seen: float = 1.0


# Writes one result after the other.
Write = Callable[[Result], None]


def as_fields(result: Result) -> dict[str, Any]:
  """What users get of a result as JSON: neither thumbnail nor attention."""
  if result.error is not None:
    return {'file': result.file, 'error': result.error}
  return {'file': result.file, 'captions': [
      {'caption': caption.text, 'probability': caption.probability,
       'log_probability': caption.log_probability}
      for caption in result.captions]}


def to_line(result: Result) -> str:
  """A result as a line of JSON, all of it; attention rounded to float16."""
  fields = as_fields(result)
  if result.thumbnail is not None:
    fields['thumbnail'] = base64.b64encode(result.thumbnail).decode('ascii')
  if result.seen != 1.0:
    fields['seen'] = result.seen
  for entry, caption in zip(
      fields.get('captions', ()), result.captions, strict=False):
    if caption.attention is not None:
      entry['attention'] = _pack(caption.attention)
  return json.dumps(fields) + '\n'


def from_line(line: str | bytes) -> Result:
  """Undoes `to_line`.

  Raises:
    ValueError: the line is nothing that it has written.
  """
  try:
    fields = json_files.parse(line, constants=True)
    thumbnail = fields.get('thumbnail')
    seen = fields.get('seen', 1.0)
    if not 0 < seen <= 1:
      raise ValueError(f'no share of an image: {seen}')
    error = fields.get('error')
    if not isinstance(error, str | None):
      raise ValueError(f'no reason: {error!r}')
    return Result(
        os.fspath(fields['file']),
        tuple(map(_caption, fields.get('captions', ()))), error,
        None if thumbnail is None else base64.b64decode(thumbnail),
        seen)
  except (LookupError, TypeError, AttributeError, OverflowError) as error:
    raise ValueError(f'no result of an image: {error!r}') from None


def _caption(fields: dict[str, Any]) -> Caption:
  caption = Caption(fields['caption'], float(fields['log_probability']),
                    _unpack(fields.get('attention')))
  if not isinstance(caption.text, str) or caption.log_probability > 1.0:
    raise ValueError(f'no caption and its probability: {fields}')
  if caption.attention is not None and (
      len(caption.attention) != len(caption.words)):
    raise ValueError(f'attention of {len(caption.attention)} words, not of '
                     f'{caption.text!r}')
  return caption


def _pack(attention: np.ndarray) -> dict[str, Any]:
  weights = attention.astype('<f2').tobytes()
  return {'shape': attention.shape,
          'float16': base64.b64encode(weights).decode('ascii')}


def _unpack(packed: dict[str, Any] | None) -> np.ndarray | None:
  if packed is None:
    return None
  words, rows, columns = packed['shape']
  weights = np.frombuffer(
      base64.b64decode(packed['float16'], validate=True), '<f2')
  if (words < 0 or rows < 1 or columns < 1
      or words * rows * columns != len(weights)):
    raise ValueError(f'{len(weights)} weights are no {packed["shape"]}')
  return weights.astype(np.float32).reshape(words, rows, columns)
