"""One contract for files here and in TensorFlow's file systems."""

import gzip
import io
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from im2txt.files import file_system as files

_numbers = itertools.count()


@pytest.fixture(params=['local', 'remote'])
def root(request, tmp_path):
  """An empty folder; ram:// lives in this process."""
  folder = (str(tmp_path) if request.param == 'local'
            else f'ram://file_system_test_{next(_numbers)}')
  files.makedirs(folder)
  return folder


def put(path, data=b''):
  with files.open(path, 'wb') as f:
    f.write(data)
  return path


def get(path):
  with files.open(path, 'rb') as f:
    return f.read()


def test_bytes(root):
  path = f'{root}/x'
  data = bytes(range(256)) * 9000  # More than is read at once.
  put(path, data)
  assert get(path) == data
  assert files.size(path) == len(data)
  with files.open(path, 'rb') as f:
    f.seek(257)
    assert f.read(3) == b'\1\2\3'
    f.seek(-1, os.SEEK_END)
    assert (f.read(), f.read()) == (b'\xff', b'')
  put(path, b'short')
  assert get(path) == b'short'


def test_text_has_pythons_rules(root):
  path = f'{root}/x'
  with files.open(path, 'w', encoding='utf-8', newline='\n',
                  errors='backslashreplace') as f:
    print('ä犬', 'b\udce9', file=f)
  with files.open(path, 'a', encoding='utf-8', newline='\r\n') as f:
    f.write('more\n')
  assert get(path) == 'ä犬 b\\udce9\nmore\r\n'.encode()
  with files.open(path, encoding='utf-8') as f:
    assert list(f) == ['ä犬 b\\udce9\n', 'more\n']
  put(path, b'\xef\xbb\xbfa\xe9')
  with (files.open(path, encoding='utf-8-sig') as f,
        pytest.raises(UnicodeDecodeError)):
    f.read()
  with files.open(path, encoding='utf-8-sig', errors='surrogateescape') as f:
    assert f.read() == 'a\udce9'


def test_what_takes_files_takes_these(root):
  with files.open(f'{root}/x.gz', 'wb') as f, gzip.open(f, 'wt') as text:
    text.write('packed')
  with files.open(f'{root}/x.gz', 'rb') as f, gzip.open(f, 'rt') as text:
    assert text.read() == 'packed'
  with files.open(f'{root}/x.npz', 'wb') as f:
    np.savez_compressed(f, a=np.arange(9))
  with files.open(f'{root}/x.npz', 'rb') as f, np.load(f) as arrays:
    assert arrays['a'].tolist() == list(range(9))


def test_what_is_there(root):
  files.makedirs(f'{root}/a/b')
  files.makedirs(f'{root}/a/b')
  put(f'{root}/a/x.txt')
  assert list(map(files.exists, (
      root, f'{root}/a/b', f'{root}/a/x.txt', f'{root}/none'))) == [
          True, True, True, False]
  assert list(map(files.isdir, (
      root, f'{root}/a/b', f'{root}/a/x.txt', f'{root}/none'))) == [
          True, True, False, False]
  assert list(map(files.isfile, (
      root, f'{root}/a/b', f'{root}/a/x.txt', f'{root}/none'))) == [
          False, False, True, False]


def test_folders(root):
  for name in ('b/2', 'b/1', 'a/x', 'z'):
    files.makedirs(os.path.dirname(f'{root}/{name}'))
    put(f'{root}/{name}')
  assert files.listdir(root) == ['a', 'b', 'z']
  walked = []
  for folder, folders, names in files.walk(root):
    folders.sort()
    walked.append((folder, list(folders), sorted(names)))
  assert walked == [(root, ['a', 'b'], ['z']), (f'{root}/a', [], ['x']),
                    (f'{root}/b', [], ['1', '2'])]
  files.remove_tree(f'{root}/b')
  assert files.listdir(root) == ['a', 'z']


