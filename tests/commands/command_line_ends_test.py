"""How a command line's process ends, whoever ends it."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

PROGRAM = '''
"""Repeats a word.

  python -m repeat --word=hello
"""

import sys, time
from absl import flags
from im2txt import command_line

class Flags:

  def __init__(self):
    self.word = flags.DEFINE_string('word', 'hello', 'What to say.')


def main(flags_{parameters}):
{body}


command_line.run(main, Flags{options})
'''


@pytest.fixture
def start(tmp_path):
  """Start a program around the body of its main."""
  processes = []

  def begin(body, *arguments, parameters='', options=''):
    path = tmp_path / 'repeat.py'
    path.write_text(PROGRAM.format(
        parameters=parameters, options=options,
        body=textwrap.indent(body, '  ')))
    environment = os.environ.copy()
    environment.pop('PYTHONUNBUFFERED', None)  # Few users have it.
    processes.append(subprocess.Popen(
        [sys.executable, str(path), *arguments], text=True, env=environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE))
    return processes[-1]

  yield begin
  for process in processes:
    process.kill()
    process.communicate()


def test_main_may_exit_by_itself(start):
  process = start('sys.exit(3)')
  assert process.communicate(timeout=60) == ('', '')
  assert process.returncode == 3


def test_arguments_go_to_a_main_that_takes_them(start):
  process = start('print(*arguments, flags_.word.value)',
                  'one', '--word=oh', 'two',
                  parameters=', arguments', options=', takes_arguments=True')
  assert process.communicate(timeout=60) == ('one two oh\n', '')
  assert process.returncode == 0


def test_help_shows_what_it_is_for(start):
  stdout, stderr = start("print('ran')", '--help').communicate(timeout=60)
  assert 'Repeats a word.' in stdout
  assert 'python -m repeat --word=hello' in stdout
  assert 'ran' not in stdout.split()
  assert stderr == ''


def test_a_reader_that_was_gone_before_the_first_line(start):
  process = start('input(); print(flags_.word.value)')
  process.stdout.close()
  process.stdin.write('now\n')
  process.stdin.flush()
  assert process.stderr.read() == ''
  assert process.wait(60) == 0
  process.stdout = None


def test_an_interruption_costs_a_line(start):
  process = start("print('ready', flush=True); time.sleep(60)")
  assert process.stdout.readline() == 'ready\n'
  process.send_signal(signal.SIGINT)
  _, stderr = process.communicate(timeout=60)
  assert process.returncode == 130
  assert stderr == 'repeat: error: interrupted\n'


def test_an_interruption_as_tensorflow_reports_an_error_costs_a_line(start):
  process = start(textwrap.dedent("""
      import os, signal
      import tensorflow as tf
      tf1 = tf.compat.v1

      def interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        raise StopIteration

      with tf.Graph().as_default(), tf1.Session() as session:
        session.run(tf1.py_func(interrupt, [], tf.float32))
      """))
  _, stderr = process.communicate(timeout=60)
  assert process.returncode == 130
  assert stderr.splitlines()[-1] == 'repeat: error: interrupted'
