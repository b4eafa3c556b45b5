"""The command line that scores captions, on files good and bad."""

import gzip
import json
import math
import os
import re
import shutil

import pytest
import tensorflow as tf
from command_runner import NO_JAVA

from im2txt import score_captions
from im2txt.inputs import sequence_example
from im2txt.scoring import metrics
from im2txt.text.annotations import AnnotatedImage

WRITTEN = {
    'dog.jpg': ['A dog runs.', 'The brown dog is running on grass.'],
    'cat.jpg': ['A cat sleeps on a couch.', 'Two cats', 'a cat'],
    'bus.jpg': ['A red bus, parked.'],
    'man.jpg': ['A man waits for a bus.', "The man's at a bus stop."]}
IDS = {'dog.jpg': 7, 'cat.jpg': 3, 'bus.jpg': 2**40, 'man.jpg': 5}
CAPTIONS = {'dog.jpg': 'A dog runs on grass.', 'bus.jpg': 'a red bus parked',
            'cat.jpg': 'a dog runs on grass'}
TRAINING = ('a dog runs on grass', 'A zebra eats.', 'a cat on a couch')
SCORES = ['Bleu_1', 'Bleu_2', 'Bleu_3', 'Bleu_4', 'ROUGE_L', 'CIDEr']
# An earlier result's beginning.
OLD = '{\n "num_images": 3'


@pytest.fixture
def score(launch):
  """Run it without METEOR."""
  return lambda *arguments: launch(
      'im2txt.score_captions', *arguments, environment=NO_JAVA)


def coco(written, ids):
  """An annotation file; one more image in it has no captions."""
  return {
      'images': [*({'id': ids[name], 'file_name': name} for name in written),
                 {'id': 9, 'file_name': 'silent.jpg'}],
      'annotations': [
          {'id': 10 * i + j, 'image_id': ids[name], 'caption': caption}
          for i, (name, captions) in enumerate(written.items())
          for j, caption in enumerate(captions)]}


def results(captions):
  return [{'image_id': image, 'caption': caption}
          for image, caption in captions.items()]


@pytest.fixture
def write(tmp_path):
  """Write JSON, or a text as it is."""
  def write(name, content):
    path = tmp_path / name
    path.write_text(
        content if isinstance(content, str) else json.dumps(content), 'utf-8')
    return path
  return write


@pytest.fixture
def by_name(write):
  """Results by file names."""
  return write('results.json', results(CAPTIONS))


@pytest.fixture
def annotations(write):
  """In COCO's form."""
  return write('captions.json', coco(WRITTEN, IDS))


@pytest.fixture
def expected(tmp_path, monkeypatch):
  """What metrics says of the captions; metrics_test looks after that."""
  monkeypatch.setenv('PATH', str(tmp_path))
  return lambda training: metrics.Scorer(
      {name: WRITTEN[name] for name in CAPTIONS}, training).evaluate(CAPTIONS)


def rows(table):
  """Scores of a table: of the captions and of the constant ones, by label."""
  found = re.findall(
      r'^(\S.*?)' + 3 * r' +(\d\.\d{4})' + '$', table, re.M)
  return {label: tuple(map(float, scores)) for label, *scores in found}


def check_rows(table, evaluation):
  labels = {'CIDEr (CIDEr-D)' if name == 'CIDEr' else name: name
            for name in SCORES}
  assert rows(table) == {
      label: pytest.approx((evaluation.captions.overall[name],
                            *(constant.scores[name] for constant
                              in evaluation.constants.values())), abs=6e-5)
      for label, name in labels.items()}
  assert list(rows(table)) == list(labels)


