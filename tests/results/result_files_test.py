"""im2txt's lines and lines of JSON, to the letter."""

import functools
import io
import json
import math
import os

import pytest

from im2txt.results import text_files
from im2txt.results.result import Caption, Result

RESULTS = (
    Result('photos/b.jpg', (Caption('a dog .', math.log(0.040413)),
                            Caption('', math.log(4e-7)))),
    Result('photos/bad.jpg', error='no image'),
    Result('photos/none.jpg'),
    Result(os.fsdecode(b'photos/caf\xe9.jpg'), (Caption('a 犬', 0.0),),
           thumbnail=b'small'))

LINES = '''\
Captions for image b.jpg:
  0) a dog . (p=0.040413)
  1)  (p=0.000000)
Captions for image none.jpg:
Captions for image caf\\udce9.jpg:
  0) a 犬 (p=1.000000)
'''


NAMES = {result.file: os.path.basename(result.file) for result in RESULTS}
lines = functools.partial(text_files.lines, names=NAMES)


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'out'


def write(kind, path, results):
  with kind(str(path)) as add:
    for result in results:
      add(result)
  assert list(path.parent.iterdir()) == [path]
  return path.read_bytes().decode()


def test_lines(path):
  assert write(lines, path, RESULTS) == LINES


def test_printed_lines_are_the_same():
  file = io.TextIOWrapper(io.BytesIO(), 'utf-8', 'backslashreplace')
  for result in RESULTS:
    text_files.print_captions(result, file, NAMES)
  assert file.buffer.getvalue().decode() == LINES


def test_json_lines(path):
  written = write(text_files.json_lines, path, RESULTS).splitlines()
  assert [json.loads(line) for line in written] == [
      {'file': 'photos/b.jpg', 'captions': [
          {'caption': 'a dog .', 'probability': pytest.approx(0.040413),
           'log_probability': math.log(0.040413)},
          {'caption': '', 'probability': pytest.approx(4e-7),
           'log_probability': math.log(4e-7)}]},
      {'file': 'photos/bad.jpg', 'error': 'no image'},
      {'file': 'photos/none.jpg', 'captions': []},
      {'file': 'photos/caf\udce9.jpg', 'captions': [
          {'caption': 'a 犬', 'probability': 1.0, 'log_probability': 0.0}]}]


@pytest.mark.parametrize('kind', [lines, text_files.json_lines])
def test_no_results_are_an_empty_file(kind, path):
  assert write(kind, path, ()) == ''


@pytest.mark.parametrize('kind', [lines, text_files.json_lines])
def test_a_failure_keeps_the_older_file(kind, path):
  path.write_text('old')
  with pytest.raises(ZeroDivisionError), kind(str(path)) as add:
    add(RESULTS[0])
    raise ZeroDivisionError
  assert path.read_text() == 'old'
  assert list(path.parent.iterdir()) == [path]
