"""Caption styles: how captions are tokenized, and the marker words.

A style is saved beside the vocabulary that was counted with it, so that a
vocabulary always comes with its tokenization.
"""

import dataclasses
import json
import string
import unicodedata
from collections.abc import Callable
from typing import Any

from im2txt.files import atomic_files, file_system, json_files

_PUNCTUATION = str.maketrans('', '', string.punctuation)
# Keras's Tokenizer keeps < and >, which its markers contain. Here markers are
# added after tokenization, and must not occur in a caption itself.
_KERAS_FILTERS = str.maketrans(
    dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~', ' '))


_JOINERS = '\u200c\u200d'  # Between letters of Persian and Indian scripts.


def _nltk(caption: str) -> list[str]:
  # Here, for it takes seconds, and few commands tokenize.
  import nltk

  # `preserve_line` avoids the sentence splitter, whose model nltk would have to
  # download; the result differs at full stops inside a caption only.
  tokens: list[str] = nltk.word_tokenize(
      caption.lower(), preserve_line=True)
  return tokens


def _clean(caption: str) -> list[str]:
  tokens = (token.translate(_PUNCTUATION) for token in caption.lower().split())
  return [token for token in tokens
          if len(token) > 1 and all(map(_is_of_a_word, token))]


def _is_of_a_word(character: str) -> bool:
  """Return whether a character is a letter, or a mark or joiner of letters."""
  return (character.isalpha() or character in _JOINERS
          or unicodedata.category(character).startswith('M'))


def _keras(caption: str) -> list[str]:
  return caption.lower().translate(_KERAS_FILTERS).split()


@dataclasses.dataclass(frozen=True)
class _Tokenization:
  """A tokenizer and the marker words that are common with it."""

  split: Callable[[str], list[str]]
  start_word: str
  end_word: str
  unknown_word: str
  # Whether the tokens keep all words of the caption.
  faithful: bool = False


_TOKENIZATIONS = {
    'nltk': _Tokenization(_nltk, '<S>', '</S>', '<UNK>', faithful=True),
    'clean': _Tokenization(_clean, 'startseq', 'endseq', '<unk>'),
    'keras': _Tokenization(_keras, '<start>', '<end>', '<unk>'),
}
NAMES = tuple(_TOKENIZATIONS)


@dataclasses.dataclass(frozen=True)
class CaptionStyle:
  """A style with its markers; see `named`.

  Attributes:
    name: one of `NAMES`:
      nltk: lower-cased nltk tokens, as im2txt has them.
      clean: lower case, punctuation taken out of each token, then tokens of
        one letter and those that are not all letters (and their marks) dropped
        (Brownlee's and Lamba's Keras tutorials).
      keras: lower case, with a blank for every character that Keras's
        Tokenizer filters.
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
    if self.name not in _TOKENIZATIONS:
      raise ValueError(f'caption style is {self.name!r}; it must be one of '
                       f'{", ".join(NAMES)}')
    if len(set(markers)) < 3 or any(word.split() != [word]
                                    for word in markers):
      raise ValueError('start, end and unknown word must be three different '
                       f'words, not {markers}')

  @property
  def faithful(self) -> bool:
    """Whether the tokens keep all words of a caption."""
    return _TOKENIZATIONS[self.name].faithful

  def tokenize(self, caption: str) -> list[str]:
    """Return the caption's tokens between start and end marker."""
    markers = (self.start_word, self.end_word)
    # A letter with its accent is one character, however it was typed.
    caption = unicodedata.normalize('NFC', caption)
    # What programs put at the start of a text is not a part of its first word.
    caption = caption.replace('\ufeff', '')
    return [self.start_word, *(
        word for word in _TOKENIZATIONS[self.name].split(caption)
        if word not in markers), self.end_word]


def named(
    name: str,
    start_word: str | None = None,
    end_word: str | None = None,
    unknown_word: str | None = None,
) -> CaptionStyle:
  """Make a style with its usual markers or others.

  Args:
    name: one of `NAMES`.
    start_word: None: the style's usual one; likewise the next two.
    end_word: see `start_word`.
    unknown_word: see `start_word`.

  Raises:
    ValueError: the name is unknown, or the markers are not three different
      words.
  """
  usual = _TOKENIZATIONS.get(name, _TOKENIZATIONS['nltk'])
  return CaptionStyle(
      name,
      usual.start_word if start_word is None else start_word,
      usual.end_word if end_word is None else end_word,
      usual.unknown_word if unknown_word is None else unknown_word)


def path_of(vocab_file: str) -> str:
  """Return the path of the style of a vocabulary."""
  # Only .txt is removed: other suffixes may distinguish vocabularies of one
  # folder.
  return f'{vocab_file.removesuffix(".txt")}.style.json'


def write(vocab_file: str, style: CaptionStyle) -> None:
  """Write the style beside the vocabulary, atomically."""
  with atomic_files.write(path_of(vocab_file)) as f:
    json.dump(dataclasses.asdict(style), f, indent=1)
    f.write('\n')


def read(vocab_file: str) -> CaptionStyle | None:
  """Read the style of a vocabulary.

  Returns:
    None if it has none, as a vocabulary of im2txt.

  Raises:
    ValueError: the file is not a caption style.
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
