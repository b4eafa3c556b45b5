"""The journal: what was there is there again, however it was cut off."""

import math
import os

import pytest

from im2txt.results.journal import Journal
from im2txt.results.result import Caption, Result

SETTINGS = {'beam_size': 3, 'banned_words': ['é', '<UNK>'], 'vocab_file': None}
GOOD = [Result(f'{name}.jpg', (Caption(f'a {name} .', -math.pi * i),),
               thumbnail=bytes([i] * 5))
        for i, name in enumerate(('dog', 'cat', 'caf\udce9', 'a\nb'))]
BAD = Result('bad.jpg', error='no image')


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'out.progress'


def interrupted(path, *batches, settings=SETTINGS):
  """What a run leaves that ends after these batches."""
  with (pytest.raises(KeyboardInterrupt),
        Journal(str(path), settings) as journal):
    for batch in batches:
      journal.append(batch)
    raise KeyboardInterrupt
  return path.read_bytes() if path.exists() else None


def test_results_are_had_back_in_any_order(path):
  with Journal(str(path), SETTINGS) as journal:
    journal.append(GOOD[:2])
    assert journal.result('cat.jpg') == GOOD[1]
    journal.append([BAD, *GOOD[2:]])  # After reading elsewhere.
    assert len(journal) == 5
    for result in (*reversed(GOOD), BAD, GOOD[0]):
      assert journal.result(result.file) == result
  assert not path.exists()


def test_a_batch_is_on_disk_at_once(path):
  with Journal(str(path), SETTINGS) as journal:
    journal.append(GOOD[:1])
    one = path.read_bytes()
    journal.append(GOOD[1:])
    assert len(path.read_bytes().splitlines()) == 1 + len(GOOD)
  assert one.endswith(b'\n') and len(one.splitlines()) == 2


def test_it_goes_on_where_it_was(path):
  interrupted(path, GOOD[:2])
  with Journal(str(path), SETTINGS) as journal:
    assert len(journal) == 2
    assert [result.file in journal for result in GOOD] == [
        True, True, False, False]
    journal.append(GOOD[2:])
    assert [journal.result(result.file) for result in GOOD] == GOOD


def test_unreadable_images_are_tried_again(path):
  interrupted(path, [BAD, GOOD[0]])
  with Journal(str(path), SETTINGS) as journal:
    assert BAD.file not in journal and GOOD[0].file in journal
    assert journal.result(BAD.file) == BAD
    mended = Result(BAD.file, (Caption('a bad dog', -1.0),))
    journal.append([mended])
    assert BAD.file in journal
    assert journal.result(BAD.file) == mended
    journal.append([BAD])
    assert BAD.file not in journal
    assert len(journal) == 2


def test_wherever_it_was_cut_off_whole_results_stay(path):
  whole = interrupted(path, GOOD)
  ends = [i + 1 for i, byte in enumerate(whole) if byte == ord('\n')]
  for cut in range(len(whole)):
    path.write_bytes(whole[:cut])
    left = max(sum(end <= cut for end in ends) - 1, 0)
    with Journal(str(path), SETTINGS) as journal:
      assert len(journal) == left, cut
      journal.append(GOOD[left:])
      assert [journal.result(result.file) for result in GOOD] == GOOD
      assert path.read_bytes() == whole


def test_without_results_nothing_stays(path):
  assert interrupted(path) is None


@pytest.mark.parametrize('settings, difference', [
    (SETTINGS | {'beam_size': 5}, 'with beam_size 3, not 5'),
    (SETTINGS | {'vocab_file': 'a.txt'},
     "with vocab_file None, not 'a.txt'"),
    (SETTINGS | {'banned_words': []},
     r"with banned_words \['é', '<UNK>'\], not \[\]"),
    (SETTINGS | {'new': 1}, 'with new None, not 1'),
    ({'beam_size': 3, 'vocab_file': None},
     r"with banned_words \['é', '<UNK>'\], not None")])
def test_other_settings_are_refused(path, settings, difference):
  before = interrupted(path, GOOD)
  with pytest.raises(ValueError, match=difference) as refused:
    Journal(str(path), settings)
  message = str(refused.value)
  assert str(path) in message and 'delete the file' in message
  assert '\n' not in message
  assert path.read_bytes() == before


@pytest.mark.parametrize('content', [
    b'an image diary\n', b'an image diary', b'\xff\xd8\xff\xe0\n', b'\0' * 9,
    b'[]\n', b'3\n', b'[1]\n', b'\n'])
def test_a_file_of_something_else_is_left_alone(path, content):
  path.write_bytes(content)
  with pytest.raises(ValueError, match=f'{path} is of work begun'):
    Journal(str(path), SETTINGS)
  assert path.read_bytes() == content


@pytest.mark.parametrize('line', [
    b'nonsense\n', b'\xff\n', b'{}\n', b'[]\n', b'\n', b'{"file": []}\n'])
def test_a_damaged_line_is_refused(path, line):
  damaged = interrupted(path, GOOD[:1]) + line
  path.write_bytes(damaged)
  with pytest.raises(ValueError, match=f'{path}:3: ') as refused:
    Journal(str(path), SETTINGS)
  assert '\n' not in str(refused.value)
  assert path.read_bytes() == damaged


def test_what_cannot_be_opened(tmp_path):
  (tmp_path / 'folder').mkdir()
  for name in ('folder', 'none/out.progress'):
    with pytest.raises(OSError, match=name):
      Journal(str(tmp_path / name), SETTINGS)


def test_places_alone_are_kept_in_memory(path):
  # Were results kept, what is changed on disk behind its back would not show.
  with Journal(str(path), SETTINGS) as journal:
    journal.append(GOOD)
    content = path.read_bytes()
    with open(path, 'r+b') as f:
      f.write(content.replace(b'a dog .', b'a fox .'))
    assert journal.result('dog.jpg').captions[0].text == 'a fox .'
    assert os.path.getsize(path) == len(content)
