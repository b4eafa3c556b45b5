"""Words of captions: equal to the official tokenizer's, and on any text."""

import gzip
import importlib.util
import json
import pathlib
import random
import shutil
import subprocess

import pytest

from im2txt.scoring import ptb_tokenizer

TESTS = pathlib.Path(__file__).resolve().parent.parent
# Captions of our own with the official tokenizer's words:
# caption, tab, words with a space between.
GOLDEN = TESTS / 'goldens/ptb_tokens.tsv'
HUMAN = (TESTS.parents[1] /
         'shared/data/metrics/val2017_human_loo1000_ptb_tokenized.json.gz')
# What coco-caption removes of the tokens.
PUNCTUATION = ["''", "'", '``', '`', '-LRB-', '-RRB-', '-LCB-', '-RCB-', '.',
               '?', '!', ',', ':', '-', '--', '...', ';']

WORDS, PIECES = map(str.split, (
    'a the man woman dog dogs children street two riding sitting with and of '
    'hydrant giraffe frisbee t-shirt x-ray half-eaten well-lit TV New York '
    'Boston Smith McDonald Coca-Cola iPhone café piñata jalapeño '
    "can't don't isn't it's they're we've I'm you'll dog's dogs' boys' "
    "cannot gonna gotta o'clock O'Neill 'n' 'em 'til '70s 1960's don’t dog’s",
    '1 12 2012 1,000 1.5 .5 10:30 7pm 1/2 24/7 50% $5 $1.50 #1 #dog 3rd 4x4 '
    '5\'10" 5-year-old ½ £5 €20 5¢ 555-1234 U.S. p.m. A.M. e.g. etc. Mr. Dr. '
    'St. Mt. Jan. Sept. Inc. vs. no. lbs. and/or w/ black/white www.here.org '
    'http://here.org/a.jpg photo.jpg me@here.org @home AT&T &amp; & + = * _ ~ '
    '^ | / \\ ( ) [ ] { } < > << - -- – — ... … . , ; : ! ? !! ?! " \' ` `` '
    "'' “ ” ‘ ’ :) ;) :-( ^_^ # @ % $ ° © • 🐶"))


def golden():
  return [tuple(line.rpartition('\t')[::2])
          for line in GOLDEN.read_text('utf-8').split('\n')[:-1]]


def made_up_captions(number, seed):
  """Mixtures of pieces; none ends in a single letter and a full stop."""
  dice = random.Random(seed)
  captions = []
  for _ in range(number):
    pieces = []
    for _ in range(dice.randint(1, 12)):
      piece = dice.choice(dice.choice([WORDS, WORDS + PIECES]))
      if piece in WORDS and dice.random() < .2:
        piece += dice.choice(['.', ',', ';', ':', '!', '?', '...'])
      if piece in WORDS and dice.random() < .2:
        piece = dice.choice(['"{}"', "'{}'", '“{}”', '({})', '[{}]']).format(
            piece)
      if dice.random() < .2:
        piece = dice.choice([piece.upper(), piece.capitalize()])
      pieces.append(piece)
    captions.append(' '.join(pieces) + dice.choice([' cat', ' cat.', '!']))
  return captions


def test_captions_give_the_official_words():
  lines = golden()
  assert len(lines) > 100
  wrong = {caption: (ptb_tokenizer.tokenize(caption), words)
           for caption, words in lines
           if ' '.join(ptb_tokenizer.tokenize(caption)) != words}
  assert not wrong


@pytest.mark.skipif(not HUMAN.exists(), reason=f'no {HUMAN}')
def test_captions_of_coco_give_the_official_words():
  with gzip.open(HUMAN) as file:
    images = json.load(file)
  pairs = [pair for image in images
           for pair in zip(image['raw'], image['tokenized'], strict=True)]
  assert len(pairs) > 4000
  assert [' '.join(ptb_tokenizer.tokenize(raw)) for raw, _ in pairs] == [
      tokenized for _, tokenized in pairs]


