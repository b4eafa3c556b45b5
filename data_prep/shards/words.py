"""Count the words of captions, and choose those of a vocabulary."""

import collections
import dataclasses
import functools
import statistics
import unicodedata
from collections.abc import Iterable, Sequence

from absl import logging

from data_prep.runners.runner import Label, Runner
from im2txt import configuration
from im2txt.text import caption_styles, vocabulary

# im2txt's: rarer words do not get into the vocabulary.
USUAL_MIN_COUNT = 4
_FEW = 0.05   # Share of unknown words that a default does not exceed.
_MANY = 0.10  # Share of which a warning is given.
# Words of a caption at most, markers counted: training reads no longer ones.
MAX_WORDS = configuration.ModelConfig.max_sequence_length
# Counted beside words, which have neither blanks nor no letters at all.
_EMPTIED, _CUT = '', ' '
# Scripts that are written without blanks between words.
_UNSEPARATED = {
    'CJK': 'Chinese or Japanese', 'HIRAGANA': 'Japanese',
    'KATAKANA': 'Japanese', 'THAI': 'Thai', 'LAO': 'Lao', 'KHMER': 'Khmer',
    'MYANMAR': 'Burmese', 'TIBETAN': 'Tibetan'}
_SAMPLE = 2000       # Captions that are looked at.
_LONG_WORD = 6       # Letters; words of these scripts have two to five.


@dataclasses.dataclass(frozen=True)
class WordCounts:
  """How often each word occurs in captions, markers left out."""

  words: collections.Counter[str]
  num_captions: int
  num_emptied: int  # Captions of which the style leaves no word.
  num_cut: int      # Captions longer than MAX_WORDS.

  def unknown_share(self, known: Iterable[str]) -> float:
    """Return which share of the words a vocabulary does not have."""
    total = self.words.total()
    return 1 - sum(self.words[word] for word in known) / total if total else 0.0

  def share_below(self, min_count: int) -> float:
    """Return which share of the words is rarer than `min_count`."""
    total = self.words.total()
    return sum(count for count in self.words.values()
               if count < min_count) / total if total else 0.0


def tokenize(caption: str, style: caption_styles.CaptionStyle) -> list[str]:
  """Return the words of a caption, markers included, at most MAX_WORDS."""
  return _cut(_split(caption, style))


def _split(caption: str, style: caption_styles.CaptionStyle) -> list[str]:
  # A token may contain a blank; a line of a vocabulary file cannot.
  return ' '.join(style.tokenize(caption)).split()


def _cut(words: list[str]) -> list[str]:
  return words if len(words) <= MAX_WORDS else [
      *words[:MAX_WORDS - 1], words[-1]]


def _observe(caption: str, style: caption_styles.CaptionStyle) -> list[str]:
  """Return what is counted of a caption."""
  words = _split(caption, style)
  return [*_cut(words), *[_CUT] * (len(words) > MAX_WORDS),
          *[_EMPTIED] * (len(words) == 2)]


def count(
    runner: Runner, captions: Sequence[str], style: caption_styles.CaptionStyle
) -> WordCounts:
  """Count the words of captions; say what is odd about them.

  Raises:
    ValueError: there are no blanks between their words, or no words at all.
  """
  check_separated(captions)
  counts = runner.count_words(
      functools.partial(_observe, style=style), captions,
      Label('counting words', 'caption'))
  found = WordCounts(
      collections.Counter({
          word: number for word, number in counts.items() if word not in (
              _EMPTIED, _CUT, style.start_word, style.end_word)}),
      len(captions), counts[_EMPTIED], counts[_CUT])
  if not found.words:
    raise ValueError(f'the {len(captions)} captions of training have no words '
                     f'in the caption style {style.name}')
  if found.num_emptied:
    logging.warning(
        '%d captions have no word in the caption style %s and are empty',
        found.num_emptied, style.name)
  if found.num_cut:
    logging.warning('%d captions are longer than %d words and are cut there',
                    found.num_cut, MAX_WORDS)
  return found


