"""Results of pictures and their lines of JSON."""

import json
import math
import os

import pytest

from im2txt.results import Caption, Result, as_fields, from_line, to_line

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


def test_fields_of_an_error():
  assert as_fields(Result('a.jpg', error='no picture')) == {
      'file': 'a.jpg', 'error': 'no picture'}


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


@pytest.mark.parametrize('line', [
    '', '\n', '{"file": "a.jpg"', '[]', 'null', '3', '"file"', '{}',
    '{"file": "a", "captions": 3}', '{"file": "a", "captions": [3]}',
    '{"file": "a", "captions": [{"caption": "b"}]}',
    '{"file": "a", "thumbnail": 3}', '{"file": "a", "thumbnail": "x"}',
    b'\xff\xfe', b'\0\0\0\n', '{"file": ["a"]}', '{"file": null}'])
def test_other_lines_are_refused(line):
  with pytest.raises(ValueError):
    from_line(line)
