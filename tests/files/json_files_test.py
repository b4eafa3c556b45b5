"""JSON that others wrote is refused in a line, or read."""

import gzip

import pytest

from im2txt.files import json_files, text_files


@pytest.mark.parametrize('content, said', [
    (b'[' * 1_000_000, 'nested too deeply'),
    (b'{"a":' * 1_000_000, 'nested too deeply'),
    (b'{"id": NaN}', 'NaN is no number of JSON'),
    (b'[-Infinity]', '-Infinity is no number of JSON'),
    (b'[{"id": 1, "b": 2, "id": 3}]', "the key 'id' stands twice"),
    (b'{"a": "\xff"}', 'UTF-8'),
    (b'[1' + b'0' * 5000 + b']', 'digits'),
    (b'{"a": }', ':1:7: broken JSON'),
], ids=['lists', 'objects', 'nan', 'infinity', 'twice', 'bytes', 'number',
        'broken'])
def test_what_is_refused(content, said, tmp_path):
  path = tmp_path / 'captions.json'
  path.write_bytes(content)
  with pytest.raises(ValueError, match=said) as error:
    json_files.read(str(path))
  assert str(error.value).startswith(str(path))
  assert '\n' not in str(error.value)


def test_what_python_writes_may_be_let_through():
  assert json_files.parse('[Infinity]', constants=True) == [float('inf')]


def test_a_gzip_cannot_fill_the_memory(tmp_path):
  path = tmp_path / 'captions.json.gz'
  path.write_bytes(gzip.compress(b'[' + b' ' * 2**27 + b']'))
  with pytest.raises(ValueError, match='unpacks to more than') as error:
    json_files.read(str(path))
  assert str(error.value).startswith(str(path))
  with pytest.raises(ValueError, match='unpacks to more than'):
    next(text_files.lines(str(path)))
  path.write_bytes(gzip.compress(b'[' + b' ' * 2**20 + b'1]'))
  assert json_files.read(str(path)) == [1]


def test_many_keys_of_which_the_last_stands_twice_take_no_time():
  keys = ', '.join(f'"{i}": 0' for i in range(200_000))
  with pytest.raises(ValueError, match="the key '9999' stands twice"):
    json_files.parse(f'{{{keys}, "9999": 0}}')
