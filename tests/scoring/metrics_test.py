"""Scores: equal to the official ones, with Java and without.

goldens/caption_scores.json has captions and references of our own, and what
the official pipeline gives them: pycocoevalcap 1.2, with Java 17,

  tokenize = PTBTokenizer().tokenize  # The Java one.
  references = tokenize({id: [{'caption': ...}, ...], ...})
  captions = tokenize({id: [{'caption': ...}], ...})
  for scorer in Bleu(4), Meteor(), Rouge(), Cider():
    overall, each = scorer.compute_score(references, captions)

`overall` has all digits, the scores of each image are rounded to 8 places.
"""

import ast
import gzip
import importlib.util
import json
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
from pycocoevalcap.bleu.bleu import Bleu

from im2txt.results import coco_results
from im2txt.scoring import metrics
from im2txt.scoring.ptb_tokenizer import tokenize
from im2txt.text import annotations

TESTS = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = json.loads(
    (TESTS / 'goldens/caption_scores.json').read_text('utf-8'))
REFERENCES = {image['image_id']: image['references']
              for image in GOLDEN['images']}
CAPTIONS = {image['image_id']: image['caption'] for image in GOLDEN['images']}
GOLDEN_OF_EACH = {image['image_id']: image['scores']
                  for image in GOLDEN['images']}
WITHOUT_METEOR = tuple(name for name in metrics.NAMES if name != 'METEOR')

SHARED = TESTS.parents[1] / 'shared/data/metrics'
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason=f'no {SHARED}')
needs_java = pytest.mark.skipif(
    not shutil.which('java'), reason='no java on PATH: METEOR is not tested')


@pytest.fixture
def no_java(tmp_path, monkeypatch):
  monkeypatch.setenv('PATH', str(tmp_path))


@pytest.fixture(scope='module')
def golden_scorer():
  """With METEOR where there is java, so take it sparingly."""
  return metrics.Scorer(REFERENCES, None)


@pytest.fixture(scope='module')
def golden_evaluation(golden_scorer):
  """Made where Java writes numbers with a comma."""
  options = '-Duser.language=de'
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('JAVA_TOOL_OPTIONS', options)
    evaluation = golden_scorer.evaluate(CAPTIONS)
    assert os.environ['JAVA_TOOL_OPTIONS'] == options
  return evaluation


def check(scores, images, overall, of_each, names):
  """Compare with scores that are known.

  Args:
    scores: ours.
    images: their order.
    overall: by name.
    of_each: by image, by name.
    names: what to compare.
  """
  for name in names:
    assert scores.overall[name] == pytest.approx(overall[name], abs=1e-6), name
    assert scores.each[name] == pytest.approx(
        [of_each[image][name] for image in images], abs=1e-4), name


def test_golden_scores(golden_evaluation):
  check(golden_evaluation.captions, REFERENCES, GOLDEN['overall'],
        GOLDEN_OF_EACH, WITHOUT_METEOR)


@needs_java
def test_golden_meteor(golden_scorer, golden_evaluation):
  assert golden_scorer.names == metrics.NAMES
  assert tuple(golden_evaluation.captions.overall) == metrics.NAMES
  assert tuple(golden_evaluation.captions.each) == metrics.NAMES
  for constant in golden_evaluation.constants.values():
    assert tuple(constant.scores) == metrics.NAMES
  check(golden_evaluation.captions, REFERENCES, GOLDEN['overall'],
        GOLDEN_OF_EACH, ['METEOR'])


@needs_java
def test_meteor_of_nothing_said(golden_scorer):
  *silent, last = CAPTIONS
  scores = golden_scorer.evaluate(
      dict.fromkeys(silent, '') | {silent[0]: '...', last: 'a dog'}).captions
  *nothing, something = scores.each['METEOR']
  assert set(nothing) == {0}
  assert something > 0.1


def all_scores(evaluation):
  return [*evaluation.captions, *(
      constant.scores for constant in evaluation.constants.values())]


@pytest.mark.usefixtures('no_java')
def test_without_java_only_meteor_is_missing(golden_evaluation, caplog):
  scorer = metrics.Scorer(REFERENCES, None)
  assert scorer.names == WITHOUT_METEOR
  evaluation = scorer.evaluate(CAPTIONS)
  assert evaluation.constants.keys() == golden_evaluation.constants.keys()
  for scores, with_java in zip(
      all_scores(evaluation), all_scores(golden_evaluation), strict=True):
    assert tuple(scores) == WITHOUT_METEOR
    assert scores == {name: with_java[name] for name in WITHOUT_METEOR}
  assert evaluation.diversity == golden_evaluation.diversity
  [line] = caplog.messages
  assert 'METEOR' in line and 'java' in line and 'PATH' in line