@pytest.fixture(scope='module')
def official(tmp_path_factory):
  """The official tokenizer: gives the words of captions."""
  package = importlib.util.find_spec('pycocoevalcap')
  if not package:
    pytest.skip('pycocoevalcap is not installed')
  [folder] = package.submodule_search_locations
  jar = pathlib.Path(folder, 'tokenizer/stanford-corenlp-3.4.1.jar')
  if not jar.exists():
    pytest.skip(f'no {jar}')
  if not shutil.which('java'):
    pytest.skip('no java on PATH')
  path = tmp_path_factory.mktemp('official') / 'captions.txt'

  def tokenize(captions):
    path.write_text('\n'.join(captions) + '\n', 'utf-8')
    output = subprocess.run(
        ['java', '-Dfile.encoding=UTF-8', '-cp', str(jar),
         'edu.stanford.nlp.process.PTBTokenizer', '-preserveLines',
         '-lowerCase', str(path)], capture_output=True, check=True).stdout
    lines = output.decode('utf-8').split('\n')[:len(captions)]
    assert len(lines) == len(captions)
    return [[word for word in line.rstrip().split(' ')
             if word and word not in PUNCTUATION] for line in lines]

  return tokenize


def test_the_golden_is_official(official):
  captions, words = zip(*golden(), strict=True)
  assert [' '.join(line) for line in official(captions)] == list(words)


def test_made_up_captions_give_the_official_words(official):
  captions = made_up_captions(500, seed=5)
  assert [ptb_tokenizer.tokenize(caption) for caption in captions] == (
      official(captions))


def test_a_full_stop_at_the_end_belongs_to_the_sentence():
  # Unlike the official one, which asks the next caption for it.
  for end in ('.', '. ', ' .'):
    assert ptb_tokenizer.tokenize(f'A letter C{end}') == ['a', 'letter', 'c']
  assert ptb_tokenizer.tokenize('In the U.S.') == ['in', 'the', 'u.s.']


def test_a_line_break_is_a_space():
  assert ptb_tokenizer.tokenize('a dog\nruns.\nIt\n') == [
      'a', 'dog', 'runs', 'it']
  # Inside markup too: METEOR is given a line a caption.
  assert ptb_tokenizer.tokenize('a <a href="x\ry"> b') == [
      'a', '<a\xa0href="x\xa0y">', 'b']


@pytest.mark.parametrize('caption', ['', ' \n\t ', '.', '?', '"\'`', '-- - ,'])
def test_nothing_is_left(caption):
  assert ptb_tokenizer.tokenize(caption) == []


def test_any_text_gives_words_without_spaces():
  dice = random.Random(7)
  characters = (
      'aAsStTnNmM019 \t\n\r\x00\x0b\x85\x92\xa0\xad.,;:!?\'"`-_/\\@#$%&*+<>='
      '()[]{}^|~éßıſK½²€“”‘’–—…\u0301\u200b\u2028\u3000\ufeffж猫あ🐶\ud800')
  for _ in range(3000):
    text = ''.join(dice.choices(characters, k=dice.randint(1, 30)))
    for word in ptb_tokenizer.tokenize(text):
      assert word, repr(text)
      assert not any(c.isspace() and c != '\xa0' for c in word), repr(text)


def test_words_are_split_no_further():
  dice = random.Random(11)
  for _ in range(500):
    caption = ' '.join(dice.choices(WORDS, k=8)) + '.'
    words = ptb_tokenizer.tokenize(caption)
    assert ptb_tokenizer.tokenize(' '.join(words)) == words


@pytest.mark.parametrize('piece', [
    'a', 'a-', 'a.', 'a,', "a'", 'a/', 'a@', 'a_', '1.', '1 ', '1-', '.', "'",
    '-', ' ', '<', '<a ', '<!', "<a b='", '(', '&', 'A&', 'www.', 'http://',
    'é', '“', '🐶', 'a!', '<a  '])
def test_a_long_text_is_no_trouble(piece):
  # Rules that try every way to divide a text would never end here.
  assert ptb_tokenizer.tokenize(piece * 20000 + ' end')[-1] == 'end'
