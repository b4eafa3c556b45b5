"""The flags that say what runs the steps of a command."""

import functools
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager

from absl import flags

from data_prep.runners.runner import Runner

# --help of a command line then lists these flags as its own.
flags.disclaim_key_flags()

FLAGS = flags.FLAGS


def define(local: str) -> None:
  """Defines the flags.

  Args:
    local: what does the work if nothing is said.
  """
  flags.DEFINE_enum('runner', 'local', ['local', 'beam'],
                    f'What does the work: {local}; or '
                    "Apache Beam (pip install '.[beam]'), on many machines "
                    'that all see the files. The shards are the same.')
  flags.DEFINE_string('beam_options', None, "Beam's own options; for example "
                      "'--runner=FlinkRunner --flink_master=host:8081'. "
                      'Default: all in one process.')


def runner(
    local: Callable[[], AbstractContextManager[Runner]], scratch: str
) -> Callable[[], AbstractContextManager[Runner]]:
  """What starts the runner that the flags ask for.

  Args:
    local: starts the one of this machine.
    scratch: folder that all machines see, made before the runner starts.

  Raises:
    ValueError: two flags do not go together, or there is no Beam.
  """
  if FLAGS.runner == 'local':
    if FLAGS.beam_options is not None:
      raise ValueError('--beam_options needs --runner=beam')
    return local
  try:
    from data_prep.runners import beam_runner
  except ImportError as error:
    raise ValueError("--runner=beam needs Apache Beam: pip install '.[beam]' "
                     f'in the folder of this project ({error})') from None
  try:
    given = shlex.split(FLAGS.beam_options or '')
  except ValueError as error:
    raise ValueError(f'--beam_options={FLAGS.beam_options}: {error}') from None
  return functools.partial(
      beam_runner.beam_runner, beam_runner.parse(given), scratch)
