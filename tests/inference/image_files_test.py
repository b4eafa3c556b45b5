"""Which files are meant, on a real tree of files with awkward names."""

import os

import pytest

from im2txt.inference import image_files

LATIN = os.fsdecode(b'caf\xe9.jpg')  # As a disk of before UTF-8 has it.


@pytest.fixture
def tree(tmp_path, monkeypatch):
  """A tree of files, from within which names are short."""
  monkeypatch.chdir(tmp_path)
  for name in ('d/b.jpg', 'd/B.JPG', 'd/a/z.png', 'd/a/notes.txt',
               'd/a/a b, c.jpeg', 'd/c.d/deep/er/x.webp', f'd/{LATIN}',
               'd/naïve 犬.gif', 'd/jpg', 'd/e[1].bmp', 'd/b.jpg.txt',
               'e/e1.jpg', 'e/e1.doc', 'none/no.txt', 'odd*.jpg/o.jpg'):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
  (tmp_path / 'empty').mkdir()
  return tmp_path


IN_D = ['d/B.JPG', 'd/b.jpg', f'd/{LATIN}', 'd/e[1].bmp', 'd/naïve 犬.gif',
        'd/a/a b, c.jpeg', 'd/a/z.png', 'd/c.d/deep/er/x.webp']


def sorted_in_folders(files):
  """As found: a folder's files first, then its folders'."""
  return sorted(files, key=lambda file: (
      os.path.dirname(file), os.path.basename(file)))


@pytest.mark.parametrize('meant', ['d', 'd/', './d', '../{}/d'])
def test_a_folder_means_the_images_within(tree, meant):
  meant = meant.format(tree.name)
  assert image_files.find(meant).files == [
      os.path.join(meant, file.removeprefix('d/'))
      for file in sorted_in_folders(IN_D)]


@pytest.mark.parametrize('file', [
    *IN_D, 'd/jpg', 'd/a/notes.txt', 'odd*.jpg/o.jpg'])
def test_a_file_means_itself_whatever_it_is_called(tree, file):
  assert image_files.find(file).files == [file]
  assert image_files.find(str(tree / file)).files == [str(tree / file)]


@pytest.mark.parametrize('pattern, files', [
    ('d/*.jpg', ['d/b.jpg', f'd/{LATIN}']),
    ('d/[bB].*', ['d/B.JPG', 'd/b.jpg', 'd/b.jpg.txt']),
    ('d/?/*', ['d/a/a b, c.jpeg', 'd/a/notes.txt', 'd/a/z.png']),
    ('*/*1.*', ['e/e1.doc', 'e/e1.jpg']),
    ('odd[*].jpg/*', ['odd*.jpg/o.jpg']),
    ('d/caf*', [f'd/{LATIN}'])])
def test_a_pattern_means_files_in_order(tree, pattern, files):
  assert image_files.find(pattern).files == files


def test_a_pattern_means_folders_too(tree):
  (tree / 'd2').mkdir()
  (tree / 'd2' / 'y.jpg').touch()
  assert image_files.find('[de]*').files == [
      *sorted_in_folders(IN_D), 'd2/y.jpg', 'e/e1.jpg']


def test_what_exists_is_no_pattern(tree):
  (tree / 'oddity.jpg').mkdir()
  (tree / 'oddity.jpg' / 'p.jpg').touch()
  (tree / 'd' / 'e1.bmp').touch()
  assert image_files.find('odd*.jpg').files == ['odd*.jpg/o.jpg']
  assert image_files.find('d/e[1].bmp').files == ['d/e[1].bmp']


@pytest.mark.parametrize('meant', [
    'gone.jpg', 'gone/*', 'd/*.tiff', 'd/[', '', 'd/b.jpg/', 'd/b.jpg/x.jpg',
    'a\0b', 'x' * 300, f'gone/{LATIN}', 'none', 'empty'])
def test_nothing_is_refused_by_name(tree, meant):
  with pytest.raises(ValueError) as refused:
    image_files.find(meant)
  assert str(refused.value).startswith(f'{meant}: there is no ')


def test_other_file_systems_are_tensorflows(tree):
  assert image_files.find(f'file://{tree}/e').files == [
      f'file://{tree}/e/e1.jpg']
  with pytest.raises(ValueError, match='nosuch://disk/a.jpg: .*nosuch'):
    image_files.find('nosuch://disk/a.jpg')


