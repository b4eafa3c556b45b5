"""What is said of a picture, on its way from the search to files."""

import base64
import json
import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple


class Caption(NamedTuple):
  """A caption in words."""

  text: str
  log_probability: float  # Nats.

  @property
  def probability(self) -> float:
    """Between 0 and 1."""
    return math.exp(self.log_probability)


class Result(NamedTuple):
  """A picture's captions, or why it has none."""

  file: str
  captions: tuple[Caption, ...] = ()  # Best first.
  error: str | None = None            # One line, if the file is unreadable.
  thumbnail: bytes | None = None      # A small JPEG, if one was asked for.


# Writes one result after the other.
Write = Callable[[Result], None]


def as_fields(result: Result) -> dict[str, Any]:
  """What is to be known of a result, without the thumbnail, as for JSON."""
  if result.error is not None:
    return {'file': result.file, 'error': result.error}
  return {'file': result.file, 'captions': [
      {'caption': caption.text, 'probability': caption.probability,
       'log_probability': caption.log_probability}
      for caption in result.captions]}


def to_line(result: Result) -> str:
  """A result as a line of JSON, thumbnail included."""
  fields = as_fields(result)
  if result.thumbnail is not None:
    fields['thumbnail'] = base64.b64encode(result.thumbnail).decode('ascii')
  return json.dumps(fields) + '\n'


def from_line(line: str | bytes) -> Result:
  """Undoes `to_line`.

  Raises:
    ValueError: the line is nothing that it has written.
  """
  try:
    fields = json.loads(line)
    thumbnail = fields.get('thumbnail')
    return Result(
        os.fspath(fields['file']),
        tuple(Caption(caption['caption'], caption['log_probability'])
              for caption in fields.get('captions', ())),
        fields.get('error'),
        None if thumbnail is None else base64.b64decode(thumbnail))
  except (LookupError, TypeError, AttributeError) as error:
    raise ValueError(f'no result of a picture: {error!r}') from None
