"""How captions become words, and what is kept of it beside the words."""

import collections
import json
import pathlib
import unicodedata

import pytest

from data_prep.datasets import flickr8k
from im2txt.text import caption_styles

FLICKR = (pathlib.Path(__file__).resolve().parents[3] /
          'shared/data/flickr8k')
NLTK, CLEAN, KERAS = map(caption_styles.named, ('nltk', 'clean', 'keras'))


@pytest.fixture
def vocab_file(tmp_path):
  """Path of a vocabulary, which need not be there."""
  return str(tmp_path / 'words.txt')


# By caption, what nltk, clean and keras make of it.
TRICKY = {
    "A Dog's 2 TOYS, e.g. \"balls\".": (
        "a dog 's 2 toys , e.g. `` balls '' .", 'dogs toys eg balls',
        "a dog's 2 toys e g balls"),
    "\"A dog,\" she said; 'tis 2 PM.": (
        "`` a dog , '' she said ; ' tis 2 pm .", 'dog she said tis pm',
        "a dog she said 'tis 2 pm"),
    "A 3-year-old boy's T-shirt": (
        "a 3-year-old boy 's t-shirt", 'boys tshirt',
        "a 3 year old boy's t shirt"),
    "don't rock'n'roll": ("do n't rock'n'roll", 'dont rocknroll',
                          "don't rock'n'roll"),
    'in 1984 , gate B2': ('in 1984 , gate b2', 'in gate', 'in 1984 gate b2'),
    'A dog. It runs.': ('a dog. it runs .', 'dog it runs', 'a dog it runs'),
    'snow_board\\roof~`^': ('snow_board\\roof~ ` ^', 'snowboardroof',
                            'snow board roof'),
    'tabs\tand\nlines': 3 * ('tabs and lines',),
    'x y z': ('x y z', '', 'x y z'),
    '1 !! 5': ('1 ! ! 5', '', '1 5'),
    '!? --': ('! ? --', '', ''),
    '': 3 * ('',),
    '  \n\t ': 3 * ('',),
    'Ünïted STRASSE naïve': 3 * ('ünïted strasse naïve',),
    '犬 が 走る': ('犬 が 走る', '走る', '犬 が 走る'),
    'ДВЕ собаки №5': ('две собаки №5', 'две собаки', 'две собаки №5'),
    # No sign that either tutorial knows of.
    'a “red” bus': ('a “ red ” bus', 'bus', 'a “red” bus'),
}


@pytest.mark.parametrize('caption', TRICKY)
def test_words_of_tricky_captions(caption):
  for style, words in zip((NLTK, CLEAN, KERAS), TRICKY[caption], strict=True):
    assert style.tokenize(caption) == [
        style.start_word, *words.split(), style.end_word], style.name


@pytest.mark.parametrize('name, markers, faithful', [
    ('nltk', ('<S>', '</S>', '<UNK>'), True),
    ('clean', ('startseq', 'endseq', '<unk>'), False),
    ('keras', ('<start>', '<end>', '<unk>'), False),
])
def test_markers_are_those_that_a_style_is_known_with(name, markers, faithful):
  style = caption_styles.named(name)
  assert style == caption_styles.CaptionStyle(name, *markers)
  assert style.faithful == faithful


def test_every_style_is_tested_here():
  assert caption_styles.NAMES == ('nltk', 'clean', 'keras')


def test_other_markers_keep_their_case():
  style = caption_styles.named('nltk', '<START>', '<END>')
  assert style.tokenize('Hi!') == ['<START>', 'hi', '!', '<END>']
  assert style.unknown_word == '<UNK>'
  style = caption_styles.named('keras', unknown_word='?')
  assert style == caption_styles.CaptionStyle('keras', '<start>', '<end>', '?')


@pytest.mark.parametrize('style, caption, words', [
    (CLEAN, 'Startseq the startseqs end-seq endseqs', 'the startseqs endseqs'),
    (CLEAN, 'endseq startseq', ''),
    # Without their brackets they are words as others.
    (KERAS, '<start> of the road <END>', 'start of the road end'),
    (NLTK, '<S> a </S>', '< s > a < /s >'),
    (caption_styles.named('keras', 'begin', 'end'),
     'begin at the END, beginner', 'at the beginner'),
    (caption_styles.named('nltk', 'bos', '.'), 'A dog . BOS .', 'a dog'),
])
def test_no_caption_has_a_marker_of_its_own(style, caption, words):
  # In its middle an end would be learned, and be what a caption ends with.
  assert style.tokenize(caption) == [
      style.start_word, *words.split(), style.end_word]


@pytest.mark.parametrize('style', [NLTK, CLEAN, KERAS],
                         ids=caption_styles.NAMES)
def test_no_word_holds_white_space(style):
  # White space of any kind would break the lines `word count`.
  caption = 'ab\u00a0bc\u2028cd\x85de\x1cef\u3000fg\tgh\nhi'
  words = style.tokenize(caption)
  assert not any(c.isspace() for word in words for c in word)
  assert words[1:-1] == ['ab', 'bc', 'cd', 'de', 'ef', 'fg', 'gh', 'hi']


