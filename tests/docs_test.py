"""README.md, WORKSPACE.md and docs/: their links, commands and programs."""

import dataclasses
import functools
import importlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from absl import flags
from PIL import Image, ImageDraw

from im2txt import configuration, decoders

ROOT = Path(__file__).resolve().parent.parent
PAGES = {str(path.relative_to(ROOT)): path.read_text('utf-8') for path in (
    ROOT / 'README.md', ROOT / 'WORKSPACE.md',
    *sorted((ROOT / 'docs').glob('*.md')))}
# The order in which a reader runs their commands; the others have none to run.
IN_ORDER = ('README.md', *(f'docs/{name}.md' for name in (
    'data', 'training', 'models', 'evaluation', 'inference', 'serving')))
LANGUAGES = {'sh', 'python', 'text', 'csv'}
PACKAGES = ('im2txt', 'data_prep', 'benchmarks', 'tools')
# Of the command `im2txt`.
IN_SHORT = {'caption': 'im2txt.run_inference', 'check': 'im2txt.check_shards'}
# Inline, these are flags of other programs.
NOT_OURS = {'help', 'strict'}

_BLOCK = re.compile(
    r'^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?'
    r'```(?P<language>\S*)\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL)
_LINK = re.compile(r'\]\(([^)\s]+)\)')


class Block(NamedTuple):
  """A fenced block of a page."""

  place: str          # page:line
  language: str
  text: str
  reason: str | None  # why it is not run


def blocks(page: str) -> list[Block]:
  text = PAGES[page]
  return [Block(f'{page}:{text[:match.start()].count(chr(10)) + 1}',
                match['language'], match['text'], match['reason'])
          for match in _BLOCK.finditer(text)]


def commands(block: Block) -> Iterator[str]:
  """Yield every command of a shell block as one line."""
  line = ''
  for part in block.text.splitlines():
    line += part
    if line.endswith('\\'):
      line = line[:-1]
      continue
    try:
      words = shlex.split(line, comments=True)
    except ValueError:  # A quotation that goes on in the next line.
      line += '\n'
      continue
    if words:
      yield line
    line = ''
  assert not line, f'{block.place}: the last command has no end'


def split_module(words: list[str]) -> tuple[str, list[str]] | None:
  """Split a command of ours into its module and what follows."""
  if words[0] == 'im2txt':
    return IN_SHORT[words[1]], words[2:]
  if (words[:2] == ['python', '-m']
      and words[2].split('.')[0] in PACKAGES):
    return words[2], words[3:]
  return None


def prose(text: str) -> str:
  return _BLOCK.sub('', text)


def anchors(text: str) -> set[str]:
  """Return the anchors that GitHub gives to the headings of a page."""
  headings = re.findall(r'^#+ +(.*)$', prose(text), re.MULTILINE)
  return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')
          for heading in headings}


def config_fields() -> set[str]:
  models = [configuration.ModelConfig,
            *(each.config_class for each in decoders.DECODERS.values())]
  return {f'config.{section}.{field.name}'
          for section, records in (
              ('model', models), ('training', [configuration.TrainingConfig]))
          for record in records for field in dataclasses.fields(record)}


@functools.cache
def flags_of(module: str) -> set[str]:
  """Return the flags of a module, `--no...` of switches too."""
  command = importlib.import_module(module)
  values = flags.FlagValues()
  getattr(command, 'TrainingFlags', getattr(command, 'Flags', None))(values)
  return set(values) | {f'no{name}' for name in values if values[name].boolean}


def check_flags(words: list[str], known: set[str]) -> None:
  for name in (word[2:].partition('=')[0] for word in words
               if word.startswith('--')):
    if '.' in name:
      assert name.removeprefix('no') in config_fields(), name
    else:
      assert name in known, name
  for word in words:
    if word.startswith('--config='):
      config = word.partition('=')[2]
      assert ((ROOT / config).is_file()
              or (ROOT / 'configs' / f'{config}.py').is_file()), word


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_somewhere(page):
  for link in _LINK.findall(prose(PAGES[page])):
    if '://' in link:
      continue
    path, _, anchor = link.partition('#')
    target = ((ROOT / page).parent / path if path else ROOT / page).resolve()
    assert target.exists(), link
    if anchor:
      assert anchor in anchors(PAGES[str(target.relative_to(ROOT))]), link


@pytest.mark.parametrize('path', sorted((ROOT / 'configs').glob('*.py')),
                         ids=lambda path: path.stem)
def test_configurations_name_headings(path):
  for page, heading in re.findall(r'(docs/\w+\.md),\s\*([^*]+)\*',
                                  path.read_text('utf-8')):
    assert f'# {heading}\n' in PAGES[page], heading


@pytest.mark.parametrize('page', ['README.md', 'WORKSPACE.md'])
def test_a_page_can_be_read_at_once(page):
  assert PAGES[page].count('\n') <= 200


def test_every_page_is_linked_from_the_readme():
  linked = set(_LINK.findall(PAGES['README.md']))
  assert set(PAGES) - {'README.md'} <= linked


@pytest.mark.parametrize('page', PAGES)
def test_blocks_have_a_language_and_marks_a_block(page):
  text = PAGES[page]
  found = blocks(page)
  assert {block.language for block in found} <= LANGUAGES
  assert len(re.findall('^```', text, re.MULTILINE)) == 2 * len(found)
  assert text.count('<!-- not run') == sum(
      block.reason is not None for block in found) + (page == 'WORKSPACE.md')
  assert page in IN_ORDER or all(
      block.reason for block in found if block.language in ('sh', 'python'))


