"""Vocabulary files, and the mapping of words to ids.

A vocabulary file has a line `word count` for each word, most frequent first;
a word's id is its line number, counted from 0. The unknown word is not in the
file; its id is the next one.
"""

import ast
import os
import re
from collections.abc import Iterable, Mapping

from absl import logging

from im2txt.files import atomic_files, text_files
from im2txt.text import caption_styles

# Name of the file beside shards, and of its copy in run folders.
FILE_NAME = 'word_counts.txt'


def most_frequent(
    counts: Mapping[str, int], max_words: int | None = None
) -> list[tuple[str, int]]:
  """Return words and their counts, most frequent first, ties by word.

  Args:
    counts: by word.
    max_words: how many to keep; None: all.
  """
  return sorted(counts.items(), key=lambda word_count: (
      -word_count[1], word_count[0]))[:max_words]


def write_word_counts(path: str, counts: list[tuple[str, int]]) -> None:
  """Write a vocabulary file atomically."""
  with atomic_files.write(path) as f:
    f.writelines(f'{word} {count}\n' for word, count in counts)


def copy(vocab_file: str, folder: str) -> None:
  """Copy a vocabulary, and its caption style if it has one, to a folder.

  Args:
    vocab_file: the vocabulary.
    folder: where the copy is named `FILE_NAME`.
  """
  target = os.path.join(folder, FILE_NAME)
  style = caption_styles.read(vocab_file)
  if style:
    caption_styles.write(target, style)
  atomic_files.copy(vocab_file, target)


def read_counts(vocab_file: str) -> list[int]:
  """Return the count of each word in the training captions, by id.

  Raises:
    OSError: the file cannot be read.
    ValueError: a line has no count.
  """
  counts = []
  for number, line in text_files.lines(vocab_file):
    count = ''.join(line.split()[1:2])
    if not re.fullmatch('[0-9]{1,18}', count):  # Fits int64.
      raise ValueError(f'{vocab_file}:{number}: no count behind the word')
    counts.append(int(count))
  return counts


def read_words(vocab_file: str) -> list[str]:
  """Return the words of a vocabulary file by id, the unknown one left out.

  Raises:
    OSError: the file cannot be read.
    ValueError: it has an empty line.
  """
  words = []
  for number, line in text_files.lines(vocab_file):
    if not line.strip():
      raise ValueError(f'{vocab_file}:{number}: empty line; each line is '
                       'a word and its count, and its number is the id')
    words.append(line.split()[0])
  return words


class Vocabulary:
  """The words of a vocabulary file.

  Attributes:
    start_id: id of the word that starts every caption.
    end_id: id of the word that ends every caption.
    unk_id: id of the unknown word.
  """

  def __init__(
      self,
      vocab_file: str,
      start_word: str = '<S>',
      end_word: str = '</S>',
      unk_word: str = '<UNK>',
  ):
    """Read a vocabulary file.

    Args:
      vocab_file: lines `word count` (the count is optional). Files that
        Python 3 ports of im2txt wrote as `b'a' 969108` are read too, with a
        warning.
      start_word: starts every caption.
      end_word: ends every caption.
      unk_word: stands for every word that is not in the file.

    Raises:
      OSError: the file cannot be read.
      ValueError: it has no markers, an empty line or a word twice.
    """
    words = read_words(vocab_file)
    if start_word not in words and f"b'{start_word}'" in words:
      logging.warning("%s has words written as b'...'; reading them as text",
                      vocab_file)
      words = [_unquote_bytes(word) for word in words]
    self._ids = {word: i for i, word in enumerate(words)}
    if len(self._ids) < len(words):
      twice = next(w for i, w in enumerate(words) if self._ids[w] != i)
      raise ValueError(f'{vocab_file}: the word {twice!r} stands twice')
    for marker in (start_word, end_word):
      if marker not in self._ids:
        raise ValueError(f'{vocab_file} does not have the marker {marker!r}; '
                         'is it a word_counts.txt of this project or im2txt?')
    if unk_word not in self._ids:
      self._ids[unk_word] = len(words)
      words.append(unk_word)
    self._words = words
    self.start_id = self._ids[start_word]
    self.end_id = self._ids[end_word]
    self.unk_id = self._ids[unk_word]

  def __len__(self) -> int:
    """Return the number of ids, the unknown word's included."""
    return len(self._words)

  def __eq__(self, other: object) -> bool:
    """Return whether another vocabulary has the same words of the same ids."""
    return isinstance(other, Vocabulary) and self._words == other._words

  def __hash__(self) -> int:
    """Return a hash of the words."""
    return hash(tuple(self._words))

  def word_to_id(self, word: str) -> int:
    """Return the word's id, or the unknown word's."""
    return self._ids.get(word, self.unk_id)

  def id_to_word(self, word_id: int) -> str:
    """Return the id's word, or the unknown word for an id out of range."""
    if not 0 <= word_id < len(self._words):
      word_id = self.unk_id
    return self._words[word_id]

  def to_sentence(self, word_ids: Iterable[int]) -> str:
    """Return the words of a caption without its markers, joined by blanks."""
    return ' '.join(self.id_to_word(word) for word in word_ids
                    if word not in (self.start_id, self.end_id))


def _unquote_bytes(word: str) -> str:
  # str(b'caf\xc3\xa9') wrote escapes. Accept exactly one bytes literal:
  # `b'a','b'` would evaluate, too.
  if not re.fullmatch(r"""b(['"])(?:(?!\1)[^\\]|\\.)*\1""", word):
    return word
  try:
    quoted: bytes = ast.literal_eval(word)
  except (SyntaxError, ValueError):
    return word
  return quoted.decode('utf-8', 'replace')
