"""Commands of this project, started fast, and what is left of them.

Importing TensorFlow takes seconds, so a command line is started by forking a
process that has imported it and done nothing else: still a process of its own,
with its own exit code, signals, stdout and stderr.
"""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
# METEOR takes seconds to start; where it is not what matters, do without.
NO_JAVA = {'PATH': '/nowhere'}
SECONDS = 120  # Nothing here takes as long unless it hangs.
# A script's background jobs ignore Ctrl-C, and so would all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What TensorFlow itself says on stderr as it starts.
_CHATTER = re.compile(r'WARNING: All log messages before |[IWE]\d{4} |'
                      r'To enable the following instructions')


class Finished(NamedTuple):
  """What is left of a command."""

  returncode: int  # Negative: the signal that ended it.
  stdout: str
  stderr: str

  @property
  def lines(self) -> list[str]:
    """Lines on stderr that are ours."""
    return [line for line in self.stderr.splitlines()
            if not _CHATTER.match(line)]

  @property
  def error(self) -> str:
    """The only line on stderr but for the log's."""
    lines = [line for line in self.lines
             if not re.match(r'\d\d:\d\d:\d\d |  ', line)]
    assert len(lines) == 1, self.stderr
    return lines[0]


class Server:
  """The process that commands are forked from; see `command_server`."""

  def __init__(self):
    self._process = subprocess.Popen(
        [sys.executable, str(ROOT / 'tests' / 'command_server.py')], cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True)

  def ask(self, kind: str, value: object) -> int | None:
    """Send a request and return its answer."""
    self._process.stdin.write(json.dumps({kind: value}) + '\n')
    self._process.stdin.flush()
    return json.loads(self._process.stdout.readline())

  def stop(self) -> None:
    """End it."""
    self._process.communicate()


class Command:
  """A running `python -m MODULE FLAG...`."""

  def __init__(self, server: Server, arguments: list[str],
               folder: pathlib.Path, output: pathlib.Path,
               environment: Mapping[str, str]):
    """Start it.

    Args:
      server: what starts it.
      arguments: module and flags.
      folder: where to run it.
      environment: variables that it has in the place of these of its name.
      output: existing folder for its stdout and stderr, where `stdout` may
        stand already as a named pipe.
    """
    self._server = server
    self._stdout, self._stderr = output / 'stdout', output / 'stderr'
    self._returncode = None
    self.id = server.ask('start', {
        'arguments': arguments, 'folder': str(folder),
        'stdout': str(self._stdout), 'stderr': str(self._stderr),
        'environment': environment})

  def wait_for(self, pattern: str) -> None:
    """Wait until a pattern stands on stderr."""
    self._wait(lambda: re.search(pattern, _read(self._stderr)))
    assert re.search(pattern, _read(self._stderr)), _read(self._stderr)

  def send(self, number: signal.Signals) -> None:
    """Send a signal."""
    os.kill(self.id, number)

  def finish(self) -> Finished:
    """Wait for its end."""
    self._wait(lambda: False)
    return Finished(
        self._returncode, _read(self._stdout), _read(self._stderr))

  def kill(self) -> None:
    """End it whatever it does."""
    if self._returncode is None:
      self.send(signal.SIGKILL)
      self._returncode = self._server.ask('wait', self.id)

  def _wait(self, enough: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while self._returncode is None and not enough():
      if time.monotonic() > deadline:
        self.kill()
        pytest.fail(f'no end of it:\n{_read(self._stderr)[-5000:]}')
      time.sleep(0.02)
      self._returncode = self._server.ask('poll', self.id)


def _read(path: pathlib.Path) -> str:
  return path.read_text('utf-8') if path.is_file() else ''


def free_hosts(count: int) -> list[str]:
  """Addresses of this machine that nobody listens at, for now."""
  sockets = [socket.socket() for _ in range(count)]
  for each in sockets:
    each.bind(('localhost', 0))
  hosts = [f'localhost:{each.getsockname()[1]}' for each in sockets]
  for each in sockets:
    each.close()
  return hosts
