"""How command lines fail: one line on stderr, and a traceback for defects."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPT = """
from absl import flags, logging
from im2txt import command_line
from im2txt.flags.config import ConfigFlag

class Flags:
  def __init__(self):
    self.number = flags.DEFINE_integer('number', 3, 'A number.', lower_bound=1)
    self.needed = flags.DEFINE_string('needed', None, 'Needed.', required=True)
    flags.DEFINE_string('image_dir', None, 'A path.')
    flags.DEFINE_multi_string('model_path', None, 'Several.')
    self.config = ConfigFlag(flags.FLAGS)

def main(flags_):
  %s

command_line.run(main, Flags)
"""

CONFIG = '--config=configs/show_and_tell.py'


@pytest.fixture
def run(tmp_path):
  """Run a command line whose main has the given body."""
  script = tmp_path / 'hello.py'

  def run(body, *arguments):
    script.write_text(SCRIPT % body)
    finished = subprocess.run(
        [sys.executable, str(script), *arguments], cwd=ROOT,
        env={'PYTHONPATH': str(ROOT), 'PATH': '/usr/bin:/bin'},
        capture_output=True, text=True, timeout=120)
    return finished.returncode, finished.stdout, finished.stderr
  return run


def test_main_reads_the_flags(run):
  body = 'print(flags_.number.value, flags_.config.value().model.batch_size)'
  assert run(body, '--needed=x', '--number=7',
             CONFIG, '--config.model.batch_size=9') == (0, '7 9\n', '')


def test_a_field_may_be_empty(run):
  assert run('print(repr(flags_.config.value().model.word_vectors_file))',
             '--needed=x', CONFIG, '--config.model.word_vectors_file=') == (
                 0, "''\n", '')


def test_value_of_main_is_the_exit_status(run):
  assert run('return 1', '--needed=x')[0] == 1
  assert run('return 0', '--needed=x')[0] == 0


@pytest.mark.parametrize('flag', [
    ' --number=7', '\n  --number=7', '\u2013-number=7', '\u2014number=7',
    '\u2013\u2013number'])
def test_a_flag_copied_from_a_page_is_named(run, flag):
  status, _, error = run('pass', flag)
  assert status == 2
  assert error.startswith('hello: error: ') and 'number' in error
  assert error.count('\n') == 1 and 'hyphens' in error


@pytest.mark.parametrize('body, line', [
    ("raise ValueError('a.txt:3: no number')", 'a.txt:3: no number'),
    ("raise ValueError('two\\n  lines')", 'two lines'),
    ("open('/no/such/file')",
     "[Errno 2] No such file or directory: '/no/such/file'"),
    ("raise FileNotFoundError('x: no such file')", 'x: no such file'),
])
def test_mistakes_of_the_user_are_one_line(run, body, line):
  assert run(body, '--needed=x') == (1, '', f'hello: error: {line}\n')


@pytest.mark.parametrize('arguments, part', [
    ([], 'needed'),
    (['--needed=x', '--image_dir='], '--image_dir is empty'),
    (['--needed=x', '--model_path='], '--model_path is empty'),
    (['--needed=x', '--number=0'], '--number=0'),
    (['--needed=x', '--number=three'], 'three'),
    (['--needed=x', '--nonesuch=1'], 'nonesuch'),
    (['--needed=x', CONFIG, '--config.model.sise=1'], 'sise'),
    (['--needed=x', CONFIG, '--config.model.batch_size=big'], 'big'),
    (['--needed=x', 'stray'], "'stray'"),
])
def test_mistaken_flags_are_one_line(run, arguments, part):
  code, out, err = run('print("never")', *arguments)
  assert code == 2 and out == ''
  assert err.startswith('hello: error: ') and err.count('\n') == 1
  assert part in err


@pytest.mark.parametrize('body', [
    'return {}[3]', "raise RuntimeError('ours')", 'assert False'])
def test_defects_keep_their_traceback(run, body):
  code, _, err = run(body, '--needed=x')
  assert code == 1
  assert 'Traceback' in err and 'hello.py' in err


def test_a_reader_that_has_had_enough_is_no_error(run, tmp_path):
  script = tmp_path / 'hello.py'
  script.write_text(SCRIPT % 'for i in range(100_000): print(i)')
  finished = subprocess.run(
      f'"{sys.executable}" "{script}" --needed=x | head -1', shell=True,
      cwd=ROOT, env={'PYTHONPATH': str(ROOT), 'PATH': '/usr/bin:/bin'},
      capture_output=True, text=True, timeout=120)
  assert finished.stdout == '0\n'
  assert finished.stderr == ''


def test_information_is_logged_with_the_time_and_no_more(run):
  _, out, err = run("logging.info('hello %d', 3)", '--needed=x')
  time, _, text = err.partition(' ')
  assert out == '' and text == 'hello 3\n'
  assert [len(part) for part in time.split(':')] == [2, 2, 2]


def test_the_log_can_be_made_quiet(run):
  assert run("logging.info('hello')", '--needed=x', '--verbosity=-1')[2] == ''


def test_help_tells_of_the_flags(run):
  code, out, _ = run('return 0', '--help')
  assert code in (0, 1) and '--needed' in out and 'Needed.' in out


def test_a_configuration_that_is_assigned_to_is_one_line(run, tmp_path):
  path = tmp_path / 'mine.py'
  path.write_text('from im2txt import configuration\n\n'
                  'def get_config():\n'
                  '  config = configuration.Config()\n'
                  '  config.model.batch_size = 7\n'
                  '  return config\n')
  status, _, error = run('pass', '--needed=x', f'--config={path}')
  assert status == 2 and error.count('\n') == 1
  assert '--config' in error and 'dataclasses.replace' in error
