"""Run folders that something has broken, and folders that two want to write."""

import os
import pathlib
import shutil

from bench import Row, Workplace, error_of, tail
from tasks import Task

from im2txt.files import locks


def _cut(path: pathlib.Path) -> None:
  path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


# What happens to a run folder whose newest checkpoint is of this prefix.
_DAMAGES = {
    'data cut': lambda run, prefix: _cut(
        run / f'{prefix}.data-00000-of-00001'),
    'data missing': lambda run, prefix: (
        run / f'{prefix}.data-00000-of-00001').unlink(),
    'index cut': lambda run, prefix: _cut(run / f'{prefix}.index'),
    'index missing': lambda run, prefix: (run / f'{prefix}.index').unlink(),
    '`checkpoint` names nothing': lambda run, prefix: (
        run / 'checkpoint').write_text('model_checkpoint_path: "gone-9"\n'),
    '`checkpoint` is garbage': lambda run, prefix: (
        run / 'checkpoint').write_bytes(b'\xff\0garbage'),
    '`checkpoint` is empty': lambda run, prefix: _cut_to_nothing(
        run / 'checkpoint'),
}


def _cut_to_nothing(path: pathlib.Path) -> None:
  path.write_bytes(b'')


def checkpoints(
    run: pathlib.Path, newest: int, before: int, training: Task,
    images: pathlib.Path, shards: pathlib.Path, place: Workplace,
) -> list[Row]:
  """Damage the newest checkpoint in each way under each command.

  Args:
    run: a run folder.
    newest: step of its newest checkpoint.
    before: step of the one before.
    training: the command that trains there.
    images: a folder of them.
    shards: the folder of shards to evaluate on.
    place: where to do it.
  """
  rows = []
  for damage, break_it in _DAMAGES.items():
    row = Row(f'newest checkpoint: {damage}')
    rows.append(row)
    falls_back = not damage.startswith('`')
    for name in ('train', 'evaluate', 'run_inference', 'export'):
      out = place.new()
      shutil.copytree(run, out)
      break_it(out, f'model.ckpt-{newest}')
      finished = place.run({
          'train': [*training.command(out), f'--number_of_steps={newest + 1}'],
          'evaluate': ['im2txt.evaluate', f'--checkpoint_dir={out}',
                       '--run_once',
                       f'--input_file_pattern={shards}/val-*-of-?????'],
          'run_inference': ['im2txt.run_inference', f'--checkpoint_path={out}',
                            str(images)],
          'export': ['im2txt.export', f'--checkpoint_path={out}',
                     f'--output_dir={place.new("export")}'],
      }[name])
      row.tried += 1
      said = [line for line in finished.lines
              if 'the newest whole checkpoint' in line]
      taken = f'model.ckpt-{before if falls_back else newest}, the newest whole'
      if finished.returncode or len(said) != 1 or taken not in said[0]:
        row.mistakes.append(f'{name}: {tail(finished)}')
      else:
        row.message = said[0].partition(' ')[2]
    row.lost = (f'the steps from {before} to {newest}' if falls_back
                else 'nothing')
  return rows


def named(run: pathlib.Path, newest: int, images: pathlib.Path,
          place: Workplace) -> Row:
  """A damaged checkpoint that is asked for by its name is refused."""
  row = Row('checkpoint named by a flag: data cut, index cut',
            lost='nothing is captioned')
  for damage in ('data cut', 'index cut'):
    out = place.new()
    shutil.copytree(run, out)
    _DAMAGES[damage](out, f'model.ckpt-{newest}')
    finished = place.run([
        'im2txt.run_inference',
        f'--checkpoint_path={out}/model.ckpt-{newest}', str(images)])
    row.tried += 1
    row.message = error_of(finished)
    if f'model.ckpt-{newest}' not in row.message:
      row.mistakes.append(f'{damage}: {tail(finished)}')
  return row


def two_at_once(task: Task, place: Workplace) -> Row:
  """A folder that another process is writing into is refused."""
  row = Row(f'a second {task.name} into one folder', tried=1)
  out = place.new()
  out.mkdir()
  with locks.folder(str(out)):
    finished = place.run(task.command(out))
    row.message = error_of(finished)
    if (f'process {os.getpid()} on ' not in row.message
        or os.listdir(out) != [locks.FILE_NAME]):
      row.mistakes.append(tail(finished))
  return row
