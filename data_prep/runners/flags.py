"""The flags that say what runs the steps of a command."""

import functools
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager

from absl import flags

from data_prep.runners.runner import Runner

# The flags are the command's that constructs them, and in its --help.
flags.disclaim_key_flags()


class RunnerFlags:
  """The flags --runner and --beam_options."""

  def __init__(self, local: str, values: flags.FlagValues = flags.FLAGS):
    """Define the flags.

    Args:
      local: says what does the work by default.
      values: where to define them.
    """
    self.runner = flags.DEFINE_enum(
        'runner', 'local', ['local', 'beam'], f'What does the work: {local}; '
        "or Apache Beam (pip install '.[beam]'), on many machines that all see "
        'the files. The shards are the same.', flag_values=values)
    self.beam_options = flags.DEFINE_string(
        'beam_options', None, "Beam's own options; for example "
        "'--runner=FlinkRunner --flink_master=host:8081'. Default: all in one "
        'process.', flag_values=values)

  def choose(
      self, local: Callable[[], AbstractContextManager[Runner]], scratch: str
  ) -> Callable[[], AbstractContextManager[Runner]]:
    """Return what starts the runner that the flags ask for.

    Args:
      local: starts the one of this machine.
      scratch: folder that all machines see, made before the runner starts.

    Raises:
      ValueError: two flags do not go together, or Beam is not installed.
    """
    if self.runner.value == 'local':
      if self.beam_options.value is not None:
        raise ValueError('--beam_options needs --runner=beam')
      return local
    try:
      from data_prep.runners import beam_runner
    except ImportError as error:
      raise ValueError(
          "--runner=beam needs Apache Beam: pip install '.[beam]' in the "
          f'folder of this project ({error})') from None
    try:
      given = shlex.split(self.beam_options.value or '')
    except ValueError as error:
      raise ValueError(
          f'--beam_options={self.beam_options.value}: {error}') from None
    return functools.partial(
        beam_runner.beam_runner, beam_runner.parse(given), scratch)
