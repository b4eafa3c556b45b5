"""Words and ids: files of ours, of im2txt's, and broken ones."""

import itertools
import pathlib

import numpy as np
import pytest
from absl import logging

from im2txt import vocabulary

PUBLISHED = (pathlib.Path(__file__).resolve().parents[2] /
             'shared/data/im2txt_checkpoints/word_counts.txt')


@pytest.fixture
def make(tmp_path):
  """Makes a vocabulary of a file with the given content."""
  def make(content, **markers):
    path = tmp_path / 'words.txt'
    path.write_bytes(
        content if isinstance(content, bytes) else content.encode())
    return vocabulary.Vocabulary(str(path), **markers)
  return make


@pytest.fixture
def warnings(monkeypatch):
  """Lines of the log's warnings."""
  lines = []
  monkeypatch.setattr(
      logging, 'warning', lambda line, *args: lines.append(line % args))
  return lines


def test_tokens_are_lower_case_between_markers():
  assert vocabulary.tokenize("A Dog's 2 TOYS, e.g. \"balls\".") == [
      '<S>', 'a', 'dog', "'s", '2', 'toys', ',', 'e.g.', '``', 'balls',
      "''", '.', '</S>']


def test_tokens_take_other_markers_and_keep_their_case():
  assert vocabulary.tokenize('Hi!', '<START>', '<END>') == [
      '<START>', 'hi', '!', '<END>']


def test_only_the_last_full_stop_is_a_word():
  # With nltk's sentence splitter, as in im2txt, both would be.
  assert vocabulary.tokenize('A dog. It runs.') == [
      '<S>', 'a', 'dog.', 'it', 'runs', '.', '</S>']


@pytest.mark.parametrize('caption', ['', '  \n\t '])
def test_an_empty_caption_has_no_words(caption):
  assert vocabulary.tokenize(caption) == ['<S>', '</S>']


def test_no_token_holds_white_space():
  # White space of any kind would break the lines `word count`.
  caption = 'a\u00a0b\u2028c\x85d\x1ce\u3000f g\th\ni'
  assert not any(c.isspace() for word in vocabulary.tokenize(caption)
                 for c in word)


def test_counts_go_down_and_ties_by_word():
  captions = [['<S>', 'b', 'a', 'c', '</S>'], ['<S>', 'b', 'a', '</S>'],
              ['<S>', 'é', 'Z', 'é', '</S>']]
  expected = [('</S>', 3), ('<S>', 3), ('a', 2), ('b', 2), ('é', 2)]
  for order in itertools.permutations(captions):
    assert vocabulary.count_words(order, 2) == expected
  assert vocabulary.count_words(captions, 1) == (
      expected + [('Z', 1), ('c', 1)])
  assert vocabulary.count_words(captions, 4) == []


def test_file_and_ids(tmp_path):
  path = tmp_path / 'words.txt'
  counts = [('a', 9), ('<S>', 5), ('</S>', 5), ('naïve', 1)]
  vocabulary.write_word_counts(str(path), counts)
  assert path.read_bytes() == 'a 9\n<S> 5\n</S> 5\nnaïve 1\n'.encode()
  assert list(tmp_path.iterdir()) == [path]
  vocab = vocabulary.Vocabulary(str(path))
  assert len(vocab) == 5
  assert (vocab.start_id, vocab.end_id, vocab.unk_id) == (1, 2, 4)
  assert [vocab.word_to_id(word) for word, _ in counts] == [0, 1, 2, 3]
  assert [vocab.id_to_word(i) for i in range(5)] == [
      'a', '<S>', '</S>', 'naïve', '<UNK>']


def test_unknown_words_and_ids(make):
  vocab = make('<S> 3\n</S> 3\na 2\n')
  assert vocab.word_to_id('zebra') == vocab.unk_id == 3
  assert [vocab.id_to_word(i) for i in (-1, 3, 4, 12000)] == ['<UNK>'] * 4


def test_other_markers(make):
  vocab = make('a 3\n{ 2\n} 2\n', start_word='{', end_word='}', unk_word='?')
  assert (vocab.start_id, vocab.end_id, vocab.unk_id) == (1, 2, 3)
  assert vocab.id_to_word(3) == '?'


