"""The step-by-step search: im2txt's own test, its edges, and its algorithm."""

import heapq
import math

import numpy as np
import pytest
from word_graph import WORD_GRAPH, FakeVocab, SizedVocab

from benchmarks import classic_search
from im2txt.caption_generator import Caption, CaptionGenerator, TopN


class FakeModel:
  """A word graph: what follows a word, whatever came before it."""

  def __init__(self, probabilities, vocab_size=12):
    self._probabilities = probabilities
    self._vocab_size = vocab_size

  def feed_image(self, sess, encoded_image):
    return np.zeros([1, 1])

  def inference_step(self, sess, input_feed, state_feed):
    softmax = np.zeros([len(input_feed), self._vocab_size])
    for row, word in zip(softmax, input_feed, strict=True):
      for next_word, probability in self._probabilities[word].items():
        row[next_word] = probability
    return softmax, np.zeros([len(input_feed), 1]), None


def search(probabilities=None, vocab=None, **kwargs):
  """Sentences with their probabilities, best first."""
  generator = CaptionGenerator(
      FakeModel(probabilities or WORD_GRAPH), vocab or FakeVocab(), **kwargs)
  captions = generator.beam_search(None, b'image')
  assert captions == sorted(captions, reverse=True)
  return [(caption.sentence, math.exp(caption.logprob))
          for caption in captions]


def assert_found(found, expected):
  assert [s for s, _ in found] == [s for s, _ in expected]
  np.testing.assert_allclose([p for _, p in found], [p for _, p in expected])


def test_beam_of_1():
  assert_found(search(beam_size=1), [([0, 4, 10, 1], 0.16)])


def test_beam_of_2():
  assert_found(search(beam_size=2),
               [([0, 4, 10, 1], 0.16), ([0, 3, 8, 1], 0.15)])


def test_beam_of_3_is_the_default():
  expected = [([0, 2, 6, 1], 0.18), ([0, 4, 10, 1], 0.16),
              ([0, 3, 8, 1], 0.15)]
  assert_found(search(beam_size=3), expected)
  assert_found(search(), expected)


def test_beam_of_all_finds_every_caption():
  # Each beam proposes 12 words: nothing is cut off.
  assert_found(search(beam_size=12), [
      ([0, 2, 6, 1], 0.18), ([0, 4, 10, 1], 0.16), ([0, 3, 8, 1], 0.15),
      ([0, 4, 1], 0.12), ([0, 3, 7, 1], 0.12), ([0, 1], 0.1),
      ([0, 4, 9, 1], 0.06), ([0, 4, 9, 11, 1], 0.06), ([0, 3, 1], 0.03),
      ([0, 2, 5, 1], 0.02)])


def test_an_end_takes_no_place_among_the_partial_captions():
  graph = {0: {1: 0.5, 2: 0.3, 3: 0.2}, 2: {1: 1.0}, 3: {1: 1.0}}
  # Of three proposals one ends; both others go on in a beam of 3, and the
  # better one of a beam of 2 (which had two proposals) does.
  assert_found(search(graph, beam_size=3),
               [([0, 1], 0.5), ([0, 2, 1], 0.3), ([0, 3, 1], 0.2)])
  assert_found(search(graph, beam_size=2), [([0, 1], 0.5), ([0, 2, 1], 0.3)])


def test_search_goes_on_after_the_first_caption_has_ended():
  graph = {0: {1: 0.2, 2: 0.8}, 2: {2: 0.9, 1: 0.1}}
  found = search(graph, beam_size=2, max_caption_length=6)
  assert_found(found, [([0, 1], 0.2), ([0, 2, 1], 0.08)])
  # Had it stopped at once, only one would have been found.
  graph[2] = {2: 0.5, 1: 0.5}
  assert_found(search(graph, beam_size=2, max_caption_length=6),
               [([0, 2, 1], 0.4), ([0, 1], 0.2)])


def test_search_ends_when_every_caption_has():
  graph = {0: {1: 1.0}}  # A second step would raise KeyError.
  assert_found(search(graph, beam_size=1), [([0, 1], 1.0)])


def test_length_normalization_favours_longer_captions():
  found = search(beam_size=12, length_normalization_factor=3.0)
  scores = {(0, 2, 6, 1): math.log(0.18) / 4 ** 3,
            (0, 4, 10, 1): math.log(0.16) / 4 ** 3,
            (0, 3, 8, 1): math.log(0.15) / 4 ** 3,
            (0, 4, 1): math.log(0.12) / 3 ** 3,
            (0, 3, 7, 1): math.log(0.12) / 4 ** 3,
            (0, 1): math.log(0.1) / 2 ** 3,
            (0, 4, 9, 1): math.log(0.06) / 4 ** 3,
            (0, 4, 9, 11, 1): math.log(0.06) / 5 ** 3,
            (0, 3, 1): math.log(0.03) / 3 ** 3,
            (0, 2, 5, 1): math.log(0.02) / 4 ** 3}
  by_score = sorted(scores, key=scores.get, reverse=True)
  assert by_score[0] == (0, 4, 9, 11, 1)
  assert [tuple(sentence) for sentence, _ in found] == by_score


