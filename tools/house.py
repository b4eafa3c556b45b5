"""Count the shape of the code: rooms, floors, imports, functions.

  python -m tools.house [ROOT]

A room is a package of im2txt or data_prep, or a module beside them. A floor
is a step of the longest chain of imports between modules. An arrow is a pair
of rooms of which one imports the other. ROOT is another checkout to count, to
compare two of them.
"""

import ast
import functools
import graphlib
import pathlib
import sys
from collections.abc import Iterator
from typing import NamedTuple

PACKAGES = ('im2txt', 'data_prep')


class Function(NamedTuple):
  """A function's place and size."""

  place: str  # file:name
  lines: int
  parameters: int  # without self and cls


def name_of(path: pathlib.Path, root: pathlib.Path) -> str:
  """Return the dotted name of a module's file."""
  dotted = '.'.join(path.relative_to(root).with_suffix('').parts)
  return dotted.removesuffix('.__init__')


def room_of(module: str) -> str:
  """Return the room of a module: the package next to the top, or itself."""
  return '.'.join(module.split('.')[:2])


def read_imports(root: pathlib.Path) -> dict[str, set[str]]:
  """Read which modules of the packages each of their modules imports."""
  paths = {name_of(path, root): path for package in PACKAGES
           for path in sorted((root / package).rglob('*.py'))}
  return {module: _imported(path, set(paths)) - {module}
          for module, path in paths.items()}


def _imported(path: pathlib.Path, modules: set[str]) -> set[str]:
  names = set()
  for node in ast.walk(ast.parse(path.read_text('utf-8'))):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return {name if name in modules else name.rpartition('.')[0]
          for name in names} & modules


def count_floors(imports: dict[str, set[str]]) -> int:
  """Count the modules on the longest chain of imports.

  Raises:
    graphlib.CycleError: modules import each other in a circle.
  """
  list(graphlib.TopologicalSorter(imports).static_order())

  @functools.cache
  def height(module: str) -> int:
    return 1 + max(map(height, imports[module]), default=0)

  return max(map(height, imports))


def find_arrows(imports: dict[str, set[str]]) -> set[tuple[str, str]]:
  """Return the pairs of rooms of which the first imports the second."""
  return {(room_of(module), room_of(target))
          for module, targets in imports.items() for target in targets
          if room_of(module) != room_of(target)}


def find_functions(root: pathlib.Path) -> Iterator[Function]:
  """Yield every function of the packages; nested ones, too."""
  for package in PACKAGES:
    for path in sorted((root / package).rglob('*.py')):
      for node in ast.walk(ast.parse(path.read_text('utf-8'))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
          given = node.args
          names = [x.arg for x in (
              *given.posonlyargs, *given.args, *given.kwonlyargs)]
          yield Function(f'{path.relative_to(root)}:{node.name}',
                         node.end_lineno - node.lineno + 1,
                         len([x for x in names if x not in ('self', 'cls')]))


def main() -> None:
  """Print the table."""
  root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else '.').resolve()
  imports = read_imports(root)
  functions = list(find_functions(root))
  longest = max(functions, key=lambda function: function.lines)
  widest = max(functions, key=lambda function: function.parameters)
  arrows = find_arrows(imports)
  for what, value in (
      ('modules', len(imports)),
      ('rooms of im2txt', len({
          room_of(module) for module in imports
          if module.startswith('im2txt.')})),
      ('most modules in a room', max(
          sum(parent == module.rpartition('.')[0] for module in imports)
          for parent in imports)),
      ('floors', count_floors(imports)),
      ('arrows between rooms', len(arrows)),
      ('functions', len(functions)),
      ('over 60 lines', sum(f.lines > 60 for f in functions)),
      ('longest function', f'{longest.lines} lines, {longest.place}'),
      ('over 7 parameters', sum(f.parameters > 7 for f in functions)),
      ('most parameters', f'{widest.parameters}, {widest.place}'),
      *((f'lines of {name}', len((root / name).read_text().splitlines()))
        for name in ('README.md', 'WORKSPACE.md'))):
    print(f'{what:24}{value}')


if __name__ == '__main__':
  main()
