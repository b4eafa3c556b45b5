"""What is installed: pinned, hashed, and its licence listed."""

import re

import pytest

from tools import licences

LOCK = licences.read_lock()
PROSE, _, TABLE = licences.LIST.read_text('utf-8').partition(licences.HEAD)


def test_all_that_is_needed_is_pinned():
  for needs in licences.read_needs().values():
    for need in needs:
      pinned = LOCK[licences.canonicalize_name(need.name)]
      assert need.specifier.contains(pinned.version), need


def test_all_that_is_pinned_is_needed_and_hashed():
  for name, pinned in LOCK.items():
    assert pinned.hashes, name
    assert licences.needed_by(name, LOCK), name


def test_the_list_has_what_is_pinned():
  rows = re.findall(r'^\| \[(.*?)\]\(.*?\) \| (.*?) \| \w', TABLE, re.MULTILINE)
  assert rows == [(name, pinned.version) for name, pinned in LOCK.items()]
  assert len(TABLE.splitlines()) == len(rows)


def test_copyleft_is_spoken_of():
  rows = re.findall(r'^\| \[(.*?)\].*(?:GPL|MPL|EPL|see above)', TABLE,
                    re.MULTILINE)
  assert {'certifi', 'tqdm', 'pycocoevalcap'} <= set(rows)
  for name in rows:
    assert f'`{name}`' in PROSE, name


def test_nothing_is_remembered_of_packages_that_are_gone():
  assert set(licences.READ) <= set(LOCK)


@pytest.mark.parametrize('line', [
    'requests', 'requests>=2', '-e .', '--index-url https://example.org',
    '    --hash=md5:0123', 'x @ https://example.org/x.whl'])
def test_a_lock_file_has_nothing_else(tmp_path, line):
  path = tmp_path / 'lock.txt'
  path.write_text(f'# By\nx==1.0 \\\n    --hash=sha256:{"0" * 64}\n{line}\n')
  with pytest.raises(ValueError, match=re.escape(line)):
    licences.read_lock(path)


def test_the_reader_sees_who_needs_what(tmp_path):
  path = tmp_path / 'lock.txt'
  path.write_text(
      f'six==1.17.0 ; sys_platform == "linux" \\\n    --hash=sha256:{"0" * 64} '
      f'\\\n    --hash=sha256:{"1" * 64}\n    # via\n    #   y\n    #   z-1\n'
      f'y==1.0 \\\n    --hash=sha256:{"2" * 64}\n    # via tensorflow\n')
  lock = licences.read_lock(path)
  assert lock == {'six': ('1.17.0', 2, ['y', 'z-1']),
                  'y': ('1.0', 1, ['tensorflow'])}
  assert licences.needed_by('six', lock) == ['core']


def test_a_licence_must_be_known():
  for name in ('pillow', 'no-such-package'):
    with pytest.raises(ValueError, match=f'{name} 0.1 is not installed'):
      licences.licence(name, '0.1')