def test_length_normalization_changes_scores_not_probabilities():
  [best, *_] = CaptionGenerator(
      FakeModel(WORD_GRAPH), FakeVocab(), beam_size=3,
      length_normalization_factor=0.5).beam_search(None, b'')
  assert best.sentence == [0, 2, 6, 1]
  assert best.logprob == pytest.approx(math.log(0.18))
  assert best.score == pytest.approx(math.log(0.18) / 2.0)


def test_scores_of_unfinished_captions_are_not_normalized():
  captions = CaptionGenerator(
      FakeModel(WORD_GRAPH), FakeVocab(), max_caption_length=2,
      length_normalization_factor=5.0).beam_search(None, b'')
  assert [c.score for c in captions] == [c.logprob for c in captions]
  assert captions[0].score == pytest.approx(math.log(0.4))


@pytest.mark.parametrize('length, expected', [
    (1, [([0], 1.0)]),
    (2, [([0, 1], 0.1)]),
    (3, [([0, 4, 1], 0.12), ([0, 1], 0.1), ([0, 3, 1], 0.03)]),
    (4, [([0, 2, 6, 1], 0.18), ([0, 4, 10, 1], 0.16), ([0, 3, 8, 1], 0.15)]),
])
def test_longest_caption_counts_both_markers(length, expected):
  assert_found(search(beam_size=4, max_caption_length=length)[:3], expected)


def test_unfinished_captions_come_only_if_none_is_finished():
  # Of beam 3, no first word ends: [0, 1] is the fourth best.
  assert_found(search(beam_size=3, max_caption_length=2),
               [([0, 4], 0.4), ([0, 3], 0.3), ([0, 2], 0.2)])


def test_unfinished_captions_keep_their_last_word():
  graph = {n: {n + 1: 0.9} for n in range(1, 11)} | {0: {2: 0.9}}
  assert_found(search(graph, beam_size=2, max_caption_length=5),
               [([0, 2, 3, 4, 5], 0.9 ** 4)])


def test_impossible_words_are_dropped():
  graph = {0: {1: 0.5, 2: 0.9e-12}, 2: {1: 1.0}}
  assert_found(search(graph), [([0, 1], 0.5)])
  graph[0][2] = 1.1e-12
  assert_found(search(graph), [([0, 1], 0.5), ([0, 2, 1], 1.1e-12)])


def test_nothing_is_found_where_nothing_is_possible():
  assert search({0: {}}) == []


def test_of_equally_probable_words_the_lower_ids_are_proposed():
  graph = {0: {7: 0.3, 2: 0.3, 5: 0.3}} | {n: {1: 1.0} for n in (2, 5, 7)}
  assert_found(search(graph, beam_size=2),
               [([0, 2, 1], 0.3), ([0, 5, 1], 0.3)])
  assert_found(search(graph, beam_size=1), [([0, 2, 1], 0.3)])


def test_words_beyond_the_vocabulary_are_never_chosen():
  graph = {0: {9: 0.5, 10: 0.3, 3: 0.2}, 3: {11: 0.6, 1: 0.4}}
  assert_found(search(graph, SizedVocab(9)), [([0, 3, 1], 0.08)])
  # One more word, and 9 is one of them.
  assert search(graph | {9: {1: 1.0}}, SizedVocab(10))[0][0] == [0, 9, 1]


def test_a_vocabulary_may_be_larger_than_the_beam_or_smaller():
  assert_found(search({0: {0: 0.1, 1: 0.9}}, SizedVocab(2), beam_size=7,
                      max_caption_length=3),
               [([0, 1], 0.9), ([0, 0, 1], 0.09)])


@pytest.mark.parametrize('numbers', [
    {'beam_size': 0}, {'beam_size': -1}, {'max_caption_length': 0}])
def test_numbers_that_find_nothing_are_refused(numbers):
  [name] = numbers
  with pytest.raises(ValueError, match=f'^{name} is '):
    CaptionGenerator(FakeModel(WORD_GRAPH), FakeVocab(), **numbers)


class RandomModel:
  """Distributions that depend on all words so far, through the state."""

  def __init__(self, seed, vocab_size, with_metadata=False):
    self._random = np.random.default_rng(seed)
    self._rows = self._random.dirichlet(
        np.full(vocab_size, 0.3), size=211).astype(np.float32)
    self._with_metadata = with_metadata
    self.batches = []

  def feed_image(self, sess, encoded_image):
    self.given = (sess, encoded_image)
    return np.array([[len(encoded_image), 1.0]], np.float32)

  def inference_step(self, sess, input_feed, state_feed):
    self.batches.append((input_feed, state_feed))
    keys = (state_feed[:, 0] * 31 + input_feed * 17 + 5) % 211
    states = np.stack([keys, state_feed[:, 1] + 1], axis=1)
    metadata = ([f'seen {word}' for word in input_feed]
                if self._with_metadata else None)
    return self._rows[keys.astype(int)], states, metadata


