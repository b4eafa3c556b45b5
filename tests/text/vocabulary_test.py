"""Words and ids: files of ours, of im2txt's, and broken ones."""

import itertools
import pathlib

import numpy as np
import pytest
from absl import logging

from im2txt.text import caption_styles, vocabulary

PUBLISHED = (pathlib.Path(__file__).resolve().parents[3] /
             'shared/data/im2txt_checkpoints/word_counts.txt')


MARKERS = ('<S>', '</S>', '<UNK>')


@pytest.fixture
def make(tmp_path):
  """Make a vocabulary of a file with the given content."""
  def make(content, markers=MARKERS):
    path = tmp_path / 'words.txt'
    path.write_bytes(
        content if isinstance(content, bytes) else content.encode())
    return vocabulary.Vocabulary(str(path), *markers)
  return make


@pytest.fixture
def warnings(monkeypatch):
  """Lines of the log's warnings."""
  lines = []
  monkeypatch.setattr(
      logging, 'warning', lambda line, *args: lines.append(line % args))
  return lines


def test_counts_go_down_and_ties_by_word():
  expected = [('</S>', 3), ('<S>', 3), ('a', 2), ('é', 2), ('Z', 1), ('b', 1)]
  for order in itertools.permutations(expected):
    assert vocabulary.most_frequent(dict(order)) == expected
    for number in (1, 3, 5, 6, 7):
      assert vocabulary.most_frequent(
          dict(order), number) == expected[:number]
  assert vocabulary.most_frequent({}) == []


def test_file_and_ids(tmp_path):
  path = tmp_path / 'words.txt'
  counts = [('a', 9), ('<S>', 5), ('</S>', 5), ('naïve', 1)]
  vocabulary.write_word_counts(str(path), counts)
  assert path.read_bytes() == 'a 9\n<S> 5\n</S> 5\nnaïve 1\n'.encode()
  assert list(tmp_path.iterdir()) == [path]
  vocab = vocabulary.Vocabulary(str(path), *MARKERS)
  assert len(vocab) == 5
  assert (vocab.start_id, vocab.end_id, vocab.unk_id) == (1, 2, 4)
  assert [vocab.word_to_id(word) for word, _ in counts] == [0, 1, 2, 3]
  assert [vocab.id_to_word(i) for i in range(5)] == [
      'a', '<S>', '</S>', 'naïve', '<UNK>']


def test_counts_are_read_as_they_were_written(tmp_path):
  path = tmp_path / 'words.txt'
  vocabulary.write_word_counts(
      str(path), [('a', 9), ('<S>', 5), ('naïve', 10**12)])
  assert vocabulary.read_counts(str(path)) == [9, 5, 10**12]


@pytest.mark.parametrize('line', ['a', 'a many', 'a 1.5', ''])
def test_a_line_without_a_count(tmp_path, line):
  path = tmp_path / 'words.txt'
  path.write_text(f'<S> 3\n{line}\n</S> 3\n')
  with pytest.raises(ValueError) as error:
    vocabulary.read_counts(str(path))
  assert str(error.value) == f'{path}:2: no count behind the word'


@pytest.mark.parametrize('style', [
    None, caption_styles.named('clean'),
    caption_styles.named('nltk', '{', '}', '?')],
                         ids=['none', 'clean', 'other markers'])
def test_a_copy_has_the_style_of_its_captions(tmp_path, style):
  source = tmp_path / 'counts.txt'
  source.write_bytes('a 9\nnaïve 5'.encode())
  if style:
    caption_styles.write(str(source), style)
  folder = tmp_path / 'run'
  folder.mkdir()
  vocabulary.copy(str(source), str(folder))
  copy = folder / 'word_counts.txt'
  assert copy.read_bytes() == source.read_bytes()
  assert caption_styles.read(str(copy)) == style
  assert len(list(folder.iterdir())) == (2 if style else 1)


def test_no_copy_where_the_style_is_damaged(tmp_path):
  source = tmp_path / 'counts.txt'
  source.write_text('a 9\n')
  (tmp_path / 'counts.style.json').write_text('{"name": "clean')
  folder = tmp_path / 'run'
  folder.mkdir()
  with pytest.raises(ValueError, match='counts.style.json'):
    vocabulary.copy(str(source), str(folder))
  assert not list(folder.iterdir())


def test_unknown_words_and_ids(make):
  vocab = make('<S> 3\n</S> 3\na 2\n')
  assert vocab.word_to_id('zebra') == vocab.unk_id == 3
  assert [vocab.id_to_word(i) for i in (-1, 3, 4, 12000)] == ['<UNK>'] * 4


def test_other_markers(make):
  vocab = make('a 3\n{ 2\n} 2\n', ('{', '}', '?'))
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
    vocabulary.Vocabulary(str(tmp_path / 'none_such.txt'), *MARKERS)


@pytest.mark.skipif(not PUBLISHED.exists(), reason=f'no {PUBLISHED}')
def test_the_published_vocabulary():
  vocab = vocabulary.Vocabulary(str(PUBLISHED))  # The markers are im2txt's.
  assert len(PUBLISHED.read_bytes().splitlines()) == 11519
  assert len(vocab) == 11520
  assert vocab.unk_id == 11519
  assert vocab.id_to_word(vocab.start_id) == '<S>'
  assert vocab.id_to_word(vocab.end_id) == '</S>'
  assert vocab.id_to_word(vocab.word_to_id('surfboard')) == 'surfboard'
