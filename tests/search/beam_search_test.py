"""The searches inside the graph against the plain step-by-step search.

Shapes: B images, R captions, T longest caption, S states of a script, V
vocabulary.
"""

import collections
import math

import fresh_session
import numpy as np
import pytest
import scripted_decoder
import tensorflow as tf
from scripted_decoder import ScriptedDecoder, ScriptedModel
from word_graph import WORD_GRAPH, FakeVocab, SizedVocab

from im2txt.caption_generator import CaptionGenerator
from im2txt.search.beam_search import Options, beam_search
from im2txt.search.rules import Rules
from im2txt.search.sampling import SamplingOptions, greedy, sample

tf1 = tf.compat.v1

B, S, V = 30, 61, 13
END = FakeVocab.end_id
VOCAB = SizedVocab(V - 1)  # The last word is none: only it leads nowhere.
SCRIPT = scripted_decoder.at_random(1, S, V, END)
WORDS = scripted_decoder.of_word_graph(WORD_GRAPH, V)


def run(find, script, images=(0,), on_step=None):
  """What a search finds of each image: (sentence, log probability) pairs.

  Sentences as the reference has them: cut off after the end marker.
  """
  with tf.Graph().as_default(), fresh_session.make() as session:
    memory = tf.constant(list(images), tf.int32)
    captions = session.run(find(ScriptedDecoder(script, on_step), memory))
  return listed(captions)


def listed(captions):
  """Captions as lists, those that are none left out."""
  found = []
  for sentences, logprobs, scores in zip(*captions[:3], strict=True):
    there = np.isfinite(logprobs)
    assert (there == np.isfinite(scores)).all()
    found.append([
        (cut(sentence), logprob, score) for sentence, logprob, score in zip(
            sentences[there].tolist(), logprobs[there], scores[there],
            strict=True)])
  return found


def cut(sentence):
  if END not in sentence:
    return sentence
  length = sentence.index(END) + 1
  assert set(sentence[length:]) <= {END}
  return sentence[:length]


def reference(script, images, vocab=VOCAB, at_once=1000, **kwargs):
  """The same of `CaptionGenerator`."""
  generator = CaptionGenerator(ScriptedModel(script, at_once), vocab, **kwargs)
  return [[(c.sentence, c.logprob, c.score)
           for c in generator.beam_search(None, image)]
          for image in images]


def assert_same(found, expected, rounding=0.0):
  """Hold captions against those of the reference.

  Args:
    found: of the search in the graph.
    expected: of the reference.
    rounding: captions whose scores differ by less may change places: the same
      words in another order add up to the same but for the last digit.
  """
  assert [len(captions) for captions in found] == [
      len(captions) for captions in expected]
  for pair in zip(found, expected, strict=True):
    for ours, theirs in zip(*pair, strict=True):
      if ours[0] != theirs[0]:
        assert abs(float(ours[2]) - theirs[2]) < rounding, (ours, theirs)
      np.testing.assert_allclose(ours[1:], theirs[1:], atol=1e-4)


@pytest.mark.parametrize('beam_size', [1, 2, 3, 12])
def test_word_graph_of_im2txt(beam_size):
  vocab = SizedVocab(12)
  found = run(lambda *connected: beam_search(
      *connected, Rules(vocab), Options(beam_size)), WORDS)
  assert_same(found, reference(WORDS, [0], vocab, beam_size=beam_size))
  best = {1: [0, 4, 10, 1], 2: [0, 4, 10, 1]}.get(beam_size, [0, 2, 6, 1])
  assert found[0][0][0] == best


@pytest.mark.parametrize('factor', [0.0, 0.7, 3.0])
def test_finds_what_the_step_by_step_search_finds(factor):
  """Ends, ties, dead ends and words of next to no probability among them."""
  kinds = collections.Counter()
  with tf.Graph().as_default(), fresh_session.make() as session:
    beam_size, length = (tf1.placeholder(tf.int32, []) for _ in range(2))
    captions = beam_search(
        ScriptedDecoder(SCRIPT), tf.range(B), Rules(VOCAB, length),
        Options(beam_size, length_normalization_factor=factor))
    for beam in (1, 2, 3, 5, 10):
      for longest in (1, 2, 3, 20):
        arrays = session.run(captions, {beam_size: beam, length: longest})
        assert arrays.sentences.shape == (B, beam, longest)
        there = np.isfinite(arrays.scores)  # What is missing stands last.
        assert (np.sort(there)[:, ::-1] == there).all()
        found = listed(arrays)
        expected = reference(
            SCRIPT, range(B), beam_size=beam, max_caption_length=longest,
            length_normalization_factor=factor)
        assert_same(found, expected, rounding=1e-6 if longest > 3 else 0.0)
        kinds.update(
            'none' if not captions else 'complete'
            if captions[0][0][-1] == END else 'partial' for captions in found)
  assert min(kinds[k] for k in ('none', 'complete', 'partial')) > 5


