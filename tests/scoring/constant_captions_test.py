"""The best constant captions, against trying all of them."""

import random

import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider

from im2txt.scoring import constant_captions

REFERENCES = (
    ('a dog runs on the grass', 'the brown dog runs', 'dog'),
    ('a man and a man and a dog',),
    ('two cats sleep on a red couch', 'cats on a couch'),
    ('a man rides a horse on the beach', 'the man', 'horse horse horse',
     'a man on a horse on a beach on a day'),
    ('a', 'a bus'))
CANDIDATES = (
    'a', 'dog', 'horse', 'bus', 'a dog', 'a a', 'a man', 'a man a man',
    'a man a man a man a man', 'horse horse', 'horse horse horse horse',
    'the dog runs', 'a man on a horse on a beach on a day',
    'on on on on on', 'a dog a dog on a dog', 'a dog runs on the grass',
    'the brown dog runs on the red grass and a man sleeps on the couch',
    'a purple dog', 'purple', 'purple purple a dog', 'a zebra on a zebra')


def brute_force(name, caption, references):
  """A score of a caption when it is said of every image."""
  sets = ({i: list(of_image) for i, of_image in enumerate(references)},
          {i: [caption] for i in range(len(references))})
  if name == 'CIDEr':
    return Cider().compute_score(*sets)[0]
  return Bleu(4).compute_score(*sets, verbose=0)[0][3]


def best(name, candidates, references):
  words, score = constant_captions.best(
      map(str.split, candidates),
      [list(map(str.split, of_image)) for of_image in references])[name]
  return ' '.join(words), score


def check_ranking(name, candidates, references):
  """Take the best away until none is left: each one's place and score."""
  brute = {caption: brute_force(name, caption, references)
           for caption in candidates}
  left = list(candidates)
  while left:
    caption, score = best(name, left, references)
    assert score == pytest.approx(brute[caption], abs=1e-9)
    assert score == pytest.approx(
        max(brute[other] for other in left), abs=1e-9)
    left.remove(caption)


either_score = pytest.mark.parametrize('name', ['Bleu_4', 'CIDEr'])


@either_score
def test_best_is_that_of_brute_force(name):
  check_ranking(name, CANDIDATES, REFERENCES)


@either_score
@pytest.mark.parametrize('caption', CANDIDATES)
def test_score_of_each_caption(name, caption):
  assert best(name, [caption], REFERENCES) == (caption, pytest.approx(
      brute_force(name, caption, REFERENCES), abs=1e-9))


@either_score
@pytest.mark.parametrize('seed', range(5))
def test_best_of_captions_at_random(name, seed):
  chance = random.Random(seed)

  def sentence(words):
    # Few words, so that they come again within a caption and in others.
    return ' '.join(chance.choices(words, k=chance.randint(1, 12)))

  references = [[sentence('abcdef') for _ in range(chance.randint(1, 5))]
                for _ in range(chance.randint(2, 9))]
  candidates = sorted({sentence('abcdefxy') for _ in range(20)})
  check_ranking(name, candidates, references)


def test_clipping_counts():
  # Without clipping a word said often would weigh as much as a caption of it.
  references = [('b b c', 'b b'), ('d',), ('d e',)]
  _, once = best('CIDEr', ['b b'], references)
  _, often = best('CIDEr', ['b b b b b b'], references)
  assert once > often > 0
  for name in ('Bleu_4', 'CIDEr'):
    check_ranking(
        name, ['b', 'b b', 'b b b', 'b b b b b b', 'c b'], references)


@pytest.mark.parametrize(('candidates', 'references'), [
    (['purple', 'purple zebra'], REFERENCES),  # Words of no reference.
    (['a dog', 'dog'], [('a dog', 'the dog')]),  # No word is rare.
    (['a', 'the a'], [('a b',), ('a c',)]),  # This one is everywhere.
    ([''], REFERENCES),
], ids=['unknown', 'one image', 'common', 'empty'])
def test_a_caption_is_chosen_where_all_score_nothing(candidates, references):
  caption, score = best('CIDEr', candidates, references)
  assert caption in candidates
  assert score == brute_force('CIDEr', caption, references) == 0


def test_references_without_a_word():
  references = [('', 'a dog'), ('',), ('a cat',)]
  check_ranking('CIDEr', ['a dog', 'cat', 'a'], references)
  assert best('CIDEr', ['a dog', 'cat'], [('',), ('',)])[1] == 0
