"""Results of our own, read again: what was written, or one clear line."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from strategies import (
    changed_json,
    damaged,
    json_values,
    read_or_refuse,
    texts,
    whole_texts,
)

from data_prep import score_toy_captions
from data_prep.datasets.captioned_images import CaptionedImage
from data_prep.images import image_fetcher
from data_prep.shards import build
from im2txt import draw_captions
from im2txt.evaluation import metrics_file
from im2txt.results import coco_results
from im2txt.results import journal as result_journal
from im2txt.results import result as results

FIELDS = {'file': 'a.jpg', 'thumbnail': 'aaaa', 'seen': 0.5, 'captions': [
    {'caption': 'a dog', 'probability': 0.5, 'log_probability': -0.7,
     'attention': {'shape': [2, 1, 1], 'float16': 'AAAAAA=='}},
    {'caption': '', 'probability': 0.0, 'log_probability': -7000}]}
FAILED = {'file': 'b.jpg', 'error': 'not an image'}
METRICS = {
    'global_step': 10, 'perplexity': 9.5, 'num_examples': 3, 'num_words': 20,
    'input_file_pattern': 'val-*', 'num_eval_examples': 9, 'fingerprint': 'x',
    'accuracy': 0.25, 'scores': {'captions': {'CIDEr': 0.5}}}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return str(tmp_path_factory.mktemp('results'))


@st.composite
def captions(draw):
  text = draw(texts())
  attention = None
  words = len(text.split(' ')) if text else 0
  if draw(st.booleans()):
    attention = draw(numpy_strategies.arrays(
        np.float16, (words, 2, 3), elements=st.floats(0, 1, width=16))
        ).astype(np.float32)
  return results.Caption(text, draw(st.floats(max_value=0)), attention)


found = st.builds(
    results.Result, texts(), st.lists(captions(), max_size=3).map(tuple),
    st.none(), st.none() | st.binary(max_size=9),
    st.floats(0.001, 1))
failed = st.builds(lambda file, error: results.Result(file, (), error),
                   texts(), texts())


def same(one, other):
  """Whether two results are the same, attention included."""
  def plain(result):
    return result._replace(captions=[
        caption._replace(attention=None if caption.attention is None
                         else caption.attention.tolist())
        for caption in result.captions])
  return plain(one) == plain(other)


@given(result=found | failed)
def test_results_are_read_as_they_were_written(result):
  assert same(results.from_line(results.to_line(result)), result)


def check_result(result):
  """All that is done with a result can be done with it."""
  json.dumps(results.as_fields(result))
  for caption in result.captions:
    assert 0 <= caption.probability <= math.e or math.isnan(
        caption.probability)
    if caption.attention is not None:
      assert len(caption.attention) == len(caption.words)
  assert results.to_line(result).endswith('\n')


@given(lines=st.lists(changed_json(FIELDS) | changed_json(FAILED),
                      max_size=3).map(b'\n'.join).flatmap(damaged))
def test_files_of_results(folder, lines):
  for result in (read_or_refuse(
      draw_captions.read, f'{folder}/results.jsonl', lines) or {}).values():
    check_result(result)


SETTINGS = {'checkpoint': 'run/model.ckpt-1', 'beam_size': 3}
HEADER = json.dumps(SETTINGS, sort_keys=True).encode() + b'\n'


def read_journal(path):
  with result_journal.Journal(path, SETTINGS) as journal:
    files = list(journal._offsets)
    found = [journal.result(file) for file in files]
    new = results.Result('new', (), 'no')
    journal.append([new])
    assert len(journal) == len({*files, 'new'})
    assert journal.result('new') == new and 'new' not in journal
  return found


@given(content=st.builds(
    lambda header, lines: header + b'\n'.join(lines),
    st.just(HEADER) | changed_json(SETTINGS).map(lambda line: line + b'\n'),
    st.lists(changed_json(FIELDS) | changed_json(FAILED), max_size=3)
    ).flatmap(damaged))
def test_journals(folder, content):
  for result in read_or_refuse(
      read_journal, f'{folder}/results.progress', content) or ():
    check_result(result)


@given(of_files=st.lists(found | failed, min_size=1, max_size=4,
                         unique_by=lambda result: result.file),
       kept=st.integers(0, 10_000))
def test_journals_cut_off_anywhere_give_what_was_whole(
    folder, of_files, kept):
  path = f'{folder}/cut.progress'
  lines = [HEADER, *(results.to_line(result).encode() for result in of_files)]
  whole = b''.join(lines)
  kept %= len(whole) + 1
  again = read_or_refuse(read_journal, path, whole[:kept])
  ends = np.cumsum([len(line) for line in lines])
  count = max(0, np.searchsorted(ends, kept, 'right') - 1)
  assert len(again) == count
  assert all(map(same, again, of_files))


COCO = [{'image_id': 42, 'caption': 'a dog'},
        {'image_id': 'b.jpg', 'caption': 'a cat .'}]


@given(content=changed_json(COCO).flatmap(damaged))
def test_results_of_coco(folder, content):
  found = read_or_refuse(coco_results.read, f'{folder}/coco.json', content)
  # An empty caption is one, too.
  assert all(isinstance(caption.encode(), bytes)
             for caption in (found or {}).values())
  read_or_refuse(lambda path: coco_results.image_ids(['a/x.jpg'], path),
                 f'{folder}/annotations.json', content)


@given(captions=st.dictionaries(
    st.integers() | texts(), whole_texts().filter(str.strip), min_size=1))
def test_results_of_coco_are_read_as_they_were_written(folder, captions):
  path = f'{folder}/written.json'
  files = {f'{i}.jpg': image_id for i, image_id in enumerate(captions)}
  with coco_results.write(path, files) as write:
    for file, image_id in files.items():
      write(results.Result(
          file, (results.Caption(captions[image_id], -1.0),)))
  assert coco_results.read(path) == captions


@given(lines=st.lists(changed_json(METRICS), max_size=3).map(b'\n'.join)
       .flatmap(damaged))
def test_metrics(tmp_path_factory, folder, lines):
  read = read_or_refuse(lambda path: metrics_file.read_results(folder),
                        f'{folder}/{metrics_file.METRICS_FILE}', lines) or ()
  for result in read:
    assert isinstance(result.merit('perplexity'), float | int)
    try:
      assert isinstance(result.merit('CIDEr'), float)
    except ValueError as error:
      assert 'is unknown' in str(error)


@given(result=st.builds(
    metrics_file.Result, st.integers(0, 2**63 - 1), st.floats(allow_nan=False),
    st.integers(), st.integers(), texts(), st.integers(), texts(),
    st.none() | st.fixed_dictionaries({
        'captions': st.dictionaries(st.sampled_from(
            ['CIDEr', 'Bleu_4']), st.floats(0, 10)),
        'diversity': st.fixed_dictionaries(
            {'novel': st.none() | st.floats(0, 1)})}),
    st.none() | st.floats(0, 1), st.none() | st.floats(0, 1)))
def test_metrics_are_read_as_they_were_written(
    tmp_path_factory, result):
  folder = str(tmp_path_factory.mktemp('eval'))
  metrics_file.write_result(result, folder)
  assert metrics_file.read_results(folder) == [result]


@given(lines=st.lists(
    changed_json({'url': 'http://a', 'status': 'done'})
    | changed_json({'url': 'http://b', 'status': 'failed', 'reason': '404',
                    'passing': False}),
    max_size=3).map(lambda lines: b'\n'.join([*lines, b'']).replace(
        b'\n\n', b'\n')).flatmap(damaged))
def test_journals_of_fetched_images(folder, lines):
  read_or_refuse(
      lambda path: image_fetcher.fetch(
          [], folder, image_fetcher.Limits(), 1, False),
      f'{folder}/{image_fetcher.JOURNAL}', lines)


@given(content=changed_json(
    {'settings': {'layout': 'im2txt', 'x': 1}, 'bad': {'a.jpg': 'empty'}})
    .flatmap(damaged))
def test_records_of_builds(folder, content):
  with open(f'{folder}/train-00000-of-00001', 'wb'):
    pass
  with open(f'{folder}/build.json', 'wb') as f:
    f.write(content)
  with pytest.raises(ValueError, match=folder):
    build.build(
        {'train': [CaptionedImage(1, f'{folder}/a.jpg', 9 * ['a dog'])]},
        build.Options(folder, {'train': 1}))


SCENES = {'a.jpg': {'colour': 'red', 'object': 'boat', 'count': 1}}


@given(content=(changed_json(SCENES) | json_values().map(
    lambda value: json.dumps(value).encode())).flatmap(damaged))
def test_scenes(folder, content):
  read_or_refuse(score_toy_captions.read_scenes,
                 f'{folder}/scenes.json', content)
