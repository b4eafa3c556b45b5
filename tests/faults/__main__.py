r"""Break what can break, and says what is lost: `make faults`.

  python tests/faults [--times=20] [--minutes=20] [--only=PATTERN]

Ends in a table, a line a fault; exit status 1 if anything went wrong, or if the
minutes did not suffice; the table says how many kills there were.
"""

import argparse
import pathlib
import queue
import re
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable

# Before what lies beside this file is imported.
sys.path.insert(1, str(pathlib.Path(__file__).resolve().parent.parent))

import bench
import disk_full
import hostile
import kills
import records
import states
import tasks
import tiny_task

_PLACES = 3  # Commands at a time; they wait half of their time.
_LAST_SECONDS = 90  # What has begun then may take.

Job = Callable[[bench.Workplace], list[bench.Row]]


def prepare(folder: pathlib.Path) -> dict[str, tasks.Task]:
  """Make what the tasks need; return them by name."""
  place = bench.Workplace(folder / 'prepare')
  config = folder / 'tiny.py'
  config.write_text(tiny_task.config_text('efficientnet_lite0'))
  builders = tasks.builders(folder)
  shards, run = folder / 'shards', folder / 'run'
  caching = tasks.cache_features(config, shards)
  for command in (
      builders[0].command(shards), tasks.train(config, shards).command(run)):
    finished = place.run(command)
    if finished.returncode:
      raise RuntimeError(bench.tail(finished))
  place.stop()
  return {task.name: task for task in (
      *builders, caching, tasks.train(config, shards),
      tasks.caption(run, folder / 'images'))}


def main() -> int:
  """Run the bench."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--times', type=int, default=20, help='kills a command')
  parser.add_argument('--fillings', type=int, default=4,
                      help='full disks a command')
  parser.add_argument('--only', default='', help='pattern of faults to try')
  parser.add_argument('--minutes', type=float, default=20,
                      help='in which it ends')
  arguments = parser.parse_args()
  folder = pathlib.Path(tempfile.mkdtemp(prefix='faults'))
  began = time.monotonic()
  deadline = began + 60 * arguments.minutes - _LAST_SECONDS
  try:
    all_tasks = prepare(folder)
    run_folder, shards = folder / 'run', folder / 'shards'
    images, config = folder / 'images', folder / 'tiny.py'
    last = tasks.TRAIN_STEPS
    before = (last - 1) // tasks.SAVE_STEPS * tasks.SAVE_STEPS
    jobs = [
        ('checkpoints', lambda place: states.checkpoints(
            run_folder, last, before, all_tasks['train'], images, shards,
            place)),
        ('named checkpoints', lambda place: [states.named(
            run_folder, last, images, place)]),
        ('records', lambda place: records.bench(
            run_folder, shards, lambda folder: tasks.train(config, folder),
            place)),
        ('two at once', lambda place: [
            states.two_at_once(all_tasks[name], place)
            for name in ('train', 'build_coco_data', 'build_toy_data',
                         'cache_features')]),
        ('hostile images', lambda place: [
            hostile.images(run_folder, images, place)]),
        ('hostile weights', lambda place: [
            hostile.weights(config, shards, run_folder, images, place)]),
        ('hostile texts', lambda place: [hostile.texts(images, place)])]
    jobs += [(f'full {name}', lambda place, task=task: [
        disk_full.bench(task, arguments.fillings, place)])
        for name, task in all_tasks.items()]
    # Last, for they can be cut short.
    jobs += [(f'kill {name}', lambda place, task=task: [
        kills.bench(task, arguments.times, place, deadline)])
        for name, task in all_tasks.items()]
    jobs = [(name, job) for name, job in jobs
            if re.search(arguments.only, name)]
    rows = run(jobs, folder, deadline)
    print(bench.table(rows, folder))
    print(f'\n{(time.monotonic() - began) / 60:.1f} minutes')
    for row in rows:
      for mistake in row.mistakes:
        print(f'{row.fault}: {mistake}')
    return int(any(row.mistakes for row in rows))
  finally:
    shutil.rmtree(folder, ignore_errors=True)


def run(
    jobs: list[tuple[str, Job]], folder: pathlib.Path, deadline: float
) -> list[bench.Row]:
  """Run jobs, a few at a time; return their rows in the jobs' order.

  Args:
    jobs: by name.
    folder: where they may write.
    deadline: of time.monotonic(), after which none is begun.
  """
  todo = queue.SimpleQueue()
  for job in jobs:
    todo.put(job)
  rows = {}

  def work(number: int) -> None:
    place = bench.Workplace(folder / f'place{number}')
    while True:
      try:
        name, job = todo.get_nowait()
      except queue.Empty:
        return place.stop()
      began = time.monotonic()
      if began > deadline:
        rows[name] = [bench.Row(name, mistakes=['not tried: time is up'])]
        continue
      try:
        rows[name] = job(place)
      except BaseException:
        rows[name] = [bench.Row(name, mistakes=[traceback.format_exc()])]
      print(f'{name}: {time.monotonic() - began:.0f} s',
            *(row for row in rows[name] if row.mistakes), file=sys.stderr,
            flush=True)

  threads = [threading.Thread(target=work, args=(i,)) for i in range(_PLACES)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  return [row for name, _ in jobs for row in rows[name]]


if __name__ == '__main__':
  sys.exit(main())
