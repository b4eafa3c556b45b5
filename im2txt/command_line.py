"""How every command line of this project starts and how it fails.

A mistake of the user's (a flag, a file, a broken image) costs one line on
stderr and exit status 1 or 2, never a traceback; anything else is a defect of
ours and keeps its traceback.
"""

import dataclasses
import errno
import logging as python_logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags, logging

from im2txt.files import file_system

# ' --flag' of a line's end '\\ ' that was joined, or with another dash.
_MISTYPED_FLAG = re.compile(r'\s+--?\w|-?[\u2010-\u2015\u2212]+-?\w')
# Flags of paths, by their names; fields of --config have a point.
_PATH_FLAG = re.compile(r'(\w+_)?(dir|file|files|path|pattern)|output\w*')
# Flags that `run` has defined are the main module's, and in its --help.
flags.disclaim_key_flags()


def run(
    main: Callable[..., int | None], define_flags: Callable[[], Any],
    takes_arguments: bool = False,
    complete: Callable[[Sequence[str]], Sequence[str]] = list,
) -> None:
  """Define and parse the flags and run `main`, whose value is the exit status.

  Args:
    main: is called with the flags; raises ValueError or OSError with a
      one-line message that names the file, line or flag at fault.
    define_flags: defines the flags of the command in `flags.FLAGS` and returns
      what holds them: a class, whose constructor does so. No flag is defined
      before, as a module is imported, so that all commands can be imported
      together.
    takes_arguments: whether `main` is called also with the list of arguments
      that are no flags; otherwise such an argument is an error.
    complete: adds what follows from the command line to it, before its flags
      are parsed.
  """
  flags_ = define_flags()

  def parse_flags(argv: Sequence[str]) -> list[str]:
    for argument in argv[1:]:
      if _MISTYPED_FLAG.match(argument) and not file_system.exists(argument):
        _fail(ValueError(
            f'{argument!r} is no flag: a flag begins with two plain hyphens '
            'and nothing before them; was the command copied from a page?'), 2)
    # Where ml_collections looks for --config and its fields.
    sys.argv = [*complete(argv)]
    program, *rest = _parse_flags(sys.argv)
    _refuse_empty()
    _expand_home()
    if rest and not takes_arguments:
      _fail(ValueError(
          f'unexpected argument {rest[0]!r}; flags begin with --'), 2)
    return [program, *rest]

  def guarded(argv: Sequence[str]) -> int | None:
    _set_up_logging()
    try:
      status = main(flags_, argv[1:]) if takes_arguments else main(flags_)
      sys.stdout.flush()  # Here, where a failure is still caught.
      return status
    except BrokenPipeError:  # `... | head`: the reader has had enough.
      os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
      return 0
    except (ValueError, OSError) as error:
      if getattr(error, 'errno', None) in (errno.ENOSPC, errno.EDQUOT):
        error = f'{error}; make room and give the same command again'
      _fail(error, 1)
    except KeyboardInterrupt:
      _fail(KeyboardInterrupt('interrupted'), 130)
    except RuntimeError as error:
      # So pybind11 names a Ctrl-C that comes while TensorFlow makes an
      # exception of an error of its own, the end of a data set for one.
      if 'REPLACED BY KeyboardInterrupt' not in str(error):
        raise
      _fail(KeyboardInterrupt('interrupted'), 130)

  app.run(guarded, flags_parser=parse_flags)


def _parse_flags(argv: Sequence[str]) -> list[str]:
  # ml_collections reports an unknown or ill-typed --config field by a plain
  # KeyError, TypeError or ValueError, which absl does not turn into a line.
  try:
    return flags.FLAGS(argv)
  except flags.UnrecognizedFlagError as error:
    hint = ('; name the file with --config, too'
            if error.flagname.startswith('config.') else '')
    _fail(ValueError(f'{error}{hint}'), 2)
  except (flags.Error, LookupError, TypeError, ValueError, OSError) as error:
    _fail(error, 2)
  except Exception as error:  # A --config file is a program; it can fail so.
    hint = ('; a configuration is frozen: give its fields when it is made, or '
            'make another with dataclasses.replace'
            if isinstance(error, dataclasses.FrozenInstanceError) else '')
    _fail(ValueError(f'the file of --config failed: {type(error).__name__}: '
                     f'{error}{hint}'), 2)


def _refuse_empty() -> None:
  """Refuse an empty path, mostly a variable of the shell that is unset."""
  for name in flags.FLAGS:
    flag = flags.FLAGS[name]
    is_empty = flag.present and flag.value in ('', [''])
    if is_empty and _PATH_FLAG.fullmatch(name):
      _fail(ValueError(
          f'--{name} is empty; is a variable of the shell unset?'), 2)


def _expand_home() -> None:
  """Let ~ at the beginning of a flag's value mean the home folder.

  The shell does so only where a word begins with it: not in --flag=~/folder.
  """
  for name in flags.FLAGS:
    flag = flags.FLAGS[name]
    if isinstance(flag.value, list):
      flag.value = [_expand(item) for item in flag.value]
    elif isinstance(flag.value, str):
      # Patterns are separated by commas.
      flag.value = ','.join(map(_expand, flag.value.split(',')))


def _expand(value: Any) -> Any:
  return (os.path.expanduser(value)
          if isinstance(value, str) and value.startswith('~/') else value)


def end_at_once(error: Exception) -> None:
  """End the process, from any thread, for a mistake of the user's."""
  _say(error)
  os._exit(1)


def _fail(error: BaseException | str, status: int) -> None:
  _say(error)
  sys.exit(status)


def _say(error: BaseException | str) -> None:
  # str() of a KeyError quotes its message.
  message = error.args[0] if isinstance(error, KeyError) else error
  # ml_collections puts the whole traceback of a --config file in there.
  message = re.sub(r'Traceback \(most recent call last\):.*\n(?=\S)', '',
                   str(message), flags=re.DOTALL)
  one_line = ' '.join(message.split())
  program = os.path.basename(sys.argv[0]).removesuffix('.py')
  print(f'{program}: error: {one_line}', file=sys.stderr, flush=True)


def _set_up_logging() -> None:
  if flags.FLAGS['verbosity'].using_default_value:
    logging.set_verbosity(logging.INFO)
  logging.get_absl_handler().setFormatter(
      python_logging.Formatter('%(asctime)s %(message)s', '%H:%M:%S'))
  # What it says below that is about its own hooks and ways, and comes twice.
  python_logging.getLogger('tensorflow').setLevel(python_logging.ERROR)
