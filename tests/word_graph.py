"""The words of im2txt's own test of its search, and what follows each."""


class FakeVocab:
  """What im2txt's test gives the search: two ids and no length."""

  start_id = 0
  end_id = 1


class SizedVocab(FakeVocab):
  """A vocabulary smaller than the model's output."""

  def __init__(self, size):
    self._size = size

  def __len__(self):
    return self._size


# The graph of im2txt's caption_generator_test.py.
WORD_GRAPH = {
    0: {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4},
    2: {5: 0.1, 6: 0.9},
    3: {1: 0.1, 7: 0.4, 8: 0.5},
    4: {1: 0.3, 9: 0.3, 10: 0.4},
    5: {1: 1.0},
    6: {1: 1.0},
    7: {1: 1.0},
    8: {1: 1.0},
    9: {1: 0.5, 11: 0.5},
    10: {1: 1.0},
    11: {1: 1.0},
}
