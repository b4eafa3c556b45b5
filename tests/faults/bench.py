"""What every part of the fault bench stands on: commands, rows, the table."""

import dataclasses
import itertools
import os
import pathlib
import re
import time
from collections.abc import Callable, Iterable, Mapping

import command_runner
from tasks import Task


@dataclasses.dataclass
class Row:
  """A line of the table.

  Attributes:
    fault: what was done to what.
    tried: how often.
    lost: what it cost, in words; 'nothing' is the aim.
    message: what the user is told.
    mistakes: what should not have been; none if all went well.
  """

  fault: str
  tried: int = 0
  lost: str = 'nothing'
  message: str = ''
  mistakes: list[str] = dataclasses.field(default_factory=list)


class Workplace:
  """Start commands, each in a folder of its own; of one thread."""

  def __init__(self, folder: pathlib.Path):
    self._folder = folder
    self._server = command_runner.Server()
    self._numbers = itertools.count()
    folder.mkdir(parents=True, exist_ok=True)

  def new(self, name: str = 'out') -> pathlib.Path:
    """A path where nothing is yet."""
    return self._folder / f'{name}{next(self._numbers)}'

  def start(
      self, arguments: Iterable[str], **options
  ) -> command_runner.Command:
    """Start a command."""
    output = self.new('log')
    output.mkdir()
    return command_runner.Command(
        self._server, list(map(str, arguments)),
        options.get('folder', command_runner.ROOT), output,
        {'TF_CPP_MIN_LOG_LEVEL': '3'})

  def run(self, arguments: Iterable[str], **options) -> command_runner.Finished:
    """Run a command to its end."""
    return self.start(arguments, **options).finish()

  def peak(self, command: command_runner.Command) -> int:
    """Most memory that a command that has ended had, in MB."""
    return self._server.ask('peak', command.id) // 1024

  def stop(self) -> None:
    """End what starts commands."""
    self._server.stop()


def error_of(finished: command_runner.Finished) -> str:
  """The one line that a command failed with; '' if it was not one."""
  lines = [line for line in finished.lines if 'error: ' in line]
  if (finished.returncode <= 0 or len(lines) != 1
      or 'Traceback' in finished.stderr):
    return ''
  return lines[0]


def tail(finished: command_runner.Finished) -> str:
  """What to show of a command that did not do what it should."""
  return f'exit code {finished.returncode}: ' + ' | '.join(
      finished.lines[-4:])[-600:]


def differences(found: dict, wanted: dict) -> str:
  """Names what differs between two results; '' if nothing does."""
  return ', '.join(
      _difference(name, found.get(name), wanted.get(name))
      for name in sorted({*found, *wanted})
      if found.get(name, ()) != wanted.get(name, ()))


def run_again(
    task: Task, out: pathlib.Path, wanted: Mapping[str, object], when: str,
    row: Row, place: Workplace,
) -> bool:
  """Give a broken command again; note where its result is another.

  Args:
    task: the command.
    out: the folder that it was broken in.
    wanted: an undisturbed run's result.
    when: it was broken, for the notes.
    row: takes the notes.
    place: where to do it.

  Returns:
    Whether it ended well, whatever its result.
  """
  again = place.run(task.command(out))
  if again.returncode:
    row.mistakes.append(f'{when}, again: {tail(again)}')
    return False
  difference = differences(task.result(out), wanted)
  if difference:
    row.mistakes.append(f'{when}: {difference}')
  return True


def _difference(name: str, found: object, wanted: object) -> str:
  if found is None or wanted is None:
    return f'{name} is {"missing" if found is None else "new"}'
  # Bytes are not to be shown.
  return f'{name} is another' + (
      '' if isinstance(found, bytes) else f' ({found} for {wanted})')


def family(process: int) -> list[int]:
  """A process and all that it or they have started."""
  children: dict[int, list[int]] = {}
  for entry in os.listdir('/proc'):
    if entry.isdecimal():
      try:
        stat = pathlib.Path('/proc', entry, 'stat').read_text()
      except OSError:
        continue
      state, parent = stat.rpartition(')')[2].split()[:2]
      if state != 'Z':
        children.setdefault(int(parent), []).append(int(entry))
  found = [process]
  for member in found:
    found += children.get(member, [])
  return found


def alive(process: int) -> bool:
  """Whether a process still does anything."""
  try:
    stat = pathlib.Path('/proc', str(process), 'stat').read_text()
  except OSError:
    return False
  return stat.rpartition(')')[2].split()[0] != 'Z'


def wait_until(
    condition: Callable[[], bool], seconds: float, pause: float = 0.002
) -> bool:
  """Wait for a condition; return whether it came true."""
  deadline = time.monotonic() + seconds
  while not condition():
    if time.monotonic() > deadline:
      return False
    time.sleep(pause)
  return True


def table(rows: Iterable[Row], folder: pathlib.Path) -> str:
  """The table, as Markdown.

  Args:
    rows: its lines.
    folder: the bench's, which is left out of messages.
  """
  lines = ['| fault | tried | lost | message |', '|---|---|---|---|']
  for row in rows:
    message = re.sub(rf'{re.escape(str(folder))}/(\w+/)*', '', row.message)
    message = re.sub(r'\|', '/', message)
    lost = f'**{len(row.mistakes)} WRONG**' if row.mistakes else row.lost
    lines.append(f'| {row.fault} | {row.tried} | {lost} | {message[:300]} |')
  return '\n'.join(lines)