@pytest.mark.parametrize('page', PAGES)
def test_commands_exist(page):
  makefile = (ROOT / 'Makefile').read_text()
  for block in blocks(page):
    for line in commands(block) if block.language == 'sh' else ():
      words = shlex.split(line, comments=True)
      ours = split_module(words)
      if ours:
        module, arguments = ours
        if module == 'im2txt.local_cluster':
          end = arguments.index('--')
          check_flags(arguments[end + 1:], flags_of('im2txt.train'))
          arguments = arguments[:end]
        check_flags(arguments, flags_of(module))
      elif words[0] == 'make':
        for target in (word for word in words[1:] if '=' not in word):
          assert re.search(f'^{target}:', makefile, re.MULTILINE), target
      elif words[0] == 'python':
        assert (ROOT / words[1]).exists(), line


WALKED = re.compile(r'`([\w/]+\.py):([\w.]+)`')


def test_functions_that_workspace_walks_through_exist():
  found = WALKED.findall(PAGES['WORKSPACE.md'])
  assert len(found) >= 19
  for path, dotted in found:
    target = importlib.import_module(path[:-3].replace('/', '.'))
    for name in dotted.split('.'):
      target = getattr(target, name)
    assert callable(target)


def test_flags_named_in_sentences_exist():
  modules = {ours[0] for page in PAGES for block in blocks(page)
             if block.language == 'sh' for line in commands(block)
             if (ours := split_module(shlex.split(line, comments=True)))}
  known = set().union(*map(flags_of, modules), NOT_OURS, config_fields())
  for page, text in PAGES.items():
    for code in re.findall(r'`([^`]+)`', prose(text)):
      # Hyphens within: flags of pip, pytest and so on.
      for name in re.findall(r'(?<![\w-])--([a-z][\w.]*)(?![\w-])', code):
        assert name in known or name.removeprefix('no') in known, (
            f'{page}: `{code}`')


def test_the_readme_prints_what_it_says(monkeypatch, capsys):
  [program] = [b for b in blocks('README.md') if b.language == 'python']
  [example] = [b for b in blocks('README.md') if b.language == 'text']
  said = re.findall(r'\d\) (.*) \(p=(.*)\)', example.text)
  assert len(said) == 3
  monkeypatch.chdir(ROOT)
  exec(compile(program.text, program.place, 'exec'), {})
  printed = capsys.readouterr().out.splitlines()
  assert len(printed) == 3
  for line, (caption, probability) in zip(printed, said, strict=True):
    text, number = line.rsplit(' ', 1)
    assert text == caption
    assert float(number) == pytest.approx(float(probability), rel=0.02)


def draw(path: Path, number: int) -> None:
  """Draw an image that differs from those of other numbers."""
  path.parent.mkdir(parents=True, exist_ok=True)
  image = Image.new('RGB', (64, 48), (9 * number % 256, 80, 120))
  ImageDraw.Draw(image).ellipse(
      (number, 5, 20 + number, 40), fill=(250, 13 * number % 256, 30))
  image.save(path)


def write_flickr8k(folder: Path) -> None:
  """Write a data set of 20 drawn images in Flickr8k's layout."""
  captions = []
  for split, numbers in (('train', range(12)), ('dev', range(12, 17)),
                         ('test', range(17, 20))):
    names = [f'{number}_drawn.jpg' for number in numbers]
    (folder / f'Flickr_8k.{split}Images.txt').write_text(
        ''.join(f'{name}\n' for name in names))
    for number, name in zip(numbers, names, strict=True):
      draw(folder / 'Flicker8k_Dataset' / name, number)
      colour = 'red' if number % 2 else 'green'
      captions += [f'{name}#{i}\tA {colour} dog runs on the {place} .\n'
                   for i, place in enumerate(
                       ('grass', 'beach', 'street', 'snow', 'grass'))]
  (folder / 'Flickr8k.token.txt').write_text(''.join(captions))


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
  """Make a folder with all files that the pages take as given."""
  for name in ('configs', 'docs'):
    (tmp_path / name).symlink_to(ROOT / name)
  write_flickr8k(tmp_path)
  draw(tmp_path / 'more' / 'b.jpg', 21)
  draw(tmp_path / 'images' / 'cats' / 'tom.jpg', 22)
  shutil.copy(ROOT / 'docs' / 'skier.jpg', tmp_path / 'dog.jpg')
  [table] = [b.text for b in blocks('README.md') if b.language == 'csv']
  for number in range(20):
    draw(tmp_path / 'images' / f'{number}.jpg', number)
    table += f'{number}.jpg,a cat on a red sofa\n'
  (tmp_path / 'captions.csv').write_text(table)
  return tmp_path


@pytest.mark.long
def test_commands_and_programs_run(workplace, launch):
  """Run each block without a mark, in order; training takes two steps."""
  ran = 0
  for block in (block for page in IN_ORDER for block in blocks(page)
                if block.reason is None):
    if block.language == 'python':
      finished = [subprocess.run(
          [sys.executable, '-c', block.text], cwd=workplace,
          capture_output=True, text=True, check=False)]
    elif block.language == 'sh':
      finished = [run(line, workplace, launch) for line in commands(block)]
    else:
      continue
    for each in finished:
      assert each.returncode == 0, f'{block.place}\n{each.stderr[-3000:]}'
      ran += 1
  assert ran > 30


def run(line: str, folder: Path, launch: Callable) -> object:
  words = [re.sub(r'(?<=^--number_of_steps=)\d+', '2', word)
           for word in shlex.split(line, comments=True)]
  if words[0] == 'im2txt':
    return launch('im2txt.cli', *words[1:], folder=folder)
  if words[:2] == ['python', '-m']:
    return launch(*words[2:], folder=folder)
  return subprocess.run(line, cwd=folder, shell=True, capture_output=True,
                        text=True, check=False)
