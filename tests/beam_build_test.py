"""Beam writes the very bytes that worker processes of this machine write."""

import pytest
from PIL import Image

IN_TWO_PROCESSES = ('--beam_options=--direct_num_workers=2 '
                    '--direct_running_mode=multi_processing')


@pytest.fixture
def build(tmp_path, launch):
  """Builds shards of 40 pictures, of which one is none, into a folder."""
  pictures = tmp_path / 'pictures'
  pictures.mkdir()
  rows = ['image,caption']
  for i in range(40):
    kind = 'PNG' if i % 5 == 0 else 'JPEG'
    Image.new('RGB', (17 + i, 13), (i * 6, 90, 0)).save(
        pictures / f'{i}.jpg', kind)
    rows += [f'{i}.jpg,Dog number {i} é.', f'{i}.jpg,"A dog, again"']
  (pictures / '7.jpg').write_bytes(b'no picture')
  captions = pictures / 'captions.csv'
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
  for picture in (tmp_path / 'pictures').glob('*.jpg'):
    picture.unlink()
  finished, found = build('out', '--runner=beam')
  assert finished.returncode == 1
  assert 'jpg: no such file' in finished.lines[-1]
  assert not any('Traceback' in line for line in finished.lines)
  assert not [name for name in found if name.endswith('.tmp')]
