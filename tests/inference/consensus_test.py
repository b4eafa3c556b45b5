"""Which of some captions agrees most with those of images like an image."""

import numpy as np
import pytest

from im2txt.inference.consensus import Consensus
from im2txt.scoring import cider

# Two kinds of images, four of each, that differ in the first feature.
DOGS = ['a dog runs on grass', 'a brown dog runs', 'the dog jumps', 'two dogs']
BOATS = ['a boat on the sea', 'a small boat', 'the boat sails', 'two boats']


def features_of(kinds, seed=1):
  """float32 [P, 3]: the kind, a little besides, and what is always the same."""
  random = np.random.default_rng(seed)
  return np.stack([
      kinds, random.normal(0.0, 0.1, len(kinds)), np.full(len(kinds), 7.0)],
      axis=1).astype(np.float32)


@pytest.fixture(scope='module')
def dogs_and_boats():
  return Consensus(features_of([1.0] * 4 + [-1.0] * 4),
                   [[text, f'{text} .'] for text in (*DOGS, *BOATS)])


CAPTIONS = ('a boat on the sea', 'a dog runs on grass', 'a horse')


@pytest.mark.parametrize(('kind', 'order'), [
    (1.0, [1, 0, 2]), (-1.0, [0, 1, 2])])
def test_the_nearest_images_decide(dogs_and_boats, kind, order):
  assert dogs_and_boats.rank(
      features_of([kind], seed=3)[0], CAPTIONS, [-3.0, -2.0, -1.0]) == order


def test_what_is_the_same_in_all_images_says_nothing():
  # Whose mean, rounded, is not what it is.
  images = features_of([1.0, -1.0] * 2000)
  images[:, 2] = 0.1
  consensus = Consensus(images, [[DOGS[0]], [BOATS[0]]] * 2000)
  image = np.array([1.0, 0.0, 0.2], np.float32)
  assert consensus.rank(image, CAPTIONS, [-1.0] * 3) == [1, 0, 2]


def test_the_other_captions_decide_where_images_do_not(dogs_and_boats):
  captions = ['red car', 'old men sing', 'old men sing songs', 'tall tree']
  probabilities = np.array([0.3, 0.25, 0.25, 0.2])
  def best(probabilities):
    return dogs_and_boats.rank(
        features_of([1.0])[0], captions, np.log(probabilities))[0]
  assert best(probabilities) == 2
  # Probabilities count, and only their shares.
  assert best(probabilities * 1e-9) == 2
  assert best([0.7, 0.1, 0.1, 0.1]) == 0
  assert best([0.1, 0.1, 0.1, 0.7]) == 3


def test_the_formula():
  """Against sums written out, with features that leave no image far."""
  random = np.random.default_rng(5)
  features = random.normal(size=(23, 5)).astype(np.float32)
  words = ['dog', 'cat', 'runs', 'sits', 'on', 'grass', 'mat', 'a', 'the']
  def caption():
    return ' '.join(random.choice(words, random.integers(2, 7)))
  captions = [[caption() for _ in range(random.integers(1, 4))]
              for _ in range(23)]
  candidates = [caption() for _ in range(7)]
  log_probabilities = random.normal(-5.0, 1.0, 7)
  image = random.normal(size=5)
  score = cider.CiderD(
      [[text.split() for text in of_image] for of_image in captions]).scores

  standard = (features - features.mean(0)) / features.std(0)
  query = (image - features.mean(0)) / features.std(0)
  cosines = standard @ query / (
      np.linalg.norm(standard, axis=1) * np.linalg.norm(query))
  near = sorted(range(23), key=lambda i: -cosines[i])[:20]
  weights = {i: max(cosines[i], 0.0) ** 4 for i in near}
  shares = np.exp(log_probabilities) / np.exp(log_probabilities).sum()
  agreement = [
      sum(weights[i] / sum(weights.values()) * np.mean([
          score([text.split()], [other.split()])[0] for other in captions[i]])
          for i in near)
      + 0.02 * sum(share * score([text.split()], [other.split()])[0]
                   for share, other in zip(shares, candidates, strict=True))
      for text in candidates]
  assert len(set(np.round(agreement, 6))) == 7
  assert Consensus(features, captions).rank(
      image, candidates, log_probabilities) == sorted(
          range(7), key=lambda i: -agreement[i])


def test_captions_that_agree_as_much_stay_in_their_order(dogs_and_boats):
  captions = ['', 'x', 'y', 'z']  # An empty one agrees with nothing.
  assert dogs_and_boats.rank(
      features_of([1.0])[0], captions, [-1.0] * 4) == [1, 2, 3, 0]
  assert dogs_and_boats.rank(features_of([1.0])[0], [], []) == []


def test_words_are_what_scores_are_of(dogs_and_boats):
  assert dogs_and_boats.rank(
      features_of([1.0])[0], ['a boat', 'A Dog runs, on grass.'],
      [-1.0, -1.0]) == [1, 0]


def test_few_images_and_images_without_captions():
  consensus = Consensus(
      features_of([1.0, 0.0, -1.0]), [['a dog'], [], ['a cat']])
  assert consensus.rank(
      features_of([1.0])[0], ['a cat', 'a dog'], [-1.0, -1.0]) == [1, 0]
  # Where none is nearer than another all count.
  consensus = Consensus(
      np.ones([4, 3]), [['a dog'], ['a cat'], ['the dog'], ['it']])
  assert consensus.rank(
      features_of([5.0])[0], ['a cat', 'a dog'], [-1.0, -1.0]) == [1, 0]
  with pytest.raises(ValueError, match='captions of at least one image'):
    Consensus(features_of([1.0]), [[]])
