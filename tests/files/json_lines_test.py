"""Files of one JSON value a line."""

import pytest

from im2txt.files import json_files, json_lines


def number_of(line):
  return int(json_files.parse(line)['number'])


def read(path):
  return json_lines.read(str(path), number_of, 'number', 'remove the line')


def recover(path, skipped=0):
  with open(path, 'r+b') as f:
    for _ in range(skipped):
      f.readline()
    return list(json_lines.recover(
        f, str(path), number_of, 'number', 'delete it', 1 + skipped))


def test_what_is_appended_is_read(tmp_path):
  path = tmp_path / 'a.jsonl'
  for number in (3, 5):
    json_lines.append(str(path), {'number': number, 'text': 'ä\ud800\n'})
  assert path.read_bytes() == (
      b'{"number": 3, "text": "\\u00e4\\ud800\\n"}\n'
      b'{"number": 5, "text": "\\u00e4\\ud800\\n"}\n')
  assert read(path) == [3, 5]
  assert recover(path) == [(0, 3), (40, 5)]
  assert recover(path, skipped=1) == [(40, 5)]


@pytest.mark.parametrize('line', [
    b'{"number": \n', b'{}\n', b'[]\n', b'7\n', b'\xff\n', b'\n',
    b'{"number": "x"}\n', b'{"number": null}\n'])
def test_a_bad_line_is_named(tmp_path, line):
  path = tmp_path / 'a.jsonl'
  path.write_bytes(b'{"number": 3}\n' + line)
  with pytest.raises(ValueError, match=r'a\.jsonl:2: no number .*the line$'):
    read(path)
  for skipped in (0, 1):
    with pytest.raises(ValueError, match=r'a\.jsonl:2: no number .*delete it'):
      recover(path, skipped)


@pytest.mark.parametrize('half', [b'{"num', b'{"number": 5}', b'\xff'])
def test_half_a_last_line_is_cut_off(tmp_path, half):
  path = tmp_path / 'a.jsonl'
  path.write_bytes(b'{"number": 3}\n' + half)
  assert recover(path) == [(0, 3)]
  assert path.read_bytes() == b'{"number": 3}\n'


def test_half_a_last_line_is_refused_where_nothing_may_be_lost(tmp_path):
  path = tmp_path / 'a.jsonl'
  path.write_bytes(b'{"number": 3}\n{"num')
  with pytest.raises(ValueError, match=r'a\.jsonl:2: '):
    read(path)
  assert path.read_bytes() == b'{"number": 3}\n{"num'
