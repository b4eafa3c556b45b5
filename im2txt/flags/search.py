"""Flags of the search, for every command that captions."""

from typing import Any

from absl import flags

from im2txt.search import beam_search
from im2txt.search.rules import Rules
from im2txt.text import vocabulary

# The flags are the command's that constructs them, and in its --help.
flags.disclaim_key_flags()


class SearchFlags:
  """Flags of the search."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.beam_size = flags.DEFINE_integer(
        'beam_size', 3, 'Partial captions kept at each step of the search.',
        lower_bound=1, flag_values=values)
    self.max_caption_length = flags.DEFINE_integer(
        'max_caption_length', 20, 'Longest caption in words, both markers '
        'counted.', lower_bound=2, flag_values=values)
    self.min_caption_length = flags.DEFINE_integer(
        'min_caption_length', 2, 'Shortest caption in words, both markers '
        'counted.', lower_bound=2, flag_values=values)
    self.length_normalization_factor = flags.DEFINE_float(
        'length_normalization_factor', 0.0, 'Above 0, longer captions are '
        'favoured: log probabilities are divided by length to this power.',
        lower_bound=0.0, flag_values=values)
    self.banned_words = flags.DEFINE_list(
        'banned_words', [], 'Comma-separated words that no caption may have; '
        "for example '<UNK>'.", flag_values=values)
    self.no_repeated_trigrams = flags.DEFINE_boolean(
        'no_repeated_trigrams', False, 'No three words may come twice in a '
        'caption.', flag_values=values)
    self.beam_groups = flags.DEFINE_integer(
        'beam_groups', 1, 'Groups that share --beam_size and avoid each '
        "other's words, for captions that differ (diverse beam search).",
        lower_bound=1, flag_values=values)
    self.diversity_strength = flags.DEFINE_float(
        'diversity_strength', 0.5, 'With --beam_groups: nats that a word costs '
        "for each earlier group's caption that has it at the same place.",
        lower_bound=0.0, flag_values=values)

  def rules(self, vocab: vocabulary.Vocabulary) -> Rules:
    """Return what captions may be.

    Args:
      vocab: of the model.

    Raises:
      ValueError: flags contradict each other, or the vocabulary lacks a word.
    """
    banned = [vocab.word_to_id(word) for word in self.banned_words.value]
    for word, word_id in zip(self.banned_words.value, banned, strict=True):
      if vocab.id_to_word(word_id) != word:
        raise ValueError(f'--banned_words: the vocabulary has no {word!r}')
    return Rules(
        vocab, self.max_caption_length.value, self.min_caption_length.value,
        tuple(banned), self.no_repeated_trigrams.value)

  def options(self, num_captions: int | None = None) -> beam_search.Options:
    """Return how to search.

    Args:
      num_captions: of each image; None: as many as the beam has.

    Raises:
      ValueError: flags that contradict each other.
    """
    return beam_search.Options(
        self.beam_size.value, num_captions,
        self.length_normalization_factor.value, self.beam_groups.value,
        self.diversity_strength.value)

  def settings(self) -> dict[str, Any]:
    """Return the values of all of these flags by their names."""
    return {flag.name: flag.value for flag in (
        self.beam_size, self.max_caption_length, self.min_caption_length,
        self.length_normalization_factor, self.banned_words,
        self.no_repeated_trigrams, self.beam_groups, self.diversity_strength)}
