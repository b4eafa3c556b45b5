"""How captions become words, and which markers stand around them.

A style is kept beside the vocabulary that was counted with it, so that whoever
has the words knows what was done to captions.
"""

import dataclasses
import json
import string
from collections.abc import Callable
from typing import Any

import nltk

from im2txt.files import atomic_files, file_system, json_files

_PUNCTUATION = str.maketrans('', '', string.punctuation)
# Keras's Tokenizer leaves < and >, which are for its markers; ours are added
# later, and no caption may have one of its own.
_KERAS_FILTERS = str.maketrans(
    dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~', ' '))


def _nltk(caption: str) -> list[str]:
  # `preserve_line` spares the sentence splitter, whose model nltk would have
  # to download; it differs at full stops inside a caption only.
  tokens: list[str] = nltk.word_tokenize(
      caption.lower(), preserve_line=True)
  return tokens


def _clean(caption: str) -> list[str]:
  tokens = (token.translate(_PUNCTUATION) for token in caption.lower().split())
  return [token for token in tokens if len(token) > 1 and token.isalpha()]


def _keras(caption: str) -> list[str]:
  return caption.lower().translate(_KERAS_FILTERS).split()


@dataclasses.dataclass(frozen=True)
class _Way:
  """A way to split captions and the markers that it is known with."""

  split: Callable[[str], list[str]]
  start_word: str
  end_word: str
  unknown_word: str
  # Whether the words say all that the caption does.
  faithful: bool = False


_WAYS = {
    'nltk': _Way(_nltk, '<S>', '</S>', '<UNK>', faithful=True),
    'clean': _Way(_clean, 'startseq', 'endseq', '<unk>'),
    'keras': _Way(_keras, '<start>', '<end>', '<unk>'),
}
NAMES = tuple(_WAYS)


@dataclasses.dataclass(frozen=True)
class CaptionStyle:
  """A style with its markers; see `named`.

  Attributes:
    name: one of `NAMES`:
      nltk: lower-cased nltk tokens, as im2txt has them.
      clean: lower case, punctuation taken out of each token, then tokens of
        one letter and those that are not all letters dropped (Brownlee's and
        Lamba's Keras tutorials).
      keras: lower case, every sign that Keras's Tokenizer filters a blank.
    start_word: starts every caption.
    end_word: ends every caption.
    unknown_word: stands for every word that is not in the vocabulary.
  """

  name: str
  start_word: str
  end_word: str
  unknown_word: str

  def __post_init__(self) -> None:
    markers = (self.start_word, self.end_word, self.unknown_word)
    if self.name not in _WAYS:
      raise ValueError(f'caption style is {self.name!r}; it must be one of '
                       f'{", ".join(NAMES)}')
    if len(set(markers)) < 3 or any(word.split() != [word]
                                    for word in markers):
      raise ValueError('start, end and unknown word must be three different '
                       f'words, not {markers}')

  @property
  def faithful(self) -> bool:
    """Whether the words of a caption say all that it does."""
    return _WAYS[self.name].faithful

  def tokenize(self, caption: str) -> list[str]:
    """The caption's words between the two markers."""
    markers = (self.start_word, self.end_word)
    return [self.start_word, *(
        word for word in _WAYS[self.name].split(caption)
        if word not in markers), self.end_word]


def named(
    name: str,
    start_word: str | None = None,
    end_word: str | None = None,
    unknown_word: str | None = None,
) -> CaptionStyle:
  """Makes a style.

  Args:
    name: one of `NAMES`.
    start_word: None: the one that the style is known with; likewise the next.
    end_word: see there.
    unknown_word: see there.

  Raises:
    ValueError: there is no such style, or the markers are not three words.
  """
  way = _WAYS.get(name, _WAYS['nltk'])
  return CaptionStyle(
      name,
      way.start_word if start_word is None else start_word,
      way.end_word if end_word is None else end_word,
      way.unknown_word if unknown_word is None else unknown_word)


def path_of(vocab_file: str) -> str:
  """Where the style of a vocabulary lies."""
  # Any other ending may tell this vocabulary from the one beside it.
  return f'{vocab_file.removesuffix(".txt")}.style.json'


def write(vocab_file: str, style: CaptionStyle) -> None:
  """Writes the style beside the vocabulary, whole or not at all."""
  with atomic_files.write(path_of(vocab_file)) as f:
    json.dump(dataclasses.asdict(style), f, indent=1)
    f.write('\n')


def read(vocab_file: str) -> CaptionStyle | None:
  """Reads the style of a vocabulary; None: it has none, as im2txt's.

  Raises:
    ValueError: the file is no style.
    OSError: it cannot be read.
  """
  path = path_of(vocab_file)
  if not file_system.exists(path):
    return None
  fields: Any = json_files.read(path)
  try:
    return CaptionStyle(**fields)
  except (TypeError, ValueError, AttributeError) as error:
    raise ValueError(f'{path} is no caption style: {error}') from None
