"""METEOR, by its authors' Java program, which pycocoevalcap starts."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

_JAVA_TIMEOUT = 60  # Seconds for `java -version`.
# Java writes numbers as the user's language has them, which may be 0,5.
_ENGLISH = '-Duser.language=en -Duser.country=US'


def java_problem() -> str | None:
  """Return why Java cannot be used; None: it can."""
  java = shutil.which('java')
  if java is None:
    return 'it needs java, which is not on PATH'
  # The java on PATH may be macOS's stub, or left over from a package.
  try:
    subprocess.run([java, '-version'], capture_output=True, check=True,
                   timeout=_JAVA_TIMEOUT)
  except subprocess.CalledProcessError as error:
    return f'{java} -version fails{_last_line(error.stderr)}'
  except (OSError, subprocess.SubprocessError):
    return f'{java} -version fails'
  return None


def problem() -> str | None:
  """Return why METEOR cannot be computed here; None: it can, it was tried."""
  reason = java_problem()
  if reason is None:
    try:
      score({0: ['a dog']}, [{0: ['a dog']}])
    except OSError as error:
      reason = str(error)
  return reason


def score(
    references: Mapping[Hashable, Sequence[str]],
    candidates: Sequence[Mapping[Hashable, list[str]]],
) -> list[tuple[float, Sequence[float]]]:
  """Score sets of tokenized captions.

  Args:
    references: by image.
    candidates: sets of captions, a list of one by image.

  Returns:
    For each set its score, and those of its images.

  Raises:
    OSError: the program fails; it says with what error.
  """
  from pycocoevalcap.meteor.meteor import Meteor
  with _java_options(_ENGLISH):
    meteor = Meteor()
  try:
    return [meteor.compute_score(references, captions)
            for captions in candidates]
  except (OSError, ValueError):  # It died, or printed no score.
    raise OSError('its Java program failed'
                  f'{_last_line(_end(meteor))}') from None
  except BaseException:  # KeyboardInterrupt, too.
    _end(meteor)
    raise


def _end(meteor: Any) -> bytes:
  """End the program and return what it wrote to its standard error."""
  # Otherwise its destructor waits for the lock forever, and then fails on the
  # pipe.
  if meteor.lock.locked():
    meteor.lock.release()
  with contextlib.suppress(OSError):
    meteor.meteor_p.stdin.close()
  meteor.meteor_p.kill()
  written: bytes = meteor.meteor_p.stderr.read()
  return written


def _last_line(written: bytes) -> str:
  lines = [line.strip() for line in written.decode(errors='replace').split('\n')
           if line.strip() and not line.startswith('Picked up ')]
  # The first line of a stack is the error, the last of a message its end.
  line = next((line for line in lines if 'rror' in line or 'xception' in line),
              lines[-1] if lines else '')
  return f': {line[:300]}' if line else ''


@contextlib.contextmanager
def _java_options(options: str) -> Iterator[None]:
  """Give a Java that is started meanwhile options beside the user's own."""
  name = 'JAVA_TOOL_OPTIONS'
  before = os.environ.get(name)
  os.environ[name] = f'{before or ""} {options}'
  try:
    yield
  finally:
    del os.environ[name]
    if before is not None:
      os.environ[name] = before
