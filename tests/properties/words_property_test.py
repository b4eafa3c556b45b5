"""Readers of words: vocabularies, their styles, word vectors, tokenizers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    changed_json,
    damaged,
    read_or_refuse,
    texts,
    texts_gone_wrong,
    words,
)

from data_prep.shards.words import tokenize
from im2txt.scoring import ptb_tokenizer
from im2txt.text import caption_styles, vocabulary
from im2txt.training import word_initialization

COUNTS = '<S> 9\n</S> 9\na 7\nhund 3\n'
OLD_COUNTS = "b'<S>' 9\nb'</S>' 9\nb'a' 7\nb'caf\\xc3\\xa9' 3\n"
STYLE = {'name': 'keras', 'start_word': '<start>', 'end_word': '<end>',
         'unknown_word': '<unk>'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return str(tmp_path_factory.mktemp('words'))


def check_vocabulary(vocab):
  """Ids and words lead to each other, and there are three markers."""
  assert all(vocab.word_to_id(vocab.id_to_word(i)) == i
             for i in range(len(vocab)))
  assert len({vocab.start_id, vocab.end_id, vocab.unk_id}) == 3


def read_counted(path):
  return vocabulary.Vocabulary(path), vocabulary.read_counts(path)


@given(content=damaged(COUNTS.encode()) | damaged(OLD_COUNTS.encode())
       | texts_gone_wrong(
           st.sampled_from(COUNTS.splitlines() + OLD_COUNTS.splitlines())
           | st.builds('{} {}'.format, words(), st.integers())))
def test_vocabularies(folder, content):
  path = f'{folder}/word_counts.txt'
  vocab = read_or_refuse(vocabulary.Vocabulary, path, content)
  if vocab:
    check_vocabulary(vocab)
  counted = read_or_refuse(read_counted, path, content)
  if counted:
    vocab, counts = counted
    # The unknown word may stand in the file.
    assert len(counts) in (len(vocab), len(vocab) - 1)
    biases = word_initialization.log_frequencies(path, vocab, len(vocab))
    assert not np.isnan(biases).any() or not sum(counts)


@given(literal=st.lists(st.sampled_from(
    ["b'", "'", 'b"', '"', '\\', 'x', 'a', ',', '+', '(', '1']), max_size=9)
    .map(lambda parts: f"b'{''.join(parts)}"))
def test_old_words(folder, literal):
  vocab = read_or_refuse(vocabulary.Vocabulary, f'{folder}/old.txt',
                         f'{OLD_COUNTS}{literal} 2\n'.encode())
  if vocab:
    check_vocabulary(vocab)


# A mark of the byte order is never a part of a word.
@given(words=st.sets(words().map(
    lambda word: word.replace('\ufeff', '')).filter(bool)))
def test_vocabularies_are_read_as_they_were_written(folder, words):
  path = f'{folder}/written.txt'
  counts = vocabulary.most_frequent(
      {word: i % 5 for i, word in enumerate(sorted(words))}
      | {'<S>': 2, '</S>': 2})
  vocabulary.write_word_counts(path, counts)
  vocab, read = read_counted(path)
  assert [(vocab.id_to_word(i), count)
          for i, count in enumerate(read)] == counts
  assert len(vocab) == len(counts) + ('<UNK>' not in words)


@given(words=st.sets(words().filter(lambda word: word.isprintable()
                                    and "'" not in word)))
def test_words_of_old_vocabularies_are_those_of_new_ones(folder, words):
  listed = ['<S>', '</S>', *sorted(words - {'<S>', '</S>'})]
  for name, write in (('new', str), ('old', lambda word: word.encode())):
    with open(f'{folder}/{name}', 'w', encoding='utf-8') as f:
      f.writelines(f'{write(word)} 1\n' for word in listed)
  new, old = (vocabulary.Vocabulary(f'{folder}/{name}')
              for name in ('new', 'old'))
  assert [old.id_to_word(i) for i in range(len(old))] == [
      new.id_to_word(i) for i in range(len(new))]


@given(content=changed_json(STYLE).flatmap(damaged))
def test_styles(folder, content):
  style = read_or_refuse(
      lambda path: caption_styles.read(path.replace('.style.json', '.txt')),
      f'{folder}/word_counts.style.json', content)
  if style:
    check_words(style, 'a <start> b')


@given(name=st.sampled_from(caption_styles.NAMES),
       markers=st.lists(words(), min_size=3, max_size=3, unique=True))
def test_styles_are_read_as_they_were_written(folder, name, markers):
  path = f'{folder}/written.txt'
  style = caption_styles.named(name, *markers)
  caption_styles.write(path, style)
  assert caption_styles.read(path) == style


def check_words(style, caption):
  """What a vocabulary can hold, between one marker in front and one behind."""
  first, *found, last = tokenize(caption, style)
  assert (first, last) == (style.start_word, style.end_word)
  assert not {style.start_word, style.end_word} & set(found)
  assert all(word.split() == [word] for word in found)


captions = texts(30) | st.lists(
    texts(4) | st.sampled_from(
        ['a', 'Dog', "can't", 'U.S.', '...', '``', '<start>', 'startseq',
         '<', 'S', '>', '3.5', 'http://a.b/c', 'well-known', '&amp;', '½',
         '<a b="c">', "'tis", 'cannot', ':-)', '(555)', '$5', 'n\'t', 'St.'])
    ).map(' '.join)


@given(caption=captions, name=st.sampled_from(caption_styles.NAMES))
def test_words_of_captions(caption, name):
  check_words(caption_styles.named(name), caption)


@given(caption=captions, marker=st.sampled_from(['a', 'startseq', '.', "n't"]),
       name=st.sampled_from(caption_styles.NAMES))
def test_words_of_captions_with_markers_like_words(caption, marker, name):
  check_words(caption_styles.named(name, marker, 'b'), caption)


@given(caption=captions)
def test_ptb_words(caption):
  for word in ptb_tokenizer.tokenize(caption):
    assert word and not set(word) & set(' \n')
  plain = ' '.join(part for part in caption.lower().split() if part.isascii()
                   and part.isalpha() and len(part) > 1)
  if 'cannot' not in plain:
    assert ptb_tokenizer.tokenize(plain) == plain.split()


@given(text=st.sampled_from(['a', 'a.', '-', '(', "'", '<a ', '1.', '. ', '@',
                             'a-', '&amp;', '/', 'http://', '\ud800']))
def test_ptb_words_of_long_captions(text):
  ptb_tokenizer.tokenize(5_000 * text)


vector_lines = st.builds(
    '{} {} {}'.format, words() | st.sampled_from(['a', '<S>', '<UNK>']),
    st.floats(width=32) | st.integers() | words(), st.floats(width=16))


def read_vectors(path):
  with open(f'{path}.words', 'w', encoding='utf-8') as f:
    f.write(COUNTS)
  return word_initialization.read_vectors(
      path, vocabulary.Vocabulary(f'{path}.words'))


@given(content=texts_gone_wrong(vector_lines))
def test_word_vectors(folder, content):
  for name in ('vectors', 'vectors.gz'):
    found = read_or_refuse(read_vectors, f'{folder}/{name}', content) or {}
    assert len({vector.shape for vector in found.values()}) <= 1
    assert all(np.isfinite(vector).all() for vector in found.values())


@given(vectors=st.dictionaries(
    st.sampled_from(['<S>', '</S>', 'a', 'hund', 'kind']),
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False),
             min_size=3, max_size=3), min_size=1))
def test_word_vectors_are_read_as_they_were_written(folder, vectors):
  path = f'{folder}/written'
  with open(path, 'w', encoding='utf-8') as f:
    f.writelines(f'{word} {" ".join(map(str, numbers))}\n'
                 for word, numbers in vectors.items())
  ids = {'<S>': 0, '</S>': 1, 'a': 2, 'hund': 3}
  found = read_vectors(path)
  assert {i: vector.tolist() for i, vector in found.items()} == {
      ids[word]: numbers for word, numbers in vectors.items() if word in ids}