SCORE = """
from im2txt.scoring import metrics
scorer = metrics.Scorer({1: ['a dog runs', 'a dog'], 2: ['a cat']}, None)
evaluation = scorer.evaluate({1: 'a dog', 2: 'a cat'})
print(*evaluation.captions.overall)
print(*evaluation.constants['CIDEr'].scores)
print(*scorer.names)
"""


@pytest.fixture
def start_scoring(tmp_path):
  """Scores where the `java` on PATH is a text; in a process: it may hang."""
  running = []

  def begin(java):
    (tmp_path / 'java').write_text(java)
    (tmp_path / 'java').chmod(0o755)
    running.append(subprocess.Popen(
        [sys.executable, '-c', SCORE], cwd=TESTS.parent, text=True,
        env={'PATH': str(tmp_path), 'PYTHONPATH': str(TESTS.parent)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    return running[-1]

  yield begin
  for process in running:
    process.kill()
    process.communicate()


@pytest.mark.parametrize(('java', 'complaint'), [
    ('#!/bin/sh\necho no memory >&2\nexit 1\n',
     'java -version fails: no memory'),
    ('no program', 'java -version fails'),
    # As Java does for half of the requests of memory that it cannot have.
    ('#!/bin/sh\n[ "$1" = -version ] || echo Error: no jar >&2\n',
     'its Java program failed: Error: no jar'),
    ('#!/bin/sh\n[ "$1" = -version ] && exit\nread line\necho 1 2\n',
     'its Java program failed'),
    ('#!/bin/sh\n[ "$1" = -version ] && exit\n'
     'while read line; do echo Error; done\n', 'its Java program failed'),
    ('#!/bin/sh\n[ "$1" = -version ] && exit\nexec 0<&-\n'
     'while :; do echo 0; done\n', 'its Java program failed'),
], ids=['fails', 'is none', 'ends', 'ends later', 'talks', 'does not listen'])
def test_java_that_fails_costs_meteor_and_a_line(
    start_scoring, java, complaint):
  process = start_scoring(java)
  out, err = process.communicate(timeout=60)
  assert out.splitlines() == [' '.join(WITHOUT_METEOR)] * 3
  assert err.count('\n') == 1, err
  assert 'METEOR is left out' in err and complaint in err
  assert process.returncode == 0


def test_an_interrupt_ends_it_while_java_works(start_scoring, tmp_path):
  process = start_scoring(
      '#!/bin/sh\n[ "$1" = -version ] && exit\nread first\n'
      f': > "{tmp_path}/busy"\nread second\n')
  deadline = time.monotonic() + 60
  while not (tmp_path / 'busy').exists():
    assert time.monotonic() < deadline and process.poll() is None
    time.sleep(0.02)
  process.send_signal(signal.SIGINT)
  _, err = process.communicate(timeout=60)
  assert err.rstrip().endswith('KeyboardInterrupt')
  assert 'ignored' not in err


@pytest.mark.usefixtures('no_java')
def test_scores_stand_in_the_references_order():
  backwards = dict(reversed(CAPTIONS.items()))
  scores = metrics.Scorer(REFERENCES, None).evaluate(backwards).captions
  check(scores, REFERENCES, GOLDEN['overall'], GOLDEN_OF_EACH, WITHOUT_METEOR)


DOGS = {1: ['The dog runs.', 'A brown dog is running.'],
        2: ['A dog sleeps on the couch.'], 3: ['Two dogs play ball.'],
        4: ['There is a cat, too.', 'a cat', 'the white cat']}


@pytest.fixture
def evaluate(no_java):
  """Scores captions of the dogs."""
  def go(*captions, training=None):
    return metrics.Scorer(DOGS, training).evaluate(
        dict(zip(DOGS, captions, strict=True)))
  return go


@pytest.mark.parametrize(('captions', 'training', 'diversity'), [
    # a, dog, runs, two, dogs, cat.
    (('A dog runs.', 'a dog runs', 'Two dogs', 'a cat'),
     ['a dog RUNS!', 'the cat', 'two'],
     metrics.Diversity(3 / 4, 2 / 4, 6, 10 / 4)),
    (('a cat',) * 4, ['a cat.'], metrics.Diversity(1 / 4, 0, 2, 2)),
    (('a cat',) * 4, ['cat'], metrics.Diversity(1 / 4, 1, 2, 2)),
    (('a', 'b', 'c', 'd e d'), None, metrics.Diversity(1, None, 5, 6 / 4)),
    # Two of them are the same: nothing.
    (('', '...', 'a cat', 'dogs'), ['two dogs'],
     metrics.Diversity(3 / 4, 1, 3, 3 / 4)),
    (('', '', '', ''), ['a cat'], metrics.Diversity(1 / 4, 1, 0, 0)),
])
def test_diversity(evaluate, captions, training, diversity):
  assert evaluate(*captions, training=training).diversity == diversity


@pytest.mark.parametrize('training', [None, ['A cat', 'two dogs']])
def test_summary_is_json(evaluate, training):
  evaluation = evaluate('a dog', '', 'two dogs', 'a cat', training=training)
  summary = evaluation.summary()
  assert json.loads(json.dumps(summary, allow_nan=False)) == summary
  assert summary == {
      'num_images': 4,
      'captions': evaluation.captions.overall,
      'diversity': {
          'distinct': 1.0, 'novel': training and 0.5, 'num_words': 5,
          'mean_length': 1.5},
      'constants': {
          name: {'caption': constant.caption, 'scores': constant.scores}
          for name, constant in evaluation.constants.items()}}
  json.dumps(evaluation.captions.each, allow_nan=False)


@pytest.mark.parametrize('nothing', ['', ' ', '\n', '.', '? ...', '"" -- ;'])
def test_nothing_said_scores_nothing(evaluate, nothing):
  others = 'two dogs play ball', 'a cat'
  scores = evaluate('a dog', nothing, *others).captions
  said = evaluate('a dog', 'zebra', *others).captions
  for name in WITHOUT_METEOR:
    assert scores.each[name][1] == pytest.approx(0, abs=1e-6)
    # The others are not touched by it.
    assert scores.each[name][::2] == said.each[name][::2]
    assert scores.each[name][2] > 0.9
  silence = evaluate(*[nothing] * 4).captions
  assert silence.overall == pytest.approx(
      dict.fromkeys(WITHOUT_METEOR, 0), abs=1e-6)


@pytest.mark.usefixtures('no_java')
def test_a_single_image():
  evaluation = metrics.Scorer(
      {'dog.jpg': ['A dog runs on grass.', 'a dog']}, None
  ).evaluate({'dog.jpg': 'a dog runs on grass'})
  # CIDEr knows no rare word where there is but one image.
  assert evaluation.captions.overall == pytest.approx(
      dict.fromkeys(WITHOUT_METEOR, 1) | {'CIDEr': 0}, abs=1e-6)
  for constant in evaluation.constants.values():
    assert constant.caption in ('a dog runs on grass', 'a dog')


@pytest.mark.parametrize('name', ['Bleu_4', 'CIDEr'])
def test_constant_caption_is_one_of_training(evaluate, name):
  said = 'a dog', '', 'two dogs', 'a cat'
  training = ['Zebras eat their lunch!', 'The cat and the dog.',
              'zebra zebra zebra zebra zebra']
  constant = evaluate(*said, training=training).constants[name]
  assert constant.caption == 'the cat and the dog'
  # Training may have what does best, but never what is written of these.
  of_references = {' '.join(tokenize(caption))
                   for captions in DOGS.values() for caption in captions}
  for training in (None, []):
    evaluation = evaluate(*said, training=training)
    assert evaluation.constants[name].caption in of_references
    assert evaluation.constants[name].scores[name] == max(
        evaluate(*[caption] * 4).captions.overall[name]
        for caption in of_references)


@pytest.mark.parametrize('training', [None, ['a DOG.', 'dogs', 'it is a cat']])
def test_constant_caption_scores_as_any_caption(evaluate, training):
  evaluation = evaluate('a', 'b', 'c', 'd', training=training)
  for caption, scores in evaluation.constants.values():
    said = evaluate(*[caption] * 4, training=training)
    assert said.captions.overall == scores
    assert said.constants == evaluation.constants
    assert scores['CIDEr'] > 0


@pytest.mark.usefixtures('no_java')
def test_constant_caption_with_a_word_that_has_a_blank():
  # The tokenizer makes `1 1/2` one word, pycocoevalcap makes it two.
  references = {
      1: ['1 1/2 cakes'], 2: ['1 1/2 pies'], 3: ['a dog runs near a lake']}
  scorer = metrics.Scorer(references, ['zebra lake', '1 or 1/2'])
  evaluation = scorer.evaluate(dict.fromkeys(references, ''))
  assert evaluation.constants['CIDEr'].caption == '1 or 1/2'


@pytest.mark.usefixtures('no_java')
def test_tokenized_references_are_taken_as_they_are():
  # Our tokenizer would leave out the full stop and part `dogs'`.
  references = {1: ["the dogs' bowl ."], 2: ['a cat']}
  caption = {1: 'the bowl', 2: 'a cat'}
  plain = metrics.Scorer(references, None, split=str.split).evaluate(caption)
  # Of four words two are there: 1 * exp(1 - 4 / 2).
  assert plain.captions.each['Bleu_1'] == pytest.approx(
      [math.exp(-1), 1])
  assert plain.constants['CIDEr'].scores['Bleu_1'] > 0


@pytest.mark.usefixtures('no_java')
@pytest.mark.parametrize('references', [{}, {1: ['.'], 2: ['', '?', '...']}])
def test_references_without_a_word(references):
  with pytest.raises(ValueError, match='references') as refused:
    metrics.Scorer(references, ['a dog'])
  assert '\n' not in str(refused.value)


def test_without_pycocoevalcap_the_line_says_what_to_install(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ValueError, match='pycocoevalcap') as refused:
    metrics.Scorer(REFERENCES, None)
  message = str(refused.value)
  assert "pip install '.[metrics]'" in message and '\n' not in message


# References, results, expected scores of all and of each, the split.
FIXTURES = {
    'fakecap': ('captions_val2014_fakecap_refs_tokenized.json.gz',
                'captions_val2014_fakecap_results.json',
                'expected_fakecap', str.split),
    'human': ('val2017_human_loo1000_refs_raw.json.gz',
              'val2017_human_loo1000_results.json',
              'expected_val2017_human_loo1000', tokenize)}
PUBLISHED = {
    'fakecap': ((.579, .404, .279, .191, .195, .396, .600), 3),
    'human': ((.63194, .43754, .29523, .19726, .24290, .47200, .91944), 5)}


def read_shared(name):
  """References and captions, by image."""
  references, results, *_ = FIXTURES[name]
  captions = coco_results.read(str(SHARED / results))
  known = {image.image_id: image.captions
           for image in annotations.read(str(SHARED / references))}
  return {image: known[image] for image in captions}, captions


def check_shared(name, names):
  references, captions = read_shared(name)
  *_, expected, split = FIXTURES[name]
  evaluation = metrics.Scorer(references, None, split).evaluate(captions)
  scores, digits = PUBLISHED[name]
  published = dict(zip(metrics.NAMES, scores, strict=True))
  found = json.loads((SHARED / f'{expected}.json').read_text())
  overall = found.get('scores') or found['recomputed_pycocoevalcap_1.2_java17']
  with gzip.open(SHARED / f'{expected}_per_image.json.gz') as file:
    of_each = {int(image): value for image, value in json.load(file).items()}
  check(evaluation.captions, references, overall, of_each, names)
  for name in names:
    assert round(evaluation.captions.overall[name], digits) == published[name]


@needs_shared
@pytest.mark.usefixtures('no_java')
@pytest.mark.parametrize('name', FIXTURES)
def test_scores_of_cocos_captions(name):
  check_shared(name, WITHOUT_METEOR)


@needs_shared
@needs_java
@pytest.mark.long
@pytest.mark.parametrize('name', FIXTURES)
def test_meteor_of_cocos_captions(name):
  check_shared(name, metrics.NAMES)


@needs_shared
def test_counts_of_bleu(capsys):
  references, captions = read_shared('fakecap')
  Bleu(4).compute_score(
      {image: [' '.join(caption.split()) for caption in of_image]
       for image, of_image in references.items()},
      {image: [' '.join(tokenize(caption))]
       for image, caption in captions.items()}, verbose=1)
  counts = ast.literal_eval(capsys.readouterr().out.splitlines()[0])
  expected = json.loads((SHARED / 'expected_fakecap.json').read_text())
  assert counts == expected['published']['bleu_stats']