def test_of_equals_the_earlier_comes_first():
  # Six captions of one probability each, through equal words and beams.
  graph = {0: {3: 0.25, 5: 0.25, 7: 0.25, 9: 0.25}} | {
      word: {END: 0.5, 11: 0.5} for word in (3, 5, 7, 9)} | {
          11: {END: 1.0}}
  script = scripted_decoder.of_word_graph(graph, V)
  for beam_size in (1, 2, 3, 4, 6):
    found = run(lambda *c, k=beam_size: beam_search(
        *c, Rules(VOCAB), Options(k)), script)
    assert_same(found, reference(
        script, [0], at_once=6, beam_size=beam_size))
  assert [c[0] for c in found[0]] == [
      [0, 3, END], [0, 5, END], [0, 7, END], [0, 9, END],
      [0, 3, 11, END], [0, 5, 11, END]]


def steps_of(script, rules, *args, **kwargs):
  """Numbers of captions that each step of a search looked at."""
  sizes = []
  run(lambda *c: beam_search(*c, rules, Options(*args, **kwargs)), script,
      on_step=sizes.append)
  return sizes


def test_it_stops_as_soon_as_nothing_can_become_better():
  # Two captions end at once, of .5 and .3; what goes on has .2 and less.
  graph = {0: {END: 0.5, 2: 0.3, 3: 0.2}, 2: {END: 0.9, 2: 0.1},
           3: {3: 1.0}}
  script = scripted_decoder.of_word_graph(graph, V)
  best = Rules(VOCAB, 20)
  assert steps_of(script, best, 2, num_captions=1) == [1]
  # The second, .27, is there after two words; .2 cannot beat it.
  assert steps_of(script, best, 2) == [1, 2]
  # A third is not: [0, 3, 3, ...] of .2 stays before [0, 2, 2, END].
  assert steps_of(script, best, 3) == [1] + 18 * [3]
  # Normalised, .3 * .1 ** 3 could in 20 words beat .27 in 3, but .1 ** 4 not.
  assert math.log(0.3e-3) / 20 > math.log(0.27) / 3 > math.log(0.3e-4) / 20
  assert len(steps_of(script, best, 2, length_normalization_factor=1.0)) == 5
  # In at most 3 words .3 cannot beat .5 in 2.
  assert math.log(0.3) / 3 < math.log(0.5) / 2
  assert steps_of(script, Rules(VOCAB, 3), 2, 1,
                  length_normalization_factor=1.0) == [1]


def test_an_image_that_is_done_waits_for_the_others():
  graph = {0: {END: 1.0}, 2: {3: 1.0}, 3: {4: 1.0}, 4: {END: 1.0}}
  script = scripted_decoder.of_word_graph(graph, V)
  # An image is the state before the start marker, which is its first word.
  script = script._replace(next_states=np.where(
      np.arange(V) == 0, np.arange(V, dtype=np.int32)[:, np.newaxis],
      script.next_states))
  found = run(lambda *c: beam_search(*c, Rules(VOCAB), Options(1)), script,
              [0, 2, 4])
  assert [[c[0] for c in captions] for captions in found] == [
      [[0, END]], [[0, 3, 4, END]], [[0, END]]]


def test_a_vocabulary_smaller_than_the_beam():
  script = scripted_decoder.at_random(3, 9, 4, END)
  for length in (2, 3, 6):
    found = run(lambda *c, n=length: beam_search(
        *c, Rules(SizedVocab(3), n), Options(7)), script, range(9))
    assert_same(found, reference(script, range(9), SizedVocab(3), beam_size=7,
                                 max_caption_length=length), 1e-6)