def test_scores_without_training(score, by_name, annotations, expected):
  finished = score(f'--results={by_name}', f'--annotations={annotations}')
  assert finished.returncode == 0, finished.stderr
  evaluation = expected(None)
  check_rows(finished.stdout, evaluation)
  # Of three captions two are the same: of a, dog, runs, on, grass, red, bus,
  # parked.
  *table, length, _, source, _, bleu, cider = finished.stdout.splitlines()
  heading, names, *_, distinct, novel, words = table
  assert heading.strip() == 'captions   constant captions, best in'
  assert names.split() == ['Bleu_4', 'CIDEr']
  assert distinct == 'distinct captions    66.7%'
  assert novel == 'not in training      unknown, give --train_captions'
  assert words == 'different words      8'
  assert length == 'words a caption      4.7'
  assert source == (
      'Of the captions of these images (give --train_captions),')
  assert [bleu, cider] == [
      f'{name:<9}{constant.caption}'
      for name, constant in evaluation.constants.items()]
  assert 'scoring 3 of the 5 annotated images; the others have no result' in (
      finished.stderr)
  assert 'METEOR is left out: it needs java' in finished.stderr
  assert len(finished.lines) == 2, finished.stderr


def test_ids_names_and_either_form_score_the_same(
    score, write, by_name, annotations, tmp_path, expected):
  tokens = tmp_path / 'token.txt.gz'
  tokens.write_bytes(gzip.compress(''.join(
      f'{name}#{i}\t{caption}\n' for name, captions in WRITTEN.items()
      for i, caption in enumerate(captions)).encode()))
  by_id = write('by_id.json', results(
      {IDS[name]: caption for name, caption in CAPTIONS.items()}))
  output = write('scores.json', OLD)
  # It is written anew and put in the older one's place, never into that.
  os.link(output, tmp_path / 'older')
  written = {}
  tables = set()
  for files in ((by_name, annotations), (by_id, annotations),
                (by_name, tokens)):
    finished = score(f'--results={files[0]}', f'--annotations={files[1]}',
                     f'--output_json={output}')
    assert finished.returncode == 0, finished.stderr
    tables.add(finished.stdout)
    written[files] = json.loads(output.read_text('utf-8'))
  assert (tmp_path / 'older').read_text() == OLD
  assert not output.with_suffix('.json.tmp').exists()
  assert len(tables) == 1
  evaluation = expected(None)
  assert {name: found for name, found in written[by_name, tokens].items()
          if name != 'of_image'} == evaluation.summary()
  of_image = written[by_name, annotations].pop('of_image')
  assert of_image == written[by_name, tokens].pop('of_image') == [
      {'image_id': name} | {
          score: evaluation.captions.each[score][i] for score in SCORES}
      for i, name in enumerate(CAPTIONS)]
  assert written[by_id, annotations].pop('of_image') == [
      scores | {'image_id': IDS[scores['image_id']]} for scores in of_image]
  assert len({json.dumps(summary) for summary in written.values()}) == 1


def test_training_captions_of_shards_and_of_files(
    score, write, by_name, annotations, tmp_path, expected):
  shard = tmp_path / 'train-00000-of-00001'
  with tf.io.TFRecordWriter(str(shard)) as writer:
    for i, caption in enumerate(TRAINING):
      words = ['<S>', *caption.split(), '</S>']
      writer.write(sequence_example.make_pair(
          i, b'JPEG', sequence_example.Caption(
              words, range(len(words)))).SerializeToString())
  file = write('train.json', coco(
      {f'{i}.jpg': [caption] for i, caption in enumerate(TRAINING)},
      {f'{i}.jpg': i for i in range(len(TRAINING))}))
  tables = []
  for source in (f'{tmp_path}/train-?????-of-00001', file):
    finished = score(f'--results={by_name}', f'--annotations={annotations}',
                     f'--train_captions={source}')
    assert finished.returncode == 0, finished.stderr
    tables.append(finished.stdout)
  assert tables[0] == tables[1]
  check_rows(tables[0], expected(TRAINING))
  assert 'not in training      33.3%' in tables[0]
  assert 'Of the captions of training,\n' in tables[0]
  assert '\nCIDEr    a dog runs on grass\n' in tables[0]


