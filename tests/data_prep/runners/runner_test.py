"""Steps of work find, count and do the same wherever they run."""

import functools
import multiprocessing
import os
import signal
import threading
import time

import pytest

from data_prep.runners import beam_runner, local_runner
from data_prep.runners.runner import Label

LABEL = Label('working', 'item')


def start_locally(_):
  return local_runner.local_runner(2, few=0)


def start_beam(folder):
  """All in this process; beam_build_test has worker processes."""
  return beam_runner.beam_runner(beam_runner.parse([]), str(folder))


def start_here(_):
  return local_runner.in_this_process()


@pytest.fixture(params=[start_locally, start_here, start_beam],
                ids=['local', 'in this process', 'beam'])
def runner(request, tmp_path):
  with request.param(tmp_path) as started:
    yield started


def odd_ones(item, factor):
  number, [name] = item  # A list may come as a tuple, and the reverse.
  return [number * factor, name] if number % 2 else None


@pytest.mark.parametrize('total', [0, 357])
def test_what_is_found_is_in_the_items_order(runner, total):
  items = [(i, [f'ünit {i}']) for i in range(total)]
  found = runner.filter_map(functools.partial(odd_ones, factor=3), items, LABEL)
  assert list(map(list, found)) == [
      [3 * i, f'ünit {i}'] for i in range(1, total, 2)]


def letters(text):
  return list(text)


@pytest.mark.parametrize('total', [0, 400])
def test_words_are_counted(runner, total):
  items = ['ab\u2028a', 'b"', ''] * total + ['b']
  counts = runner.count_words(letters, items, LABEL)
  assert dict(counts) == {
      letter: count for letter, count in {
          'a': 2 * total, 'b': 2 * total + 1, '"': total,
          '\u2028': total}.items() if count}


def write(item, folder):
  name, text = item
  with open(os.path.join(folder, name), 'w') as f:
    f.write(text)


@pytest.mark.parametrize('total', [0, 37])
def test_everything_is_done(runner, tmp_path, total):
  folder = tmp_path / 'done'
  folder.mkdir()
  runner.for_each(functools.partial(write, folder=str(folder)),
            [(f'{i}', 'x' * i) for i in range(total)], range(total), LABEL)
  assert {path.name: path.read_text() for path in folder.iterdir()} == {
      f'{i}': 'x' * i for i in range(total)}


def fail(item):
  if item == 7:
    raise OSError('item 7: no such file')


def test_a_mistake_is_one_error(runner):
  with pytest.raises(OSError, match='^item 7: no such file$'):
    runner.for_each(fail, range(9), [1] * 9, LABEL)
  with pytest.raises(OSError, match='^item 7: no such file$'):
    runner.filter_map(fail, range(9), LABEL)


def wait_for_ever(_):
  threading.Event().wait()


def interrupt_soon():
  time.sleep(0.3)
  os.kill(os.getpid(), signal.SIGINT)


def wait_a_little(_):
  time.sleep(0.05)


def test_interrupt_is_one_in_beam_too(tmp_path):
  with pytest.raises(KeyboardInterrupt), start_beam(tmp_path) as runner:
    threading.Timer(3.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    runner.for_each(wait_a_little, range(999), [1] * 999, LABEL)
  assert not list(tmp_path.iterdir())


def test_what_a_killed_build_left_is_removed(tmp_path):
  (tmp_path / 'beam-abc.tmp' / 'x').mkdir(parents=True)
  (tmp_path / 'train-00000-of-00001').touch()
  with start_beam(tmp_path):
    pass
  assert os.listdir(tmp_path) == ['train-00000-of-00001']


def stumble(_):
  raise KeyError('a defect')


def test_a_defect_keeps_its_name(runner):
  with pytest.raises(KeyError, match='a defect'):
    runner.filter_map(stumble, [1], LABEL)


def test_interrupt_ends_workers_of_this_machine():
  with (pytest.raises(KeyboardInterrupt),
        local_runner.local_runner(2, few=0) as runner):
    threading.Thread(target=interrupt_soon).start()
    runner.filter_map(wait_for_ever, range(99), LABEL)
  assert not multiprocessing.active_children()


def process_of(_):
  return os.getpid()


def note_process(item, folder):
  write((str(item), str(os.getpid())), folder)


@pytest.mark.parametrize('total, begun', [(9, False), (10, True)])
def test_workers_start_for_more_than_a_few(total, begun, tmp_path):
  with local_runner.local_runner(2, few=9) as runner:
    found = runner.filter_map(process_of, range(total), LABEL)
    runner.for_each(functools.partial(note_process, folder=str(tmp_path)),
                    range(2), [total - 3, 3], LABEL)
  for process in *found, *(int(x.read_text()) for x in tmp_path.iterdir()):
    assert (process != os.getpid()) == begun
  assert not multiprocessing.active_children()