# Types, those of 10 captions' words and more, and the longest caption; both
# markers counted. Of clean they are what the tutorials publish.
@pytest.mark.skipif(not FLICKR.exists(), reason=f'no {FLICKR}')
@pytest.mark.parametrize('style, facts', [
    (CLEAN, (7578, 1651, 34)), (KERAS, (7377, 1666, 39))])
def test_flickr8ks_training_captions(style, facts):
  splits = flickr8k.read_splits(
      str(FLICKR / 'Flickr8k.token.txt'),
      {'train': str(FLICKR / 'Flickr_8k.trainImages.txt')}, 'pics')
  captions = [style.tokenize(caption) for image in splits['train']
              for caption in image.captions]
  assert len(captions) == 30_000
  counts = collections.Counter(word for words in captions for word in words)
  assert facts == (len(counts), sum(n >= 10 for n in counts.values()),
                   max(map(len, captions)))


@pytest.mark.parametrize('name, markers', [
    ('im2txt', ()), ('NLTK', ()), ('', ()),
    ('clean', ('a b', 'c', 'd')), ('clean', ('', 'c', 'd')),
    ('keras', ('a', 'a', 'd')), ('keras', ('a', 'c', 'a')),
    ('nltk', ('a', ' c', 'd')), ('nltk', ('a', 'c', 'd\n')),
])
def test_no_style(name, markers):
  with pytest.raises(ValueError) as error:
    caption_styles.named(name, *markers)
  message = str(error.value)
  for part in markers or (repr(name), *caption_styles.NAMES):
    assert part in message or repr(part) in message
  assert '\n' not in message


@pytest.mark.parametrize('style', [
    NLTK, CLEAN, KERAS, caption_styles.named('keras', '<ß>', '"', '\\')],
                         ids=[*caption_styles.NAMES, 'odd markers'])
def test_a_style_is_read_as_it_was_written(style, vocab_file, tmp_path):
  assert caption_styles.read(vocab_file) is None
  caption_styles.write(vocab_file, style)
  assert caption_styles.read(vocab_file) == style
  assert [path.name for path in tmp_path.iterdir()] == ['words.style.json']


@pytest.mark.parametrize('vocab_file, path', [
    ('v/word_counts.txt', 'v/word_counts.style.json'),
    ('v/words', 'v/words.style.json'),
    ('v/words.8k', 'v/words.8k.style.json'),
    ('v/words.30k.txt', 'v/words.30k.style.json'),
    ('v.txt/words', 'v.txt/words.style.json'),
])
def test_each_vocabulary_has_a_style_of_its_own(vocab_file, path):
  assert caption_styles.path_of(vocab_file) == path


def test_the_file_is_plain_json(vocab_file):
  # Whoever trains from these words with other programs can read it.
  caption_styles.write(vocab_file, CLEAN)
  path = pathlib.Path(caption_styles.path_of(vocab_file))
  assert json.loads(path.read_text()) == {
      'name': 'clean', 'start_word': 'startseq', 'end_word': 'endseq',
      'unknown_word': '<unk>'}


GOOD = {'name': 'clean', 'start_word': 's', 'end_word': 'e',
        'unknown_word': 'u'}


@pytest.mark.parametrize('content', [
    b'', b'{"name": "clean"', b'\xff\xfe', b'[' * 100_000,
    *(json.dumps(value).encode() for value in (
        None, 'clean', ['clean', 's', 'e', 'u'], {}, {'name': 'clean'},
        GOOD | {'more': 1}, GOOD | {'name': 'cleaner'}, GOOD | {'name': None},
        GOOD | {'name': ['clean']}, GOOD | {'start_word': 'e'},
        GOOD | {'start_word': 7}, GOOD | {'end_word': None},
        GOOD | {'end_word': ['e']}, GOOD | {'unknown_word': ''},
        GOOD | {'unknown_word': 'un known'}))])
def test_a_damaged_file_is_one_line(content, vocab_file):
  path = pathlib.Path(caption_styles.path_of(vocab_file))
  path.write_bytes(content)
  with pytest.raises(ValueError) as error:
    caption_styles.read(vocab_file)
  assert str(error.value).startswith(str(path))
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(('caption', 'words'), [
    ('एक कुत्ता बर्फ में दौड़ता है।', ['एक', 'कुत्ता', 'बर्फ', 'में', 'दौड़ता']),
    ('ஒரு நாய் ஓடுகிறது', ['ஒரு', 'நாய்', 'ஓடுகிறது']),
    ('Une e\u0301charpe 2 fois', ['une', '\u00e9charpe', 'fois']),
    ('سگ می\u200cدود', ['سگ', 'می\u200cدود'])])
def test_clean_keeps_words_of_any_script(caption, words):
  tokens = caption_styles.named('clean').tokenize(caption)
  assert [word for word in tokens[1:-1] if word in words] == [
      unicodedata.normalize('NFC', word) for word in words]


@pytest.mark.parametrize('name', caption_styles.NAMES)
def test_letters_are_the_same_however_they_were_typed(name):
  style = caption_styles.named(name)
  assert style.tokenize('une e\u0301charpe') == style.tokenize(
      'une \u00e9charpe')