def test_training_captions_count_in_either_form(
    score, by_name, annotations, tmp_path):
  # A model that was trained on words says them again, punctuation or not.
  shard = tmp_path / 'train-00000-of-00001'
  with tf.io.TFRecordWriter(str(shard)) as writer:
    for i, (words, raw) in enumerate((
        ('dog runs on', 'A dog runs on: grass!'), ('a red bus parked', '?'),
        ('cat', 'A cat on a couch.'))):
      words = ['<S>', *words.split(), '</S>']
      writer.write(sequence_example.make_pair(
          i, b'JPEG', sequence_example.Caption(
              words, range(len(words)), raw)).SerializeToString())
  finished = score(f'--results={by_name}', f'--annotations={annotations}',
                   f'--train_captions={shard}')
  assert finished.returncode == 0, finished.stderr
  assert 'not in training      0.0%' in finished.stdout


def test_tokenized_annotations(score, write):
  by_id = write('results.json', results({7: 'A dog.', 3: 'a cat'}))
  file = write('captions.json', {
      'images': [{'id': 7}, {'id': 3}],
      'annotations': [{'id': 1, 'image_id': 7, 'caption': 'A dog .'},
                      {'id': 2, 'image_id': 3, 'caption': 'a cat'}]})
  found = []
  for flag in ('--notokenized_annotations', '--tokenized_annotations'):
    finished = score(f'--results={by_id}', f'--annotations={file}', flag)
    assert finished.returncode == 0, finished.stderr
    assert 'scoring 2 of the 2 annotated images\n' in finished.stderr
    found.append(rows(finished.stdout)['Bleu_1'][0])
  # As they are, A is no a, and the full stop is a fifth word for four.
  assert found == pytest.approx([1, 3 / 4 * math.exp(1 - 5 / 4)], abs=6e-5)


@pytest.mark.long
@pytest.mark.skipif(not shutil.which('java'),
                    reason='no java on PATH: METEOR is not tested')
def test_meteor_stands_in_the_table(launch, by_name, annotations, tmp_path):
  output = tmp_path / 'scores.json'
  finished = launch(
      'im2txt.score_captions', f'--results={by_name}',
      f'--annotations={annotations}', f'--output_json={output}')
  assert finished.returncode == 0, finished.stderr
  assert 'METEOR' not in finished.stderr
  meteor, *constants = rows(finished.stdout)['METEOR']
  assert meteor > max(constants) >= min(constants) > 0
  assert list(rows(finished.stdout)) == [
      *SCORES[:4], 'METEOR', 'ROUGE_L', 'CIDEr (CIDEr-D)']
  written = json.loads(output.read_text('utf-8'))
  of_image = [scores['METEOR'] for scores in written['of_image']]
  assert max(of_image) == of_image[1] == 1  # The bus, word for word.
  assert written['captions']['METEOR'] == pytest.approx(meteor, abs=6e-5)
  assert [constant['scores']['METEOR']
          for constant in written['constants'].values()] == pytest.approx(
              constants, abs=6e-5)


@pytest.mark.parametrize(('content', 'message'), [
    ('[{"image_id": 7, "caption": "a dog"', 'results.json:1:36: broken JSON'),
    ([{'caption': 'a dog'}], "result 0: 'image_id' or 'caption' is missing"),
    (results({7: 'a dog', 8: 'a cat'}),
     'results.json: image 8 is not annotated in {annotations}'),
    (results({'d/cow.jpg': 'a dog'}),
     "results.json: image 'd/cow.jpg' is not annotated in {annotations}"),
    (results({'silent.jpg': 'a dog'}),
     "results.json: image 'silent.jpg' is without captions in {annotations}"),
    (results({'dog.jpg': 'a dog', 7: 'a dog'}),
     "results.json: 'dog.jpg' and 7 are the same image in {annotations}"),
    (results({7: 'a dog'}) * 2,
     'result 1 (image 7): this image has a result already'),
    (results({7: 3}), "result 0 (image 7): no caption"),
], ids=['no JSON', 'no id', 'unknown id', 'unknown name', 'no annotation',
        'id and name', 'twice', 'number'])
