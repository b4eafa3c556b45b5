"""SIGKILL at any moment of a command's life; then the same command again."""

import contextlib
import os
import pathlib
import random
import re
import signal
import time

from bench import (
    Row,
    Workplace,
    alive,
    family,
    run_again,
    tail,
    wait_until,
)
from tasks import SAVE_STEPS, Task

_SECONDS = 60.0  # No command here takes as long.


def bench(
    task: Task, times: int, place: Workplace, deadline: float
) -> Row:
  """Kill a command and compare what a rerun leaves.

  Args:
    task: the command.
    times: at how many moments; where it had ended already, another is tried.
    place: where to do it.
    deadline: of time.monotonic(), after which no more are tried.
  """
  row = Row(f'SIGKILL of {task.name}', message='(none: it is killed)')
  whole = place.new()
  whole.mkdir()
  events, seconds = _watch(task, whole, place)
  wanted = task.result(whole)
  most_lost = killed = killed_workers = 0
  for number in range(3 * times):
    if killed + killed_workers == times or time.monotonic() > deadline:
      break
    rng = random.Random(f'{task.name} {number}')
    out = place.new()
    out.mkdir()
    command = place.start(task.command(out))
    # By the clock, which finds the start and the end of it; by what it has
    # written, which finds the moments between, however slow the machine is.
    if number % 2:
      moment = rng.randint(1, events)
      _wait_for_events(command.id, out, moment)
      time.sleep(rng.choice([0.0, rng.uniform(0, 0.2)]))
      when = f'at event {moment} of {events}'
    else:
      moment = rng.uniform(0, seconds)
      wait_until(lambda: not alive(command.id), moment)  # noqa: B023
      when = f'after {moment:.2f} of {seconds:.2f} s'
    members = family(command.id)
    # Workers are of the third generation: a server forks them.
    victim = command.id
    if task.workers and number % 4 == 3 and len(members) > 2:
      victim = rng.choice(members[2:])
      when += ', a worker'
    with contextlib.suppress(ProcessLookupError):
      os.kill(victim, signal.SIGKILL)
    broken = command.finish()
    if broken.returncode == -signal.SIGKILL:
      killed += 1
    elif victim != command.id and broken.returncode > 0:
      killed_workers += 1
      if 'Traceback' in broken.stderr:
        row.mistakes.append(f'{when}: {tail(broken)}')
    if not wait_until(lambda: not any(map(alive, members)), _SECONDS):  # noqa: B023
      row.mistakes.append(f'{when}: processes are left')
    lost = _lost_steps(broken.stderr, out) if task.name == 'train' else 0
    row.tried += 1
    if not run_again(task, out, wanted, when, row, place):
      continue
    if lost > SAVE_STEPS:
      row.mistakes.append(f'{when}: {lost} steps are lost')
    most_lost = max(most_lost, lost)
  if task.name == 'train':
    row.lost = f'at most {most_lost} steps, saved every {SAVE_STEPS}'
  if killed + killed_workers < times:
    row.mistakes.append(
        f'{killed + killed_workers} of {times} kills: time is up')
  row.fault += f' ({killed} in time' + (
      f', {killed_workers} of a worker)' if killed_workers else ')')
  return row


def _state(folder: pathlib.Path) -> set[tuple[str, int]]:
  found = set()
  for path, _, names in os.walk(folder):
    for name in names:
      with contextlib.suppress(FileNotFoundError):
        found.add((name, os.stat(os.path.join(path, name)).st_ino))
  return found


class _Events:
  """Count what appears in a folder and what goes from there."""

  def __init__(self, folder: pathlib.Path):
    self._folder = folder
    self._state: set[tuple[str, int]] = set()
    self.number = 0

  def look(self) -> int:
    """Count what has changed; return the number so far."""
    state = _state(self._folder)
    self.number += len(state ^ self._state)
    self._state = state
    return self.number


def _watch(
    task: Task, folder: pathlib.Path, place: Workplace
) -> tuple[int, float]:
  """Run a task undisturbed: events that were seen, and seconds."""
  began = time.monotonic()
  events = _Events(folder)
  command = place.start(task.command(folder))
  while alive(command.id):
    events.look()
    time.sleep(0.002)
  finished = command.finish()
  if finished.returncode:
    raise RuntimeError(f'{task.name} fails undisturbed: {tail(finished)}')
  return max(1, events.number), time.monotonic() - began


def _wait_for_events(
    process: int, folder: pathlib.Path, number: int
) -> None:
  events = _Events(folder)
  wait_until(lambda: events.look() >= number or not alive(process), _SECONDS)


def _lost_steps(log: str, folder: pathlib.Path) -> int:
  """Steps that a killed training has done since its newest checkpoint."""
  from im2txt.checkpoints import folder as checkpoints

  done = [int(step) for step in re.findall(r' step (\d+): loss', log)]
  newest = checkpoints.newest(str(folder))
  return max(0, max(done, default=0)
             - (checkpoints.step_of(newest) if newest else 0))
