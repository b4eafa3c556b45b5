r"""Train with several processes of this machine, such as one for each GPU.

  python -m im2txt.local_cluster --workers=4 --gpus -- \
    --config=configs/show_and_tell.py --train_dir=runs/coco \
    --input_file_pattern='coco/train-?????-of-00256' --number_of_steps=1000000

starts im2txt.train with the flags behind -- as chief, workers and ps of a
cluster (see im2txt.training.cluster.task), and ends with them. What they print
has their names in front. Ctrl-C, SIGTERM or the end of the terminal (but for
nohup) saves and stops all. On several machines, start im2txt.train on each
instead, with TF_CONFIG.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from absl import flags, logging

from im2txt import command_line
from im2txt.training.cluster import task


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.workers = flags.DEFINE_integer(
        'workers', 2, 'Processes that train, the chief among them.',
        lower_bound=1, flag_values=values)
    self.ps = flags.DEFINE_integer(
        'ps', 1, 'Processes that keep the variables.', lower_bound=1,
        flag_values=values)
    self.evaluator = flags.DEFINE_bool(
        'evaluator', False, 'Also a process that evaluates each checkpoint; it '
        'needs --eval_file_pattern behind the --.', flag_values=values)
    self.gpus = flags.DEFINE_bool(
        'gpus', False, 'Give each worker a GPU of its own; the others see '
        'none.', flag_values=values)


_POLL_SECS = 0.2
# What processes that are told to stop have for that, and to save.
_STOP_SECS = 120.0


def main(flags_: Flags, arguments: Sequence[str]) -> int:
  """Start the processes; return the first exit status that is not 0."""
  if not arguments:
    raise ValueError('no flags of training; give them behind --')
  if task.VARIABLE in os.environ:
    raise ValueError(f'{task.VARIABLE} is set: this is one process of a '
                     'cluster already; start im2txt.train')
  workers = flags_.workers.value
  addresses = {'chief': 1, 'worker': workers - 1, 'ps': flags_.ps.value}
  ports = iter(_free_ports(sum(addresses.values())))
  addresses = {job: [f'localhost:{next(ports)}' for _ in range(count)]
               for job, count in addresses.items() if count}
  tasks = [(job, i) for job in ('ps', 'chief', 'worker')
           for i in range(len(addresses.get(job, ())))]
  if flags_.evaluator.value:
    tasks.append(('evaluator', 0))
  gpu = iter(_visible_gpus(workers) if flags_.gpus.value else ())
  told = _collect_signals()
  processes = {}
  try:
    for job, index in tasks:
      environment = dict(os.environ)
      environment[task.VARIABLE] = json.dumps(
          {'cluster': addresses, 'task': {'type': job, 'index': index}})
      if flags_.gpus.value:
        environment['CUDA_VISIBLE_DEVICES'] = (
            next(gpu) if job in ('chief', 'worker') else '')
      processes[f'{job} {index}'] = subprocess.Popen(
          [sys.executable, '-m', 'im2txt.train', *arguments], env=environment,
          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
          # Ctrl-C comes from here, and to each but once.
          errors='replace', start_new_session=True)
    return _watch(processes, told)
  finally:
    for process in processes.values():
      process.kill()


def _collect_signals() -> list[int]:
  """Return a list to which each signal to stop is added as it comes."""
  told = []
  for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    # nohup wants the last one to be ignored.
    if (number != signal.SIGHUP
        or signal.getsignal(number) is not signal.SIG_IGN):
      signal.signal(number, lambda number, _: told.append(number))
  return told


def _free_ports(count: int) -> list[int]:
  """Return ports that nobody listens at, for now."""
  sockets = [socket.socket() for _ in range(count)]
  try:
    for each in sockets:
      each.bind(('localhost', 0))
    return [each.getsockname()[1] for each in sockets]
  finally:
    for each in sockets:
      each.close()


def _visible_gpus(wanted: int) -> list[str]:
  """Return names of GPUs, a worker each, as CUDA_VISIBLE_DEVICES has them."""
  # Imported here: without --gpus this process needs no TensorFlow.
  import tensorflow as tf

  visible = os.environ.get('CUDA_VISIBLE_DEVICES')
  names = (visible.split(',') if visible else
           [str(i) for i in range(
               len(tf.config.list_physical_devices('GPU')))])
  if len(names) < wanted:
    raise ValueError(f'--workers={wanted}, but there are {len(names)} GPUs; '
                     'lower it, or leave out --gpus')
  return names[:wanted]


def _watch(
    processes: dict[str, subprocess.Popen], told: list[int]
) -> int:
  """Pass on what they print, and wait; one that fails ends all.

  Args:
    processes: by name.
    told: signals to stop all, as they come; taken from the list.
  """
  lock = threading.Lock()

  def pass_on(name: str, process: subprocess.Popen) -> None:
    for line in process.stdout:
      # Where nobody reads any more they go on all the same.
      with lock, contextlib.suppress(OSError):
        print(f'[{name}] {line}', end='', file=sys.stderr, flush=True)

  readers = [threading.Thread(target=pass_on, args=item, daemon=True)
             for item in processes.items()]
  for reader in readers:
    reader.start()

  def running() -> list[str]:
    return [name for name, process in processes.items()
            if process.poll() is None]

  status = 0
  stopped = None  # When.
  stops_ps = False
  while left := running():
    failed = [name for name, process in processes.items()
              if process.returncode]
    stops = bool(told)
    if stops:
      told.pop()
    if failed and stopped is None and not stops:
      status = processes[failed[0]].returncode
      logging.error('%s failed (exit status %d): stopping the others',
                    failed[0], status)
      stops = True
    if stops and stopped is None:
      stopped = time.monotonic()
    # Nobody will tell the ps that they may leave; at a second signal they do.
    alone = failed and not (stops or stops_ps) and all(
        name.startswith(task.PS) for name in left)
    stops_ps = stops_ps or alone
    if stops or alone:
      for name in left:
        processes[name].send_signal(signal.SIGTERM)
    if stopped is not None and time.monotonic() > stopped + _STOP_SECS:
      logging.error('no end of %s: killing', ', '.join(left))
      for name in left:
        processes[name].kill()
    time.sleep(_POLL_SECS)
  for reader in readers:
    reader.join()
  status = status or next((process.returncode for process in processes.values()
                           if process.returncode), 0)
  # Of one that a signal has ended it is below 0, which is no exit status.
  return status if status >= 0 else 1


if __name__ == '__main__':
  command_line.run(main, Flags, takes_arguments=True)