@pytest.mark.parametrize('beam_size', [1, 2, 3, 7, 20])
@pytest.mark.parametrize('factor', [0.0, 0.7])
def test_search_is_the_algorithm_of_im2txt(beam_size, factor):
  unfinished = 0
  for seed in range(15):
    vocab_size, length = 5 + 3 * seed, 2 + seed % 9
    ours = CaptionGenerator(
        RandomModel(seed, vocab_size), FakeVocab(), beam_size, length, factor
    ).beam_search(None, b'image')
    theirs = classic_search.search(
        RandomModel(seed, vocab_size), FakeVocab(), b'image', beam_size,
        length, factor)
    assert [c.sentence for c in ours] == [c[0] for c in theirs]
    np.testing.assert_allclose([c.logprob for c in ours],
                               [c[1] for c in theirs], rtol=1e-12)
    np.testing.assert_allclose([c.score for c in ours],
                               [c[2] for c in theirs], rtol=1e-12)
    np.testing.assert_array_equal([c.state for c in ours],
                                  [c[3] for c in theirs])
    unfinished += theirs[0][0][-1] != FakeVocab.end_id
  assert unfinished < 15  # Not all of them must be of one kind.


def test_beam_of_1_is_greedy():
  model = RandomModel(3, 23)
  [caption] = CaptionGenerator(
      model, FakeVocab(), 1, 9).beam_search(None, b'image')
  word, state = FakeVocab.start_id, model.feed_image(None, b'image')
  sentence = [word]
  while word != FakeVocab.end_id and len(sentence) < 9:
    softmax, state, _ = model.inference_step(None, np.array([word]), state)
    word = int(softmax[0].argmax())
    sentence.append(word)
  assert caption.sentence == sentence


def test_model_is_given_arrays_and_the_session():
  model = RandomModel(1, 13)
  session = object()
  CaptionGenerator(model, FakeVocab(), 3, 4).beam_search(session, b'image')
  assert model.given == (session, b'image')
  sizes = [(words.shape, states.shape) for words, states in model.batches]
  assert sizes[0] == ((1,), (1, 2))
  assert all(words == (3,) and states == (3, 2) for words, states in sizes[1:])
  assert all(np.issubdtype(words.dtype, np.integer)
             for words, _ in model.batches)


def test_metadata_of_each_step_comes_with_the_caption():
  captions = CaptionGenerator(
      RandomModel(2, 13, with_metadata=True), FakeVocab(), 3, 6
  ).beam_search(None, b'image')
  for caption in captions:
    assert caption.metadata == [f'seen {word}'
                                for word in caption.sentence[:-1]]
  [caption, *_] = CaptionGenerator(
      RandomModel(2, 13), FakeVocab(), 3, 6).beam_search(None, b'image')
  assert caption.metadata is None


def test_a_generator_can_search_again():
  generator = CaptionGenerator(FakeModel(WORD_GRAPH), FakeVocab())
  first, second = (
      [c.sentence for c in generator.beam_search(None, b'')] for _ in '12')
  assert first == second


def test_captions_compare_by_score():
  low, high, equal = (Caption([word], None, -9.0, score)
                      for word, score in ((1, -3.0), (2, -2.0), (3, -2.0)))
  assert low < high and high > low and low != high and low <= high
  assert high == equal and high >= equal and not high < equal
  assert low != -3.0


def test_top_n_keeps_the_greatest():
  random = np.random.default_rng(1)
  for n in (1, 2, 5, 50):
    items = random.integers(0, 100, 30).tolist()
    top = TopN(n)
    for count, item in enumerate(items, 1):
      top.push(item)
      assert top.size() == min(n, count)
    assert top.extract(sort=True) == heapq.nlargest(n, items)


def test_top_n_extracts_in_any_order_without_sort():
  top = TopN(3)
  for item in (5, 1, 4, 2, 3):
    top.push(item)
  assert sorted(top.extract()) == [3, 4, 5]


def test_top_n_can_be_reset():
  top = TopN(2)
  top.push(9)
  top.extract()
  top.reset()
  assert top.size() == 0
  for item in (1, 2, 3):
    top.push(item)
  assert top.extract(sort=True) == [3, 2]


def test_top_n_of_equal_items_keeps_the_earlier():
  captions = [Caption([word], None, 0.0, score) for word, score in
              ((1, -1.0), (2, -2.0), (3, -1.0), (4, -1.0), (5, -2.0))]
  top = TopN(3)
  for caption in captions:
    top.push(caption)
  assert [c.sentence for c in top.extract(sort=True)] == [[1], [3], [4]]


def test_top_n_of_nothing():
  assert TopN(2).extract(sort=True) == []
