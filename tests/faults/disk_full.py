"""A disk that fills up: a small file system in memory, then room again."""

import pathlib
import subprocess

from bench import Row, Workplace, error_of, run_again, tail
from tasks import Task, files

_PAGE = 4096  # Bytes; what the file system gives out.
_ROOMY = '256m'


def bench(task: Task, times: int, place: Workplace) -> Row:
  """Fill the disk at `times` places of a command, and then makes room."""
  row = Row(f'disk full under {task.name}')
  whole = place.new()
  whole.mkdir()
  finished = place.run(task.command(whole))
  if finished.returncode:
    raise RuntimeError(f'{task.name} fails undisturbed: {tail(finished)}')
  wanted, wanted_files = task.result(whole), files(whole)
  pages = sum(-(-len(data) // _PAGE) for data in wanted_files.values())
  for number in range(times):
    size = max(1, pages * (2 * number + 1) // (2 * times))
    out = place.new()
    out.mkdir()
    if not mount(out, f'size={size * _PAGE}'):
      row.lost = 'not tried'
      row.message = 'it takes root, or unshare -rm'
      return row
    try:
      _try(task, out, size, wanted, wanted_files, row, place)
    finally:
      subprocess.run(['umount', out], check=True)
  return row


def mount(folder: pathlib.Path, options: str) -> bool:
  """Mount a file system in memory; return whether that may be done."""
  return subprocess.run(
      ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', folder],
      capture_output=True, check=False).returncode == 0


def _try(
    task: Task, out: pathlib.Path, size: int, wanted: dict[str, object],
    wanted_files: dict[str, bytes], row: Row, place: Workplace,
) -> None:
  row.tried += 1
  when = f'at {size} pages'
  finished = place.run(task.command(out))
  line = error_of(finished)
  if not line:
    row.mistakes.append(f'{when}: no line, {tail(finished)}')
  elif 'space' not in line.lower():
    row.mistakes.append(f'{when}: does not say why: {line}')
  row.message = line or row.message
  if task.name != 'train':  # Whose files differ from run to run.
    torn = [name for name, data in files(out).items()
            if task.is_whole(name) and wanted_files.get(name) != data]
    if torn:
      row.mistakes.append(f'{when}: half-written: {", ".join(torn)}')
  if not mount(out, f'remount,size={_ROOMY}'):
    raise RuntimeError(f'{out}: no room could be made')
  run_again(task, out, wanted, when, row, place)
