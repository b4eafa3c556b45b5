"""Beam writes the very bytes that worker processes of this machine write."""

import json

import pytest
from PIL import Image

IN_TWO_PROCESSES = ('--beam_options=--direct_num_workers=2 '
                    '--direct_running_mode=multi_processing')


@pytest.fixture
def build(tmp_path, launch):
  """Build shards of 40 images, of which one is none, into a folder."""
  images = tmp_path / 'images'
  images.mkdir()
  rows = ['image,caption']
  for i in range(40):
    kind = 'PNG' if i % 5 == 0 else 'JPEG'
    Image.new('RGB', (17 + i, 13), (i * 6, 90, 0)).save(
        images / f'{i}.jpg', kind)
    rows += [f'{i}.jpg,Dog number {i} é.', f'{i}.jpg,"A dog, again"']
  (images / '7.jpg').write_bytes(b'no image')
  captions = images / 'captions.csv'
  captions.write_text('\n'.join(rows))

  def go(name, *flags):
    finished = launch(
        'data_prep.build_custom_data', f'--captions_file={captions}',
        '--val_fraction=0.2', '--train_shards=3', '--val_shards=2',
        '--test_fraction=0', '--min_word_count=2', '--max_bad_fraction=0.1',
        f'--output_dir={tmp_path / name}', *flags)
    return finished, {path.name: path.read_bytes()
                      for path in (tmp_path / name).glob('*')}
  return go


@pytest.mark.parametrize(('flags', 'beam_flags'), [
    ([], []),
    pytest.param(
        ['--layout=image', '--caption_style=keras', '--max_side=11'],
        [IN_TWO_PROCESSES], marks=pytest.mark.long)],
                         ids=['in this process', 'in two processes'])
def test_beam_builds_what_this_machine_builds(build, flags, beam_flags):
  finished, expected = build('local', *flags)
  assert finished.returncode == 0, finished.stderr
  assert {'bad_images.txt', 'train-00002-of-00003',
          'word_counts.txt'} < expected.keys()
  finished, found = build('beam', *flags, '--runner=beam', *beam_flags)
  assert finished.returncode == 0, finished.stderr
  assert found == expected


def coco(folder):
  flags = []
  for split, ids in (('train', range(9)), ('val', range(9, 13))):
    path = folder / f'{split}.json'
    path.write_text(json.dumps({
        'images': [{'id': i, 'file_name': f'{i}.jpg'} for i in ids],
        'annotations': [{'id': 10 * i + k, 'image_id': i,
                         'caption': f'A cat of {i // 2}.'}
                        for i in ids for k in range(2)]}))
    flags += [f'--{split}_image_dir={folder}',
              f'--{split}_captions_file={path}']
  return ['build_coco_data', '--split=official', *flags]


def flickr8k(folder):
  (folder / 'token.txt').write_text(''.join(
      f'{i}.jpg#{k}\tA dog of {i // 2} runs .\n'
      for i in range(13) for k in range(2)))
  for name, ids in (('train', range(9)), ('dev', range(9, 13))):
    (folder / f'{name}.txt').write_text(''.join(f'{i}.jpg\n' for i in ids))
  return ['build_flickr8k_data', f'--captions_file={folder}/token.txt',
          f'--train_list={folder}/train.txt', f'--dev_list={folder}/dev.txt',
          f'--image_dir={folder}']


def conceptual_captions(folder):
  for name, ids in (('train', range(9)), ('val', range(9, 13))):
    (folder / f'{name}.tsv').write_text(''.join(
        f'a cow of {i // 2}\thttp://x.test/{i}\t{i}.jpg\n' for i in ids))
  return ['build_conceptual_captions_data', f'--image_dir={folder}',
          f'--train_captions_file={folder}/train.tsv',
          f'--val_captions_file={folder}/val.tsv']


@pytest.mark.long
@pytest.mark.parametrize('make', [coco, flickr8k, conceptual_captions])
def test_so_it_does_of_every_data_set(make, launch, tmp_path):
  images = tmp_path / 'images'
  images.mkdir()
  for i in range(13):
    Image.new('RGB', (17 + i, 13), (i * 6, 90, 0)).save(images / f'{i}.jpg')
  module, *flags = make(images)
  found = []
  for name, more in (('local', []), ('beam', ['--runner=beam',
                                              IN_TWO_PROCESSES])):
    finished = launch(
        f'data_prep.{module}', *flags, '--min_word_count=1',
        '--train_shards=3', '--val_shards=2', f'--output_dir={tmp_path / name}',
        *more)
    assert finished.returncode == 0, finished.stderr
    found.append({path.name: path.read_bytes()
                  for path in (tmp_path / name).glob('*')})
  local, beam = found
  assert {'train-00002-of-00003', 'val-00001-of-00002'} < local.keys()
  assert beam == local


@pytest.mark.long
def test_what_the_one_began_the_other_goes_on_with(build, tmp_path):
  finished, expected = build('out')
  assert finished.returncode == 0, finished.stderr
  (tmp_path / 'out' / 'train-00001-of-00003').unlink()
  finished, found = build('out', '--runner=beam')
  assert finished.returncode == 0, finished.stderr
  assert found == expected


@pytest.mark.long
def test_mistakes_are_one_line(build, tmp_path):
  finished, _ = build('out', '--beam_options=--runner=FlinkRunner')
  assert finished.returncode == 1
  assert finished.error.endswith('--beam_options needs --runner=beam')
  for value, said in (('--direct_num_workers=x', "invalid int value: 'x'"),
                      ("junk'", 'No closing quotation')):
    finished, _ = build('out', '--runner=beam', f'--beam_options={value}')
    assert finished.returncode == 1
    assert '--beam_options' in finished.lines[-1]
    assert said in finished.lines[-1]
  finished, _ = build('out')
  assert finished.returncode == 0, finished.stderr
  (tmp_path / 'out' / 'val-00001-of-00002').unlink()
  for image in (tmp_path / 'images').glob('*.jpg'):
    image.unlink()
  finished, found = build('out', '--runner=beam')
  assert finished.returncode == 1
  assert 'jpg: no such file' in finished.lines[-1]
  assert not any('Traceback' in line for line in finished.lines)
  assert not [name for name in found if name.endswith('.tmp')]