@pytest.mark.parametrize('vocab_size', [31, 32, 33, 64, 75, 200])
def test_large_vocabularies(vocab_size):
  """Of each length's words only some are looked at closely."""
  vocab = SizedVocab(vocab_size)
  script = scripted_decoder.at_random(
      vocab_size, 29, vocab_size, END, 0.9, ties=False)
  for beam_size in (2, 7):
    found = run(lambda *c, k=beam_size: beam_search(
        *c, Rules(vocab, 8), Options(k)), script, range(29))
    assert_same(found, reference(
        script, range(29), vocab, beam_size=beam_size, max_caption_length=8),
        1e-6)


@pytest.mark.parametrize('num_captions', [1, 2, 4])
def test_fewer_captions_are_the_best_of_all(num_captions):
  rules = Rules(VOCAB, 7)
  for factor in (0.0, 1.5):
    some, every = (run(lambda *c, n=n, f=factor: beam_search(
        *c, rules, Options(5, n, f)), SCRIPT, range(B))
        for n in (num_captions, None))
    assert some == [captions[:num_captions] for captions in every]
  assert max(map(len, every)) == 5


# The options, against plain Python.


def grouped_search(script, image, rules, beam_size, groups=1, strength=0.0):
  """Vijayakumar's algorithm 1 over im2txt's rules, with lists sorted in full.

  Also keeps whatever `rules` ask for.
  """
  model = ScriptedModel(script)
  size = beam_size // groups
  state = model.feed_image(None, image)[0]
  partial = [[([0], 0.0, 0.0, state)] for _ in range(groups)]
  complete = [[] for _ in range(groups)]
  for length in range(1, rules.max_caption_length):
    counts = collections.Counter()
    for group in range(groups):
      extended = []
      for sentence, logprob, score, state in partial[group]:
        softmax, states, _ = model.inference_step(
            None, np.array(sentence[-1:]), np.array([state]))
        words = [w for w in range(len(rules.vocab))
                 if softmax[0, w] >= 1e-12 and follows(rules, sentence, w)]
        words.sort(key=lambda w: counts[w] * strength
                   - math.log(softmax[0, w]))
        for word in words[:size]:
          gain = math.log(softmax[0, word])
          new = ([*sentence, word], logprob + gain,
                 score + gain - counts[word] * strength, states[0])
          (complete[group] if word == END else extended).append(new)
      partial[group] = best(extended, size)
      complete[group] = best(complete[group], size)
      for sentence, *_ in partial[group]:
        counts[sentence[length]] += strength > 0
  found = {}
  for captions in complete if any(complete) else partial:
    for sentence, logprob, *_ in captions:
      found.setdefault(tuple(sentence), logprob)
  return best([(list(sentence), logprob, logprob)
               for sentence, logprob in found.items()], beam_size)


def best(captions, n):
  return sorted(captions, key=lambda c: -c[2])[:n]


def follows(rules, sentence, word):
  """Whether the rules let a word follow."""
  new = [*sentence, word]
  trigrams = list(zip(new, new[1:], new[2:], strict=False))
  return not (word in rules.banned_words
              or word == END and len(new) < rules.min_caption_length
              or rules.no_repeated_trigrams
              and len(set(trigrams)) < len(trigrams))


@pytest.mark.parametrize('rules', [
    Rules(VOCAB, 9), Rules(VOCAB, 9, banned_words=(4, 0, 7)),
    Rules(VOCAB, 9, min_caption_length=6),
    Rules(VOCAB, 20, no_repeated_trigrams=True),
    Rules(VOCAB, 4, banned_words=(END,)), Rules(VOCAB, 13, 8, (5,), True)],
    ids=['none', 'banned', 'shortest', 'trigrams', 'endless', 'all'])
@pytest.mark.parametrize('beam_size', [1, 4])
def test_rules(rules, beam_size):
  found = run(lambda *c: beam_search(
      *c, rules, Options(beam_size)), SCRIPT, range(B))
  assert_same(found, [grouped_search(SCRIPT, image, rules, beam_size)
                      for image in range(B)], 1e-6)
  if rules != Rules(VOCAB, 9):
    without = run(lambda *c: beam_search(
        *c, Rules(VOCAB, rules.max_caption_length), Options(beam_size)),
        SCRIPT, range(B))
    assert found != without


