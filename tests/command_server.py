"""Start command lines at once, from a process that has imported TensorFlow.

Reads requests from stdin and answers on stdout, a line of JSON each:

  {"start": {"arguments": ["im2txt.train", "--train_dir=run"],
             "folder": ..., "stdout": ..., "stderr": ...,
             "environment": {"PATH": ...}}}  -> process id
  {"wait": process id}                          -> exit code
  {"poll": process id}                          -> exit code, or null so far
  {"peak": id of a process that has ended}      -> most memory that it had, KiB

A started command is a process of its own, forked before TensorFlow has begun
any thread, and runs as `python -m` would run it in that folder. Beside the
encoders of the house it knows the tests' own, `tiny`.
"""

import gc
import importlib
import json
import os
import pathlib
import runpy
import sys
from typing import Any

sys.path.insert(0, os.getcwd())

# Before this file's folder is no longer where modules are.
import no_network  # noqa: F401
import tiny_encoder

# `python -m` has only the working directory.
del sys.path[1]

import nltk  # noqa: E402, F401

# What the commands import; `run_module` wants to import themselves anew.
for path in sorted(pathlib.Path().glob('[id]*/*.py')):
  if path.parent.name in ('im2txt', 'data_prep') and (
      "__name__ == '__main__'" in path.read_text(encoding='utf-8')):
    command = f'{path.parent.name}.{path.stem}'
    importlib.import_module(command)
    del sys.modules[command]

tiny_encoder.register()


def serve() -> dict[str, Any] | None:
  """Answer requests to their end.

  Returns:
    None at the end; in a forked process what it is to become.
  """
  peaks = {}
  for line in sys.stdin:
    [(kind, value)] = json.loads(line).items()
    if kind == 'start':
      answer = os.fork()
      if not answer:
        return value
    elif kind == 'peak':
      answer = peaks[value]
    else:
      ended, status, usage = os.wait4(
          value, os.WNOHANG if kind == 'poll' else 0)
      peaks[ended] = usage.ru_maxrss
      answer = os.waitstatus_to_exitcode(status) if ended else None
    print(json.dumps(answer), flush=True)
  return None


def become(
    arguments: list[str], folder: str, stdout: str, stderr: str,
    environment: dict[str, str],
) -> None:
  """Run a module with flags, as the last thing that this process does."""
  os.chdir(folder)
  os.environ.update(environment)
  for number, path, way in ((0, os.devnull, os.O_RDONLY),
                            (1, stdout, os.O_WRONLY | os.O_CREAT),
                            (2, stderr, os.O_WRONLY | os.O_CREAT)):
    os.dup2(os.open(path, way), number)
  sys.argv = arguments
  runpy.run_module(arguments[0], run_name='__main__', alter_sys=True)


# Or a command that ends would look through all this for garbage, and copy it.
gc.freeze()
gc.set_threshold(50_000, 20, 20)
command = serve()
if command:
  become(**command)
