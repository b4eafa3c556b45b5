"""Import go down only, from room to room; read with `ast`."""

import ast
import graphlib
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Top to bottom: a room imports only from rooms below its own line. A module
# that lies in no room is one of its own.
ROOMS = (
    ('train', 'evaluate', 'run_inference', 'export', 'score_captions',
     'report', 'check_shards', 'pack_model', 'draw_captions', 'local_cluster',
     'cli'),
    ('training',),
    ('evaluation',),
    ('flags',),
    ('show_and_tell_model', 'inference_wrapper', 'inference_utils', 'ops'),
    ('caption_generator',),
    ('vocabulary',),
    ('trained_model',),
    ('inference',),
    ('search',),
    ('checkpoints',),
    ('models',),
    ('decoders', 'encoders'),
    ('layers',),
    ('inputs',),
    ('results',),
    ('text',),
    ('configuration', 'command_line'),
    ('scoring',),
    ('files', 'log_once'),
)
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
MODULES = sorted(p for p in (ROOT / 'im2txt').rglob('*.py'))
# What only the layer below all files may name, and who else for what reason.
FILES = re.compile(
    r'open|os\.(path\.)?(exists|lexists|isfile|isdir|islink|getsize|getmtime|'
    r'abspath|realpath|samefile|makedirs|mkdir|remove|unlink|rmdir|rename|'
    r'renames|replace|listdir|scandir|walk|stat|open)|'
    r'glob\.(glob|iglob)|shutil\.\w+|filecmp\.\w+|tempfile\.\w+|'
    r'(pathlib\.)?Path|tf\.io\.(gfile\..*|TFRecordWriter)')
MAY_NAME_FILES = {
    'im2txt/files/file_system.py': FILES.pattern,
    'im2txt/command_line.py': r'os\.open',         # The device that is no file.
    # The kernel's locks are of files on this machine.
    'im2txt/files/locks.py': r'open|os\.(path\.exists|remove|stat)',
    'im2txt/scoring/meteor.py': r'shutil\.which',         # A program.
    'im2txt/inputs/sequence_example.py': r'tf\.io\.TFRecordWriter',
    # Unpacks archives on this machine, and says so.
    'data_prep/download.py': r'open|(pathlib\.)?Path|os\.replace|shutil\.\w+',
}
CONFIGS = sorted((ROOT / 'configs').glob('*.py'))
DATA_PREP = sorted((ROOT / 'data_prep').rglob('*.py'))


def imported(path):
  """Every module that a file imports, with dots; names of modules too."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}:{node.lineno}: a relative import'
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return names


def of_im2txt(path):
  """What a file imports of im2txt: `decoders.Decoder` and so on."""
  return {name.removeprefix('im2txt.') for name in imported(path)
          if name.split('.')[0] == 'im2txt'}


def part(name):
  return name.split('.')[0]


def relative(path):
  return str(path.relative_to(ROOT))


def room_of(path):
  """`encoders` for every file in im2txt/encoders, else the file's name."""
  return path.relative_to(ROOT / 'im2txt').with_suffix('').parts[0]


def dotted(path):
  name = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
  return name.removesuffix('.__init__')


def test_every_module_has_a_room():
  assert {room_of(path) for path in MODULES} - {'__init__'} == set(FLOOR)


@pytest.mark.parametrize('path', MODULES, ids=relative)
def test_imports_go_down(path):
  room = room_of(path)
  for name in of_im2txt(path):
    assert part(name) == room or FLOOR[part(name)] > FLOOR[room], (
        f'{relative(path)} imports {name}, which is not below {room}')


@pytest.mark.parametrize('package', ['im2txt', 'data_prep'])
def test_modules_import_without_circles(package):
  paths = sorted((ROOT / package).rglob('*.py'))
  modules = {dotted(path) for path in paths}
  arrows = {dotted(path): {
      name if name in modules else name.rpartition('.')[0]
      for name in imported(path)} & modules for path in paths}
  list(graphlib.TopologicalSorter(arrows).static_order())


# Rooms of im2txt that data_prep may use; `checkpoints` and `encoders` only to
# encode images, `flags` also where flags are defined.
OF_DATA_PREP = {'files', 'text', 'inputs', 'configuration', 'command_line'}
TO_ENCODE = {'checkpoints', 'encoders', 'flags'}


@pytest.mark.parametrize('path', DATA_PREP, ids=relative)
def test_data_prep_knows_only_the_records(path):
  may_use = OF_DATA_PREP
  if path.parent.name == 'features' or path.stem == 'cache_features':
    may_use = may_use | TO_ENCODE
  elif path.stem == 'flags':
    may_use = may_use | {'flags'}
  assert {part(name) for name in of_im2txt(path)} <= may_use


def names_of(path):
  """Every name in a file with what stands before its dots, and its line."""
  tree = ast.parse(path.read_text(encoding='utf-8'))
  inner = {id(node.value) for node in ast.walk(tree)
           if isinstance(node, ast.Attribute)}
  return {(ast.unparse(node), node.lineno) for node in ast.walk(tree)
          if isinstance(node, ast.Attribute | ast.Name)
          and id(node) not in inner}


@pytest.mark.parametrize('path', MODULES + DATA_PREP, ids=relative)
def test_files_are_reached_through_one_layer(path):
  allowed = MAY_NAME_FILES.get(relative(path), r'(?!)')
  assert not {(name, line) for name, line in names_of(path)
              if FILES.fullmatch(name) and not re.fullmatch(allowed, name)}


def test_the_reader_sees_names(tmp_path):
  path = tmp_path / 'x.py'
  path.write_text('import os\n\nx = map(os.path.exists, [])\n'
                  'with open("x") as f:\n  f.open()\n  os.remove(f.name)\n')
  assert {name for name, _ in names_of(path) if FILES.fullmatch(name)} == {
      'os.path.exists', 'open', 'os.remove'}


@pytest.mark.parametrize('path', CONFIGS, ids=relative)
def test_configs_know_only_configurations(path):
  for name in of_im2txt(path):
    assert part(name) in ('configuration', 'decoders'), name


@pytest.mark.parametrize('path', MODULES + CONFIGS + DATA_PREP, ids=relative)
def test_nothing_private_is_imported(path):
  for name in imported(path):
    assert not name.startswith('tensorflow.python'), name
    own = part(name) in ('im2txt', 'data_prep')
    assert own or not any(p.startswith('_') for p in name.split('.')
                          if p != '__future__'), name


def test_the_reader_sees_imports(tmp_path):
  path = tmp_path / 'x.py'
  path.write_text('import a.b as c, d\nfrom im2txt import train, inputs\n'
                  'def f():\n  from im2txt.encoders.encoder import Encoder\n'
                  'import im2txt.layers.core\n')
  assert imported(path) == {
      'a.b', 'd', 'im2txt.train', 'im2txt.inputs', 'im2txt.layers.core',
      'im2txt.encoders.encoder.Encoder'}
  assert of_im2txt(path) == {
      'train', 'inputs', 'layers.core', 'encoders.encoder.Encoder'}
