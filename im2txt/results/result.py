"""The captions of an image, and their form as a line of JSON."""

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
  # float32 [words, rows, columns]: attention of each of `words`, which sums
  # to 1. None: the decoder does not attend.
  attention: np.ndarray | None = None

  @property
  def words(self) -> list[str]:
    """The words that attention is of; none in a caption without text."""
    return self.text.split(' ') if self.text else []

  @property
  def relative_attention(self) -> np.ndarray:
    """Attention divided by each word's maximum, to be displayed."""
    assert self.attention is not None  # Only of decoders that attend.
    maxima = self.attention.max((1, 2), keepdims=True)
    relative: np.ndarray = self.attention / maxima
    return relative

  @property
  def probability(self) -> float:
    """The probability, between 0 and 1."""
    return math.exp(self.log_probability)


class Result(NamedTuple):
  """An image's captions, or the reason why it has none."""

  file: str
  captions: tuple[Caption, ...] = ()  # Best first.
  error: str | None = None            # One line, if the file is unreadable.
  thumbnail: bytes | None = None      # A small JPEG, if one was asked for.
  # The central fraction of the image's height and of its width that the model
  # sees; the rows and columns of attention divide that part.
  visible_fraction: float = 1.0


# Writes a result to a file; called with each.
Write = Callable[[Result], None]


def as_fields(result: Result) -> dict[str, Any]:
  """Return a result as JSON values, without thumbnail and attention."""
  if result.error is not None:
    return {'file': result.file, 'error': result.error}
  return {'file': result.file, 'captions': [
      {'caption': caption.text, 'probability': caption.probability,
       'log_probability': caption.log_probability}
      for caption in result.captions]}


def to_line(result: Result) -> str:
  """Return all of a result as a line of JSON; attention as float16."""
  fields = as_fields(result)
  if result.thumbnail is not None:
    fields['thumbnail'] = base64.b64encode(result.thumbnail).decode('ascii')
  if result.visible_fraction != 1.0:
    fields['seen'] = result.visible_fraction
  for entry, caption in zip(
      fields.get('captions', ()), result.captions, strict=False):
    if caption.attention is not None:
      entry['attention'] = _pack(caption.attention)
  return json.dumps(fields) + '\n'


def from_line(line: str | bytes) -> Result:
  """Parse a line of `to_line`.

  Raises:
    ValueError: `to_line` cannot have written the line.
  """
  try:
    fields = json_files.parse(line, constants=True)
    thumbnail = fields.get('thumbnail')
    visible_fraction = fields.get('seen', 1.0)
    if not 0 < visible_fraction <= 1:
      raise ValueError(f'no fraction of an image: {visible_fraction}')
    error = fields.get('error')
    if not isinstance(error, str | None):
      raise ValueError(f'no reason: {error!r}')
    return Result(
        os.fspath(fields['file']),
        tuple(map(_caption, fields.get('captions', ()))), error,
        None if thumbnail is None else base64.b64decode(thumbnail),
        visible_fraction)
  except (LookupError, TypeError, AttributeError, OverflowError) as error:
    raise ValueError(f'no result of an image: {error!r}') from None


def _caption(fields: dict[str, Any]) -> Caption:
  """Parse a caption.

  Raises:
    ValueError: it is none.
  """
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
  """Return attention as JSON values."""
  weights = attention.astype('<f2').tobytes()
  return {'shape': attention.shape,
          'float16': base64.b64encode(weights).decode('ascii')}


def _unpack(packed: dict[str, Any] | None) -> np.ndarray | None:
  """Undo `_pack`.

  Raises:
    ValueError: number and shape of the weights disagree.
  """
  if packed is None:
    return None
  words, rows, columns = packed['shape']
  weights = np.frombuffer(
      base64.b64decode(packed['float16'], validate=True), '<f2')
  if (words < 0 or rows < 1 or columns < 1
      or words * rows * columns != len(weights)):
    raise ValueError(f'{len(weights)} weights are no {packed["shape"]}')
  return weights.astype(np.float32).reshape(words, rows, columns)
