"""What parsers are given: whole files, and whole files gone wrong.

A file of random bytes is refused at its first; one that was whole before a few
places of it were changed reaches the parser's last line.
"""

import copy
import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

# What the standard library and the formats here stumble over, beside the
# characters that hypothesis likes anyhow.
_ODD = ('\0', '\t', '\n', '\r', '\x0b', '\x0c', '\x1c', '\x85', '\xa0', '\xad',
        '\u2028', '\ufeff', '\ud800', '\udcff', 'İ', '²', '１', '"', "'", '#',
        '../', '/', '<S>', '</S>', "b'a'", '-', '.', ',', '{', '[')
_NUMBERS = (0, -1, True, 2**31, 2**63, -2**63 - 1, 10**400, 0.5, -0.0, 1e308,
            float('nan'), float('inf'))


def texts(max_size: int = 20) -> st.SearchStrategy[str]:
  """Text that may be broken: half characters, controls, blanks of any kind."""
  # Two halves that meet are a whole character, to JSON.
  return st.lists(
      st.sampled_from(_ODD) | st.characters(), max_size=max_size
      ).map(lambda parts: ''.join(parts).encode(
          'utf-16', 'surrogatepass').decode('utf-16', 'surrogatepass'))


def whole_texts(max_size: int = 20) -> st.SearchStrategy[str]:
  """Text that can be written as UTF-8."""
  return texts(max_size).map(
      lambda text: text.encode(errors='ignore').decode())


def words() -> st.SearchStrategy[str]:
  """Text without a blank, as vocabularies have it."""
  return whole_texts(8).map(lambda text: ''.join(text.split())).filter(bool)


def json_values() -> st.SearchStrategy[Any]:
  """Any value that JSON has, as Python reads it."""
  leaves = (st.none() | st.booleans() | st.sampled_from(_NUMBERS)
            | st.integers() | st.floats() | texts(6))
  return st.recursive(leaves, lambda inner: (
      st.lists(inner, max_size=3)
      | st.dictionaries(texts(6), inner, max_size=3)), max_leaves=5)


@st.composite
def changed_json(draw: st.DrawFn, whole: Any) -> bytes:
  """JSON of a value of which up to three parts are others, or missing.

  Args:
    draw: hypothesis's.
    whole: a value that the parser takes.
  """
  root = [copy.deepcopy(whole)]
  for _ in range(draw(st.integers(0, 3))):
    holder, key = draw(st.sampled_from(list(_places(root))))
    change = draw(st.sampled_from(['replace', 'remove', 'repeat', 'nest']))
    if change == 'remove' and holder is not root:
      del holder[key]
    elif change == 'repeat' and isinstance(holder, list):
      holder.append(copy.deepcopy(holder[key]))
    elif change == 'nest':
      holder[key] = [holder[key]]
    else:
      holder[key] = draw(json_values())
  text = json.dumps(root[0])
  # Neither can stand in a value: both are more than Python's JSON reads.
  odd = draw(st.sampled_from(['', '', '', '[' * 100_000, '9' * 5_000]))
  if odd:
    text = text.replace('0', odd, 1) if '0' in text else odd
  return text.encode()


def _places(holder: list | dict) -> list[tuple[list | dict, int | str]]:
  keys = range(len(holder)) if isinstance(holder, list) else list(holder)
  found = []
  for key in keys:
    found.append((holder, key))
    if isinstance(holder[key], list | dict):
      found += _places(holder[key])
  return found


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
  """Bytes of which up to four places are changed, put in or cut out."""
  data = bytearray(whole)
  for _ in range(draw(st.integers(0, 4))):
    at = draw(st.integers(0, len(data)))
    until = at + draw(st.sampled_from([0, 1, 2, 8, len(data)]))
    data[at:until] = draw(
        st.binary(max_size=9)
        | st.sampled_from([b'\n', b'\t', b'\0', b'\xff', b'\xef\xbb\xbf',
                           bytes(data[:20])]))
  return bytes(data)


@st.composite
def texts_gone_wrong(draw: st.DrawFn, lines: st.SearchStrategy[str]) -> bytes:
  """A file of lines, some of them anything, and then a few bytes changed."""
  found = draw(st.lists(lines | lines | texts(), max_size=6))
  end = draw(st.sampled_from(['\n', '\r\n', '']))
  return draw(damaged('\n'.join(found).encode(errors='surrogatepass')
                      + end.encode()))


def read_or_refuse(read: Callable[[str], Any], path: str, data: bytes) -> Any:
  """What a reader makes of a file; None: it says what is wrong with it.

  Args:
    read: raises ValueError or OSError, and nothing else, of a bad file.
    path: where to write the file, which the message must name.
    data: its bytes.
  """
  with open(path, 'wb') as f:
    f.write(data)
  try:
    return read(path)
  except (ValueError, OSError) as error:
    assert path in str(error), repr(error)
    return None