HEADS = {
    'jpeg': b'\xff\xd8\xff\xe0\0\x10JFIF\0',
    'png': b'\x89PNG\r\n\x1a\n\0\0\0\r',
    'gif': b'GIF89a\1\0\1\0\0\0', 'bmp': b'BM\x46\0\0\0\0\0\0\0\x36\0',
    'webp': b'RIFF\x24\0\0\0WEBP', 'tiff': b'II*\0\x08\0\0\0\0\0\0\0',
    'avif': b'\0\0\0\x1cftypavif', 'heic': b'\0\0\0\x1cftypheic'}


@pytest.mark.parametrize('kind', HEADS)
@pytest.mark.parametrize('name', ['IMG_0001', 'data.bin'])
def test_images_are_known_by_their_content(tmp_path, kind, name):
  (tmp_path / name).write_bytes(HEADS[kind] + b'...')
  assert image_files.find(str(tmp_path)).files == [str(tmp_path / name)]


@pytest.mark.parametrize('suffix', [
    'jfif', 'JPE', 'heic', 'HEIF', 'avif', 'tif', 'tiff'])
def test_images_are_known_by_more_suffixes(tmp_path, suffix):
  (tmp_path / f'a.{suffix}').touch()
  assert image_files.find(str(tmp_path)).files == [f'{tmp_path}/a.{suffix}']


def test_what_is_left_out_is_counted(tree):
  (tree / 'd' / 'README').write_text('BM is what some texts begin with.')
  os.mkfifo(tree / 'd' / 'pipe')
  found = image_files.find_all(['d', 'e', 'none', 'd/jpg'])
  assert len(found.files) == len(IN_D) + 2
  assert found.left_out == {'.txt': 2, '': 3, '.doc': 1}
  assert found.describe_left_out() == (
      '6 files are not images: 3 without suffix, 2 .txt, 1 .doc')
  assert found.mistakes == [
      'none: there is no image in it; 1 files are not images: 1 .txt']


def test_hidden_files_and_copies_of_systems_are_passed_over(tmp_path):
  for name in ('a.jpg', '._a.jpg', '.DS_Store', '.ipynb_checkpoints/a.jpg',
               '.Trashes/a.jpg', '@eaDir/a.jpg', 'b/__MACOSX/._a.jpg',
               'b/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg'):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
  found = image_files.find(str(tmp_path))
  assert found.files == [f'{tmp_path}/a.jpg'] and not found.left_out


def test_links(tree):
  (tree / 'e' / 'circle').symlink_to('.')
  (tree / 'e' / 'broken.jpg').symlink_to('nowhere')
  (tree / 'e' / 'link.jpg').symlink_to('../d/b.jpg')
  (tree / 'shortcut').symlink_to('e')
  assert image_files.find('shortcut').files == [
      f'shortcut/{name}' for name in ('broken.jpg', 'e1.jpg', 'link.jpg')]


def test_a_list(tmp_path):
  path = tmp_path / 'list.txt'
  path.write_bytes(
      'd/a b, c.jpeg\r\n\n   \r\n d/ spaced .jpg \nd/*.jpg\nd/naïve 犬.gif\n'
      .encode() + b'd/caf\xe9.jpg\nd/a b, c.jpeg\nlast')
  assert list(image_files.read_list(str(path))) == [
      'd/a b, c.jpeg', ' d/ spaced .jpg ', 'd/*.jpg', 'd/naïve 犬.gif',
      f'd/{LATIN}', 'd/a b, c.jpeg', 'last']


@pytest.mark.parametrize('content, names', [
    (b'', []), (b'\r\n\n \n', []), (b'\xef\xbb\xbfa.jpg\r\nb.jpg', [
        'a.jpg', 'b.jpg'])])
def test_lists_of_nothing_and_of_windows(tmp_path, content, names):
  path = tmp_path / 'list.txt'
  path.write_bytes(content)
  assert list(image_files.read_list(str(path))) == names


def test_no_list(tmp_path):
  for path in (tmp_path, tmp_path / 'gone.txt'):
    with pytest.raises(OSError, match=path.name):
      list(image_files.read_list(str(path)))