def test_an_unknown_word_that_stands_in_the_file_keeps_its_place(make):
  vocab = make('<UNK> 7\n<S> 3\n</S> 3\n')
  assert vocab.unk_id == 0
  assert len(vocab) == 3


def test_the_count_is_not_needed(make):
  assert make('<S>\n</S>\na').word_to_id('a') == 2


def test_words_written_as_bytes_are_read_as_text_with_a_warning(
    make, warnings):
  words = ['a', '<S>', '</S>', "'s", 'café', '\\', 'it\'"']
  vocab = make(''.join(
      f'{word.encode()} {9 - i}\n' for i, word in enumerate(words)))
  assert [vocab.word_to_id(word) for word in words] == list(range(7))
  assert [vocab.id_to_word(i) for i in range(7)] == words
  assert vocab.start_id == 1 and vocab.end_id == 2
  [warning] = warnings
  assert 'words.txt' in warning


def test_among_words_written_as_bytes_others_stay_as_they_are(make):
  odd = ["b'\\x'", "b'", "b'a", 'b"', 'plain', "'s"]
  vocab = make(''.join(f'{word} 1\n' for word in ["b'<S>'", "b'</S>'", *odd]))
  assert [vocab.id_to_word(i) for i in range(2, 8)] == odd


def test_a_plain_file_gives_no_warning_and_keeps_odd_words(make, warnings):
  vocab = make("<S> 3\n</S> 3\nb'a' 2\n")
  assert vocab.word_to_id("b'a'") == 2
  assert not warnings


def test_a_sentence_is_the_words_without_markers(make):
  vocab = make('a 9\n<S> 5\n</S> 5\ndog 3\nnaïve 2\n. 1\n')
  for word_ids, sentence in (
      ([1, 0, 3, 5, 2], 'a dog .'), ([1, 0, 4, 3], 'a naïve dog'),
      ([1, 0, 2, 2, 2], 'a'), ([1, 2], ''), ([], ''), ([0, 0], 'a a'),
      ([1, 6, 12000, -1, 2], '<UNK> <UNK> <UNK>')):
    assert vocab.to_sentence(word_ids) == sentence
    assert vocab.to_sentence(np.array(word_ids, np.int32)) == sentence


@pytest.mark.parametrize('content, line', [
    ('', "does not have the marker '<S>'"),
    ('<S> 3\na 2\n', "does not have the marker '</S>'"),
    ('<S> 3\n</S> 3\na 2\na 1\n', "the word 'a' stands twice"),
    ("b'<S>' 3\nb'</S>' 3\nb'a' 2\nb\"a\" 1\n", "the word 'a' stands twice"),
    ('<S> 3\n\n</S> 3\n', ':2: empty line'),
    ('<S> 3\n</S> 3\n  \n', ':3: empty line'),
    (b'<S> 3\n</S> 3\n\xff\xfe 2\n', 'is no UTF-8 text'),
    (b'\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR', 'is no UTF-8 text'),
])
def test_a_broken_file_is_one_line(make, content, line):
  with pytest.raises(ValueError) as error:
    make(content)
  message = str(error.value)
  assert 'words.txt' in message and line in message and '\n' not in message


def test_no_file(tmp_path):
  with pytest.raises(OSError, match='none_such'):
    vocabulary.Vocabulary(str(tmp_path / 'none_such.txt'))


@pytest.mark.skipif(not PUBLISHED.exists(), reason=f'no {PUBLISHED}')
def test_the_published_vocabulary():
  vocab = vocabulary.Vocabulary(str(PUBLISHED))
  assert len(PUBLISHED.read_bytes().splitlines()) == 11519
  assert len(vocab) == 11520
  assert vocab.unk_id == 11519
  assert vocab.id_to_word(vocab.start_id) == '<S>'
  assert vocab.id_to_word(vocab.end_id) == '</S>'
  assert vocab.id_to_word(vocab.word_to_id('surfboard')) == 'surfboard'
