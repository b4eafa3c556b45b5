"""Tell images apart, and find them, by the ends of their paths."""

import collections
import os
import re
from collections.abc import Iterable, Sequence

from im2txt.text import caption_json


class ImageNames:
  """Names of images, of which one is found by another path to it.

  `dogs/rex.jpg` is found by `/data/dogs/rex.jpg` and by `rex.jpg`, unless there
  is also `cats/rex.jpg`.
  """

  def __init__(self, names: Iterable[str]):
    self._names = collections.Counter(iter(names))
    self._of_base: dict[str, list[str]] = {}
    for name in self._names:
      self._of_base.setdefault(os.path.basename(name), []).append(name)

  def find(self, path: str) -> str | None:
    """Find the name that has most of the end of a path.

    Returns:
      None if no name ends like it.

    Raises:
      ValueError: several names end like it, or the same name is there twice.
    """
    best = [path]
    if path not in self._names:
      candidates = self._of_base.get(os.path.basename(path), [])
      lengths = [_common_end(name, path) for name in candidates]
      best = [name for name, length in zip(candidates, lengths, strict=True)
              if length == max(lengths)]
    if len(best) > 1 or best and self._names[best[0]] > 1:
      number = max(len(best), self._names[best[0]])
      raise ValueError(f'image {path!r} may be any of {number} images'
                       f' ({", ".join(best[:3])})')
    return best[0] if best else None


def numbers(names: Sequence[str]) -> list[int] | None:
  """Return the number that each file name begins with.

  It is what stands before the first `_` or `.`, Flickr's own image id in
  1000268201_693b08cb0e.jpg.

  Returns:
    None if a name has none, or two have the same.
  """
  matches = [re.match(r'([0-9]{1,19})[_.]', os.path.basename(name))
             for name in names]
  found = [int(match[1]) for match in matches if match]
  if (len(set(found)) == len(names)
      and max(found, default=0) <= caption_json.MAX_INT64):
    return found
  return None


def shortest(paths: Iterable[str]) -> dict[str, str]:
  """Return the shortest ends of paths that tell them apart, by path."""
  names = {path: os.path.basename(path) for path in paths}
  while True:
    uses = collections.Counter(names.values())
    longer = {path: _end(path, name.count('/') + 2)
              for path, name in names.items() if uses[name] > 1}
    longer = {path: name for path, name in longer.items()
              if name != names[path]}
    if not longer:
      return names
    names |= longer


def _end(path: str, number: int) -> str:
  return '/'.join(path.split('/')[-number:])


def _common_end(name: str, path: str) -> int:
  """Return how many parts at their ends two paths share."""
  number = 0
  for part, other in zip(
      reversed(name.split('/')), reversed(path.split('/')), strict=False):
    if part != other:
      break
    number += 1
  return number
