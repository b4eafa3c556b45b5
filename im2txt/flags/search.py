"""Flags of the search, for every command line that captions."""

from typing import Any

from absl import flags

from im2txt.search import beam_search
from im2txt.search.rules import Rules
from im2txt.text import vocabulary

_BEAM_SIZE = flags.DEFINE_integer(
    'beam_size', 3, 'Partial captions kept at each step of the search.',
    lower_bound=1)
_MAX_CAPTION_LENGTH = flags.DEFINE_integer(
    'max_caption_length', 20, 'Longest caption in words, both markers '
    'counted.', lower_bound=2)
_MIN_CAPTION_LENGTH = flags.DEFINE_integer(
    'min_caption_length', 2, 'Shortest caption in words, both markers '
    'counted.', lower_bound=2)
_LENGTH_NORMALIZATION_FACTOR = flags.DEFINE_float(
    'length_normalization_factor', 0.0, 'Above 0, longer captions are '
    'favoured: log probabilities are divided by length to this power.',
    lower_bound=0.0)
_BANNED_WORDS = flags.DEFINE_list(
    'banned_words', [], 'Comma-separated words that no caption may have; for '
    "example '<UNK>'.")
_NO_REPEATED_TRIGRAMS = flags.DEFINE_boolean(
    'no_repeated_trigrams', False, 'No three words may come twice in a '
    'caption.')
_BEAM_GROUPS = flags.DEFINE_integer(
    'beam_groups', 1, 'Groups that share --beam_size and avoid each other\'s '
    'words, for captions that differ (diverse beam search).', lower_bound=1)
_DIVERSITY_STRENGTH = flags.DEFINE_float(
    'diversity_strength', 0.5, 'With --beam_groups: nats that a word costs '
    'for each earlier group\'s caption that has it at the same place.',
    lower_bound=0.0)


def rules(vocab: vocabulary.Vocabulary) -> Rules:
  """What captions may be.

  Args:
    vocab: of the model.

  Raises:
    ValueError: flags that contradict each other, or a word that there is not.
  """
  banned = [vocab.word_to_id(word) for word in _BANNED_WORDS.value]
  for word, word_id in zip(_BANNED_WORDS.value, banned, strict=True):
    if vocab.id_to_word(word_id) != word:
      raise ValueError(f'--banned_words: the vocabulary has no {word!r}')
  return Rules(
      vocab, _MAX_CAPTION_LENGTH.value, _MIN_CAPTION_LENGTH.value,
      tuple(banned), _NO_REPEATED_TRIGRAMS.value)


def options(num_captions: int | None = None) -> beam_search.Options:
  """How to search.

  Args:
    num_captions: of each image; None: as many as the beam has.

  Raises:
    ValueError: flags that contradict each other.
  """
  return beam_search.Options(
      _BEAM_SIZE.value, num_captions, _LENGTH_NORMALIZATION_FACTOR.value,
      _BEAM_GROUPS.value, _DIVERSITY_STRENGTH.value)


def settings() -> dict[str, Any]:
  """All of these flags and their values."""
  return {flag.name: flag.value for flag in (
      _BEAM_SIZE, _MAX_CAPTION_LENGTH, _MIN_CAPTION_LENGTH,
      _LENGTH_NORMALIZATION_FACTOR, _BANNED_WORDS, _NO_REPEATED_TRIGRAMS,
      _BEAM_GROUPS, _DIVERSITY_STRENGTH)}
