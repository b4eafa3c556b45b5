"""Results of images and their lines of JSON."""

import base64
import json
import math
import os

import numpy as np
import pytest

from im2txt.results.result import Caption, Result, as_fields, from_line, to_line

CAPTIONS = (Caption('a dog .', -1.25), Caption('', -math.pi))


def test_probability_is_of_the_logarithm():
  assert Caption('a', 0.0).probability == 1.0
  assert Caption('a', math.log(0.25)).probability == pytest.approx(0.25)
  assert Caption('a', -1000.0).probability == 0.0


def test_fields_of_captions():
  assert as_fields(Result('d/a.jpg', CAPTIONS, thumbnail=b'x')) == {
      'file': 'd/a.jpg', 'captions': [
          {'caption': 'a dog .', 'log_probability': -1.25,
           'probability': pytest.approx(0.2865048)},
          {'caption': '', 'log_probability': -math.pi,
           'probability': pytest.approx(0.0432139)}]}


def attention(words, rows=3, columns=5, seed=1):
  weights = np.random.default_rng(seed).random(
      [words, rows, columns], np.float32)
  return weights / weights.sum((1, 2), keepdims=True)


def test_words_are_what_attention_is_of():
  assert Caption('a dog .', -1.0).words == ['a', 'dog', '.']
  assert Caption('', -1.0).words == []


def test_relative_attention_is_scaled_by_each_words_maximum():
  weights = attention(2)
  relative = Caption('a dog', -1.0, weights).relative_attention
  assert relative.dtype == np.float32
  assert relative.max((1, 2)).tolist() == [1, 1]
  for scaled, given in zip(relative, weights, strict=True):
    np.testing.assert_allclose(scaled * given.max(), given, rtol=1e-6)
  none = Caption('', -1.0, attention(0)).relative_attention
  assert none.shape == (0, 3, 5)


def test_users_do_not_get_attention_as_json():
  result = Result('a.jpg', CAPTIONS)
  attending = Result('a.jpg', (CAPTIONS[0]._replace(attention=attention(3)),
                               CAPTIONS[1]), visible_fraction=0.5)
  assert as_fields(attending) == as_fields(result)


def test_fields_of_an_error():
  assert as_fields(Result('a.jpg', error='no image')) == {
      'file': 'a.jpg', 'error': 'no image'}


@pytest.mark.parametrize('result', [
    Result('a.jpg'), Result('a.jpg', CAPTIONS),
    Result('a.jpg', CAPTIONS, thumbnail=bytes(range(256)) * 3),
    Result('a.jpg', thumbnail=b''), Result('a.jpg', error='why\nnot'),
    Result('a.jpg', error=''), Result('a\n"b\\\r\u2028.jpg', CAPTIONS),
    Result('küche/犬.jpg', (Caption('Hünd 🐕', -0.1),)),
    Result(os.fsdecode(b'caf\xe9\xff.jpg'), CAPTIONS)],
    ids=lambda result: ascii(result.file))
def test_a_line_is_one_line_and_gives_the_result_back(result):
  line = to_line(result)
  assert line.isascii() and line.endswith('\n')
  assert len(line.splitlines()) == 1
  assert from_line(line) == from_line(line.encode()) == result
  fields = json.loads(line)
  fields.pop('thumbnail', None)
  assert fields == as_fields(result)


def test_a_line_has_the_attention():
  given = Result('a.jpg', (
      Caption('a dog .', -1.25, attention(3)),
      Caption('a cat', -2.0),
      Caption('a bird', -3.0, attention(2, 7, 11)),
      Caption('', -4.0, attention(0))), thumbnail=b'x',
                 visible_fraction=299 / 346)
  line = to_line(given)
  assert line.isascii() and len(line.splitlines()) == 1
  back = from_line(line)
  assert back.visible_fraction == given.visible_fraction
  assert back.thumbnail == given.thumbnail
  for caption, was in zip(back.captions, given.captions, strict=True):
    assert caption[:2] == was[:2]
    if was.attention is None:
      assert caption.attention is None
      continue
    assert caption.attention.dtype == np.float32
    assert caption.attention.shape == was.attention.shape
    np.testing.assert_allclose(caption.attention, was.attention, rtol=1e-3)
  assert to_line(back) == line


def test_weights_are_two_bytes_each_in_a_line():
  without = Result('a.jpg', (Caption('a dog .', -1.25),))
  big = Caption('a dog .', -1.25, attention(3, 20, 30))
  length = len(to_line(Result('a.jpg', (big,)))) - len(to_line(without))
  assert length < 3 * 20 * 30 * 2 * 4 / 3 + 100


def packed(shape=(1, 3, 5), weights=15, **other):
  data = base64.b64encode(bytes(2 * weights)).decode('ascii')
  return {'shape': shape, 'float16': data} | other


def test_what_the_damaged_ones_are_made_of_is_whole():
  line = json.dumps({'file': 'a', 'seen': 1, 'captions': [{
      'caption': 'b', 'log_probability': -1.0, 'attention': packed()}]})
  assert from_line(line).captions[0].attention.shape == (1, 3, 5)


@pytest.mark.parametrize('damaged', [
    3, 'x', [], {}, {'shape': [1, 3, 5]}, packed(weights=14), packed([3, 5]),
    packed([-1, -3, 5]), packed([1, 3, -1]), packed([0, 0, 0], 0),
    packed(['1', '3', '5']), packed([1.0, 3.0, 5.0]), packed(None),
    packed([10**30, 3, 5]), packed(float16='AAA'), packed(float16=3),
    packed(float16='AAA='), packed(float16='é'), packed(float16='!' * 40)],
    ids=str)
def test_damaged_attention_is_refused(damaged):
  with pytest.raises(ValueError):
    from_line(json.dumps({'file': 'a', 'captions': [{
        'caption': 'b', 'log_probability': -1.0, 'attention': damaged}]}))


@pytest.mark.parametrize(
    'seen', [0, -1, 1.01, float('nan'), '1', None, [1]], ids=str)
def test_a_damaged_share_is_refused(seen):
  with pytest.raises(ValueError):
    from_line(json.dumps({'file': 'a', 'seen': seen}))


@pytest.mark.parametrize('line', [
    '', '\n', '{"file": "a.jpg"', '[]', 'null', '3', '"file"', '{}',
    '{"file": "a", "captions": 3}', '{"file": "a", "captions": [3]}',
    '{"file": "a", "captions": [{"caption": "b"}]}',
    '{"file": "a", "thumbnail": 3}', '{"file": "a", "thumbnail": "x"}',
    b'\xff\xfe', b'\0\0\0\n', '{"file": ["a"]}', '{"file": null}'])
def test_other_lines_are_refused(line):
  with pytest.raises(ValueError):
    from_line(line)