@pytest.mark.parametrize('beam_size, groups, strength', [
    (4, 2, 0.4), (6, 3, 1.5), (3, 3, 5.0), (6, 2, 0.0)])
def test_groups_of_beams(beam_size, groups, strength):
  rules = Rules(VOCAB, 9)
  found = run(lambda *c: beam_search(
      *c, rules, Options(
          beam_size, beam_groups=groups, diversity_strength=strength)),
      SCRIPT, range(B))
  expected = [grouped_search(SCRIPT, image, rules, beam_size, groups,
                             strength) for image in range(B)]
  assert_same(found, expected, 1e-6)


def test_groups_make_captions_different():
  def shares(**kwargs):
    found = run(lambda *c: beam_search(
        *c, Rules(VOCAB, 9), Options(3, **kwargs)), SCRIPT, range(B))
    return [len({c[0][1] for c in captions}) / len(captions)
            for captions in found if captions]

  assert np.mean(shares()) < 0.8
  assert min(shares(beam_groups=3, diversity_strength=20.0)) == 1.0


def test_groups_give_fewer_captions_too():
  found = run(lambda *c: beam_search(
      *c, Rules(VOCAB, 9), Options(6, 2, beam_groups=3)), SCRIPT, range(B))
  assert max(map(len, found)) == 2


# Captions that know nothing of each other.


def test_greedy_is_a_beam_of_one():
  for length in (1, 2, 7):
    rules = Rules(VOCAB, length)
    assert run(lambda *c, r=rules: greedy(*c, r), SCRIPT, range(B)) == run(
        lambda *c, r=rules: beam_search(*c, r, Options(1)), SCRIPT, range(B))


def test_greedy_stops_when_all_have_ended():
  script = scripted_decoder.of_word_graph(
      {0: {2: 0.9}, 2: {3: 0.9}, 3: {END: 1.0}}, V)
  steps = []
  [[caption]] = run(lambda *c: greedy(*c, Rules(VOCAB)), script,
                    on_step=steps.append)
  assert caption[0] == [0, 2, 3, END] and len(steps) == 3
  assert caption[1] == pytest.approx(2 * math.log(0.9))


def drawn(n, script=SCRIPT, images=(0,), rules=None, seed=None, **kwargs):
  return run(lambda *c: sample(
      *c, rules or Rules(VOCAB, 3), SamplingOptions(n, **kwargs), seed),
      script, images)


# After word 0: of probabilities .1, .2, .3 and .4.
FOUR = scripted_decoder.of_word_graph(
    {0: {END: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}}, V)


@pytest.mark.parametrize('kwargs, expected', [
    ({}, (0.1, 0.2, 0.3, 0.4)),
    ({'temperature': 0.5}, (1 / 30, 4 / 30, 9 / 30, 16 / 30)),
    ({'top_k': 2}, (0, 0, 3 / 7, 4 / 7)),
    ({'top_k': 99}, (0.1, 0.2, 0.3, 0.4)),
    ({'top_p': 0.69}, (0, 0, 3 / 7, 4 / 7)),
    ({'top_p': 0.71}, (0, 2 / 9, 3 / 9, 4 / 9)),
    ({'top_p': 0.01}, (0, 0, 0, 1)),
    ({'temperature': 0.5, 'top_p': 0.82}, (0, 0, 9 / 25, 16 / 25)),
    ({'top_k': 3, 'top_p': 0.7}, (0, 0, 3 / 7, 4 / 7)),
    ({'rules': Rules(VOCAB, 2, banned_words=(4,))}, (1 / 6, 2 / 6, 3 / 6, 0)),
])
def test_samples_are_as_frequent_as_probable(kwargs, expected):
  n = 4000
  kwargs = {'rules': Rules(VOCAB, 2)} | kwargs
  [captions] = drawn(n, FOUR, seed=5, **kwargs)
  counts = collections.Counter(sentence[1] for sentence, *_ in captions)
  for word, share in zip((END, 2, 3, 4), expected, strict=True):
    deviation = math.sqrt(share * (1 - share) / n)
    assert abs(counts[word] / n - share) <= 4 * deviation
  # Whatever was drawn from, probabilities are the model's.
  for sentence, logprob, score in captions:
    assert logprob == score == pytest.approx(
        math.log({END: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}[sentence[1]]), abs=1e-5)


