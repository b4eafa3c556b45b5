"""CIDEr-D against COCO's own program, and what that does not show."""

import numpy as np
import pytest

from im2txt.scoring import cider

pytest.importorskip('pycocoevalcap')

WORDS = ('a', 'the', 'dog', 'cat', 'runs', 'sits', 'on', 'grass', 'mat')


def captions_of(random, number, longest=12):
  return [[str(word) for word in random.choice(
      WORDS, random.integers(1, longest), p=np.arange(9, 0, -1) / 45)]
      for _ in range(number)]


def coco_scores(candidates, references):
  from pycocoevalcap.cider.cider import Cider
  _, scores = Cider().compute_score(
      {i: [' '.join(words) for words in of_image]
       for i, of_image in enumerate(references)},
      {i: [' '.join(words)] for i, words in enumerate(candidates)})
  return scores


def test_scores_are_those_of_cocos_program():
  random = np.random.default_rng(1)
  references = [captions_of(random, random.integers(1, 6)) for _ in range(37)]
  candidates = captions_of(random, 37, longest=16)
  candidates[:3] = [references[0][0], [], ['zebra', 'dog']]
  scorer = cider.CiderD(references)
  scores = [scorer.scores([words], of_image)[0]
            for words, of_image in zip(candidates, references, strict=True)]
  np.testing.assert_allclose(
      scores, coco_scores(candidates, references), atol=1e-9)
  assert np.ptp(scores) > 1.0 and scores[1] == 0.0


def test_words_may_be_anything_and_candidates_many():
  references = [[(1, 2, 3)], [(4, 5), (6, 5)]]
  scorer = cider.CiderD(references)
  exact, other, nothing = scorer.scores([(1, 2, 3), (1, 2), ()], references[0])
  assert exact == pytest.approx(7.5)  # There are no n-grams of four words.
  assert exact > other > nothing == 0.0


def test_references_may_count_differently():
  references = [[('a', 'dog'), ('a', 'cat')], [('it',)], [('the', 'dog')]]
  scorer = cider.CiderD(references)
  dog, cat = (scorer.scores([('a', 'dog')], [words])[0]
              for words in references[0])
  assert dog > cat > 0.0
  assert scorer.scores([('a', 'dog')], references[0], [0.2, 0.8]) == (
      pytest.approx([0.2 * dog + 0.8 * cat]))
  assert scorer.scores([('a', 'dog')], references[0]) == (
      pytest.approx([(dog + cat) / 2]))


def test_what_all_images_have_is_worth_nothing():
  scorer = cider.CiderD([[('a', 'dog')], [('a', 'cat')]])
  assert scorer.scores([('a',)], [('a', 'dog')]) == [0.0]
  assert scorer.scores([('dog',)], [('a', 'dog')])[0] > 0.0


def test_frequencies_count_images_not_captions():
  once = cider.CiderD([[('dog',), ('dog',)], [('cat',)], [('a',)]])
  assert once.scores([('dog',)], [('dog',)]) == cider.CiderD(
      [[('dog',)], [('cat',)], [('a',)]]).scores([('dog',)], [('dog',)])


def test_no_images_are_refused():
  with pytest.raises(ValueError, match='at least one image'):
    cider.CiderD([])