def test_patterns(root):
  files.makedirs(f'{root}/[a]')
  for name in ('t-10', 't-2x', 't-11', 'u-12'):
    put(f'{root}/[a]/{name}')
  assert files.glob(f'{root}/[[]a]/t-[0-9][0-9]') == [
      f'{root}/[a]/t-10', f'{root}/[a]/t-11']
  assert files.glob(f'{root}/?a?/u*') == [f'{root}/[a]/u-12']
  assert files.glob(f'{root}/none*') == []


def test_renaming_and_copying(root, tmp_path):
  put(f'{root}/new', b'new')
  put(f'{root}/old', b'old, and longer')
  files.copy(f'{root}/new', f'{root}/copy')
  files.replace(f'{root}/new', f'{root}/old')
  assert files.listdir(root) == ['copy', 'old']
  assert get(f'{root}/old') == get(f'{root}/copy') == b'new'
  assert files.same(f'{root}/old', f'{root}/copy')
  put(f'{root}/copy', b'another')
  assert not files.same(f'{root}/old', f'{root}/copy')
  files.copy(f'{root}/old', f'{tmp_path}/here')
  files.copy(f'{tmp_path}/here', f'{root}/back')
  assert get(f'{root}/back') == b'new'
  files.remove(f'{root}/back')
  assert not files.exists(f'{root}/back')


def test_paths(root):
  assert files.abspath(f'{root}/a/../b/./c') == f'{root}/b/c'
  assert files.realpath(f'{root}/b') == files.abspath(f'{root}/b')
  assert not files.abspath(f'{root}/a/../../c').startswith(root)


@pytest.mark.parametrize('act', [
    lambda path: get(path),
    files.size, files.listdir, files.remove, files.remove_tree,
    lambda path: files.replace(path, f'{path}.x'),
    lambda path: files.copy(path, f'{path}.x')],
    ids=['open', 'size', 'listdir', 'remove', 'remove_tree', 'replace', 'copy'])
def test_what_is_not_there_is_named(root, act):
  with pytest.raises(FileNotFoundError) as caught:
    act(f'{root}/none')
  assert str(caught.value).startswith('[Errno 2] No such file or directory: ')
  assert f'{root}/none' in str(caught.value)


def test_a_folder_is_no_file(root):
  files.makedirs(f'{root}/folder')
  for mode in ('rb', 'wb'):
    with pytest.raises(OSError, match='folder'), files.open(
        f'{root}/folder', mode) as f:
      (f.read if mode == 'rb' else f.write)(*[b'x'][mode == 'rb':])


@pytest.mark.parametrize('act', [
    files.exists, files.isdir, files.isfile, files.size, files.makedirs,
    files.glob, files.listdir, get, put])
def test_a_system_that_tensorflow_does_not_have(act):
  with pytest.raises(OSError, match='nosuch://a/b: nosuch:// is not implem'):
    act('nosuch://a/b')


def test_remote_files_are_read_or_written():
  with pytest.raises(io.UnsupportedOperation, match='ram://x/y'):
    files.open('ram://x/y', 'r+b')


def test_what_must_be_local_says_so(tmp_path):
  files.check_local(str(tmp_path), 'image_dir', 'x')
  with pytest.raises(ValueError, match='--image_dir=gs://a must be on this '
                     'machine: a journal lies there'):
    files.check_local('gs://a', 'image_dir', 'a journal lies there')


def test_names_that_are_no_utf8(tmp_path):
  put(os.fsdecode(os.fsencode(tmp_path) + b'/caf\xe9'), b'x')
  [name] = files.listdir(str(tmp_path))
  assert get(f'{tmp_path}/{name}') == b'x'
  assert os.listdir(os.fsencode(tmp_path)) == [b'caf\xe9']


def test_local_files_need_no_tensorflow(tmp_path):
  """It takes seconds to import, which builders' main process need not spend."""
  subprocess.run([sys.executable, '-c', (
      'import sys; from im2txt.files import atomic_files, file_system\n'
      f'with atomic_files.write({str(tmp_path / "x")!r}) as f: f.write("x")\n'
      'assert "tensorflow" not in sys.modules')], check=True)