def choose(
    counts: WordCounts, style: caption_styles.CaptionStyle,
    min_count: int | None, max_words: int | None,
) -> list[tuple[str, int]]:
  """Choose the words of a vocabulary.

  Args:
    counts: of the captions of training.
    style: its markers are words, too.
    min_count: rarer words are left out. None: USUAL_MIN_COUNT, or the greatest
      number that leaves out few words of a small data set.
    max_words: how many to keep, both markers counted; None: all.

  Returns:
    Words and their counts, most frequent first.

  Raises:
    ValueError: no word is left.
  """
  if min_count is None:
    min_count = _default_min_count(counts)
    if min_count < USUAL_MIN_COUNT:
      logging.info(
          'there are few captions: a word gets into the vocabulary if they have'
          ' it %d times (--min_word_count=%d)', min_count, min_count)
  kept = {word: number for word, number in counts.words.items()
          if number >= min_count}
  if not kept:
    raise ValueError(
        f'--min_word_count={min_count} leaves no words: the most frequent one '
        f'of the captions is there {max(counts.words.values())} times')
  markers = dict.fromkeys(
      (style.start_word, style.end_word), counts.num_captions)
  return vocabulary.most_frequent(kept | markers, max_words)


def _default_min_count(counts: WordCounts) -> int:
  return next((n for n in range(USUAL_MIN_COUNT, 1, -1)
               if counts.share_below(n) <= _FEW), 1)


def report(
    counts: WordCounts, vocab: vocabulary.Vocabulary, unknown_word: str,
    is_counted: bool,
) -> None:
  """Say which share of the words becomes the unknown word.

  Args:
    counts: of the captions.
    vocab: the vocabulary.
    unknown_word: stands for words that are not in it.
    is_counted: whether the vocabulary is of these captions.
  """
  known = [word for word in counts.words
           if vocab.word_to_id(word) != vocab.unk_id]
  share = counts.unknown_share(known)
  logging.info('%.1f %% of the words of the captions are not in the vocabulary '
               'and become %s', 100 * share, unknown_word)
  if share > _MANY:
    advice = ('the vocabulary is of other captions; without --vocab_file a new '
              'one is made')
    if is_counted:
      needed = len(counts.words) + 2
      number = _default_min_count(counts)
      advice = (f'--min_word_count={number} without --max_words keeps '
                f'{100 * (1 - counts.share_below(number)):.0f} % of them')
      if len(vocab) < needed:
        advice += f', --max_words={needed} with --min_word_count=1 all'
    logging.warning('%.0f %% of the words become %s, and a model that is '
                    'trained on these captions will say it: %s',
                    100 * share, unknown_word, advice)


def check_separated(captions: Sequence[str]) -> None:
  """Refuse captions in a script that has no blanks between words.

  Raises:
    ValueError: they have none.
  """
  letters = 0
  scripts: collections.Counter[str] = collections.Counter()
  words: list[int] = []
  alone = 0
  for caption in captions[:_SAMPLE]:
    tokens = caption.split()
    alone += len(tokens) == 1
    for token in tokens:
      found = [script for character in token if character.isalpha()
               for script in [_script(character)]]
      letters += len(found)
      unseparated = [script for script in found if script in _UNSEPARATED]
      scripts.update(unseparated)
      if unseparated:
        words.append(len(unseparated))
  if scripts.total() * 2 <= letters or not words:
    return
  if statistics.mean(words) > _LONG_WORD or (
      alone * 2 > min(len(captions), _SAMPLE)):
    [(script, _)] = scripts.most_common(1)
    raise ValueError(
        f'the captions are {_UNSEPARATED[script]} without blanks between words '
        f'(such as {next(filter(str.strip, captions))[:40]!r}), so that each '
        'would be one word; put blanks between their words first, for example '
        'with jieba, MeCab or PyThaiNLP')


@functools.cache
def _script(letter: str) -> str:
  return unicodedata.name(letter, '').split(' ')[0]