def test_hostile_results_are_one_line(
    score, write, annotations, content, message):
  path = write('results.json', content)
  output = write('scores.json', OLD)
  finished = score(f'--results={path}', f'--annotations={annotations}',
                   f'--output_json={output}')
  assert finished.returncode == 1 and finished.stdout == ''
  assert finished.error.startswith(f'score_captions: error: {path}')
  assert message.format(annotations=annotations) in finished.error
  assert output.read_text() == OLD


def test_what_is_refused_before_any_work(score, write, by_name, annotations):
  nothing = write('nothing.json', {'images': [], 'annotations': []})
  for flag, part in ((f'--train_captions={nothing}',
                      f'{nothing} has no captions'),
                     ('--output_json=none/x.json',
                      '--output_json=none/x.json: there is no such folder')):
    finished = score(
        f'--results={by_name}', f'--annotations={annotations}', flag)
    assert finished.returncode == 1 and finished.stdout == ''
    assert part in finished.error


def test_a_number_may_be_written_as_a_text():
  images = [AnnotatedImage(7, None, ['a dog'], 'x.json')]
  assert score_captions.find_references({'7': 'a'}, images) == {'7': ['a dog']}
  with pytest.raises(ValueError, match="'7' and 7 are the same image"):
    score_captions.find_references({'7': 'a', 7: 'a'}, images)
  with pytest.raises(ValueError, match='is not annotated, nor are 1 others'):
    score_captions.find_references({'x': 'a', 7: 'a', 'y': 'a'}, images)


def test_any_form_of_captions_and_empty_ones(score, write):
  captions = write('captions.csv', 'file_name;text\ndogs/1.jpg;A dog runs\n'
                   'cats/1.jpg;A cat sleeps\ncats/2.jpg;A cat\n')
  results_file = write(
      'results.jsonl', '{"image_id": "dogs/1.jpg", "caption": "a dog runs"}\n'
      '{"image_id": "2.jpg", "caption": ""}\n')
  finished = score(f'--results={results_file}', f'--annotations={captions}')
  assert finished.returncode == 0, finished.stderr
  assert '1 captions are empty' in finished.stderr
  assert rows(finished.stdout)['CIDEr (CIDEr-D)'][0] > 0
  results_file = write('result.json', {'cats/1.jpg': 'a cat sleeps'})
  finished = score(f'--results={results_file}', f'--annotations={captions}')
  assert finished.returncode == 0, finished.stderr
  assert 'CIDEr of one image is 0' in finished.stderr


def test_a_name_that_two_images_have():
  images = [AnnotatedImage(number, name, ['a dog'], 'x.json')
            for number, name in ((7, 'dog.jpg'), (8, 'dog.jpg'), (9, None))]
  assert score_captions.find_references({8: 'a', 9: 'a'}, images) == {
      8: ['a dog'], 9: ['a dog']}
  with pytest.raises(ValueError, match="'dog.jpg' may be any of 2 images"):
    score_captions.find_references({'dog.jpg': 'a'}, images)


@pytest.mark.parametrize(('flag', 'value', 'part'), [
    ('results', 'none.json', 'none.json'),
    ('annotations', 'none.txt', 'none.txt'),
    ('annotations', 'broken.json.gz', 'broken.json.gz is no'),
    ('train_captions', 'none-?????', 'none-?????'),
    ('train_captions', 'broken.json.gz', 'broken.json.gz is no'),
    ('output_json', 'none/scores.json', 'none/scores.json'),
])
def test_files_that_cannot_be_used_are_one_line(
    score, write, by_name, annotations, tmp_path, flag, value, part):
  write('broken.json.gz', 'no gzip')
  files = {'results': by_name, 'annotations': annotations,
           flag: tmp_path / value}
  finished = score(*(f'--{flag}={path}' for flag, path in files.items()))
  assert finished.returncode == 1 and finished.stdout == ''
  assert f'{tmp_path}/{part}' in finished.error
