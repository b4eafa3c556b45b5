"""An output destroys nothing that this tool did not write."""

import re

import pytest

from im2txt.files import overwriting

EARLIER = re.compile(rb'\Aours ')


def check(path, **options):
  overwriting.check('output', str(path), EARLIER, **options)


@pytest.fixture
def file(tmp_path):
  path = tmp_path / 'x.txt'
  path.write_text('ours and more')
  return path


def test_a_new_file_and_an_earlier_result_may_be_written(file, tmp_path):
  check(tmp_path / 'new.txt')
  check(file)
  file.write_text('')
  check(file)


def test_an_input_is_refused_whatever_its_name(file, tmp_path, monkeypatch):
  link = tmp_path / 'link.txt'
  link.symlink_to(file)
  monkeypatch.chdir(tmp_path)
  for name in (file, link, tmp_path / '.' / 'x.txt', 'x.txt'):
    with pytest.raises(ValueError, match='--output='):
      check(name, inputs=[str(file)], overwrite=True)


@pytest.mark.parametrize('name', ['A.jpg', 'a.JPEG', 'b.heic', 'c.png'])
def test_the_suffix_of_an_image_is_refused_where_none_is_written(
    name, tmp_path):
  with pytest.raises(ValueError, match=f'--output=.*{name}'):
    check(tmp_path / name, overwrite=True)
  check(tmp_path / name, is_image=True)


def test_another_file_is_replaced_only_if_told(file):
  file.write_text('notes, not ours ')
  with pytest.raises(ValueError, match='--output=.*--overwrite'):
    check(file)
  with pytest.raises(ValueError, match='--overwrite'):
    overwriting.check('output', str(file), None)
  check(file, overwrite=True)