def test_log_probabilities_of_samples_are_of_all_their_words():
  model = ScriptedModel(SCRIPT)
  lengths = set()
  for image, captions in enumerate(drawn(
      5, images=range(B), rules=Rules(VOCAB, 9), temperature=2.0)):
    for sentence, logprob, _ in captions:
      state, expected = model.feed_image(None, image), 0.0
      for word, following in zip(sentence, sentence[1:], strict=False):
        softmax, state, _ = model.inference_step(None, np.array([word]), state)
        expected += math.log(softmax[0, following])
      assert logprob == pytest.approx(expected, abs=1e-4)
      lengths.add(len(sentence))
  assert len(lengths) > 4


def test_samples_of_a_seed_are_the_same_and_of_another_others():
  first, again, other = (drawn(40, seed=seed, rules=Rules(VOCAB, 6))
                         for seed in (3, 3, 4))
  assert first == again != other
  assert len({tuple(sentence) for sentence, *_ in first[0]}) > 20


def test_without_a_seed_every_run_draws_others():
  with tf.Graph().as_default(), fresh_session.make() as session:
    captions = sample(ScriptedDecoder(SCRIPT), tf.zeros([1], tf.int32),
                      Rules(VOCAB, 9), SamplingOptions(30))
    first, second = (session.run(captions.sentences) for _ in range(2))
  assert (first != second).any()


def test_a_seed_may_be_a_tensor():
  with tf.Graph().as_default(), fresh_session.make() as session:
    seed = tf1.placeholder(tf.int32, [])
    captions = sample(ScriptedDecoder(SCRIPT), tf.zeros([1], tf.int32),
                      Rules(VOCAB, 6), SamplingOptions(40), seed)
    found = listed(session.run(captions, {seed: 3}))
  assert found == drawn(40, seed=3, rules=Rules(VOCAB, 6))


def test_where_nothing_is_possible_nothing_is_drawn():
  rules = Rules(SizedVocab(2), 5)
  graph = {0: {7: 1.0}}
  script = scripted_decoder.of_word_graph(graph, V)
  for kwargs in ({}, {'top_k': 2}, {'top_p': 0.5}):
    assert drawn(3, script, rules=rules, **kwargs) == [[]]
  assert run(lambda *c: greedy(*c, rules), script) == [[]]
  assert run(lambda *c: beam_search(*c, rules), script) == [[]]


@pytest.mark.parametrize('find, message', [
    (lambda *c: greedy(*c, Rules(VOCAB, 0)), 'max_caption_length is 0'),
    (lambda *c: greedy(*c, Rules(VOCAB, 5, 6)), 'min_caption_length is 6'),
])
def test_numbers_that_find_nothing_are_refused(find, message):
  with pytest.raises(ValueError, match=f'^{message}'):
    run(find, SCRIPT)


@pytest.mark.parametrize('options, message', [
    ({'beam_size': 0}, 'beam_size is 0'),
    ({'num_captions': 4}, 'beam_size is 3; it must be at least 4'),
    ({'num_captions': 0}, 'num_captions is 0'),
    ({'beam_size': 4, 'beam_groups': 3}, 'beam_size is 4, which 3 groups'),
    ({'beam_groups': 0}, 'beam_groups is 0'),
    ({'diversity_strength': -1.0}, 'diversity_strength is -1.0'),
    ({'length_normalization_factor': -0.5},
     'length_normalization_factor is -0.5'),
])
def test_options_that_find_nothing_are_refused(options, message):
  with pytest.raises(ValueError, match=f'^{message}'):
    Options(**options)


@pytest.mark.parametrize('options, message', [
    ({'num_samples': 0}, 'num_samples is 0'),
    ({'top_k': -1}, 'top_k is -1'),
    ({'temperature': 0.0}, 'temperature is 0.0'),
    ({'top_p': 0.0}, 'top_p is 0.0'),
    ({'top_p': 1.1}, 'top_p is 1.1'),
])
def test_sampling_options_that_draw_nothing_are_refused(options, message):
  with pytest.raises(ValueError, match=f'^{message}'):
    SamplingOptions(**options)
