"""build_*_data.py as a user runs them, interrupted and killed, too."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf
from PIL import Image

from data_prep.datasets import captioned_images
from data_prep.shards import build
from im2txt.inputs import sequence_example
from im2txt.text import annotations

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
COCO_SAMPLE = REPOSITORY.parent / 'shared' / 'data' / 'coco'


def command(module, *flags):
  return [sys.executable, '-m', f'data_prep.{module}', *map(str, flags)]


def draw(path, kind='JPEG'):
  path.parent.mkdir(exist_ok=True)
  Image.new('RGB', (13, 17), 'green').save(path, kind)


def count_pairs(folder, split):
  """Number of shards and of records; a record is a pair by default."""
  paths = sorted(str(path) for path in folder.glob(f'{split}-*'))
  return len(paths), sum(1 for _ in tf.data.TFRecordDataset(paths))


def error_line(stderr):
  """The last line; tracebacks must not stand above it."""
  assert 'Traceback' not in stderr
  return stderr.splitlines()[-1]


def write_coco(tmp_path, name, ids):
  for i in ids:
    draw(tmp_path / name / f'{i}.jpg')
  path = tmp_path / f'captions_{name}.json'
  path.write_text(json.dumps({
      'images': [{'id': i, 'file_name': f'{i}.jpg'} for i in ids],
      'annotations': [{'id': 10 * i + k, 'image_id': i, 'caption': 'A cat.'}
                      for i in ids for k in range(2)]}))
  return [f'--{name}_image_dir={tmp_path / name}',
          f'--{name}_captions_file={path}']


def test_build_coco_data(tmp_path, launch):
  out = tmp_path / 'new' / 'out'
  counts = tmp_path / 'vocab' / 'counts.txt'
  done = launch(
      'data_prep.build_coco_data', *write_coco(tmp_path, 'train', range(1, 10)),
      *write_coco(tmp_path, 'val', range(10, 30)),
      '--train_shards=3', '--val_shards=1', '--test_shards=2',
      f'--output_dir={out}', f'--word_counts_output_file={counts}')
  assert done.returncode == 0, done.stderr
  assert count_pairs(out, 'train') == (3, 2 * (9 + 17))
  assert count_pairs(out, 'val') == (1, 2)
  assert count_pairs(out, 'test') == (2, 4)
  assert counts.read_text() == '. 52\n</S> 52\n<S> 52\na 52\ncat 52\n'
  assert not (out / 'word_counts.txt').exists()


def test_build_coco_data_says_which_flag_is_missing(tmp_path, launch):
  done = launch(
      'data_prep.build_coco_data', '--split=karpathy',
      f'--output_dir={tmp_path}')
  assert done.returncode == 1
  assert error_line(done.stderr).endswith(
      'error: --split=karpathy needs --karpathy_file')


@pytest.mark.long
@pytest.mark.skipif(not COCO_SAMPLE.exists(),
                    reason=f'{COCO_SAMPLE} is not there')
def test_build_coco_data_on_real_images(tmp_path, launch):
  annotations = COCO_SAMPLE / 'annotations'
  done = launch(
      'data_prep.build_coco_data', '--split=official',
      f'--train_image_dir={COCO_SAMPLE / "train2017"}',
      f'--val_image_dir={COCO_SAMPLE / "val2017"}',
      f'--train_captions_file={annotations / "captions_train2017.json"}',
      f'--val_captions_file={annotations / "captions_val2017.json"}',
      '--train_shards=4', f'--output_dir={tmp_path}')
  assert done.returncode == 0, done.stderr
  assert '430 images: 0 bad' in done.stderr
  assert count_pairs(tmp_path, 'train') == (4, 650)
  assert count_pairs(tmp_path, 'val')[0] == 4


def test_build_flickr8k_data(tmp_path, launch):
  for name in ('1_a.jpg', '2_b.jpg', '3_c.jpg'):
    draw(tmp_path / 'pics' / name)
  draw(tmp_path / 'pics' / '2_b.jpg', 'PNG')
  (tmp_path / 'token.txt').write_text(''.join(
      f'{name}#{i}\tA dog runs .\n' for i in range(5) for name in
      ('1_a.jpg', '2_b.jpg', '3_c.jpg', '3_c.jpg.1')))
  (tmp_path / 'train.txt').write_text('1_a.jpg\n2_b.jpg\n')
  (tmp_path / 'dev.txt').write_text('3_c.jpg\n')
  out = tmp_path / 'out'
  done = launch(
      'data_prep.build_flickr8k_data', f'--image_dir={tmp_path / "pics"}',
      f'--captions_file={tmp_path / "token.txt"}',
      f'--train_list={tmp_path / "train.txt"}',
      f'--dev_list={tmp_path / "dev.txt"}', f'--output_dir={out}')
  assert done.returncode == 0, done.stderr
  assert '5 captions of 1 images are in no list' in done.stderr
  assert '3 images: 0 bad' in done.stderr
  assert count_pairs(out, 'train') == (8, 10)
  assert count_pairs(out, 'val') == (1, 5)
  assert not list(out.glob('test-*'))


def custom_flags(tmp_path, captions, images=10):
  rows = ['image,caption']
  for i in range(images):
    draw(tmp_path / 'pics' / f'{i}.jpg')
  for i in range(captions):
    rows.append(f'{i % images}.jpg,image number {i}')
  (tmp_path / 'pics' / 'captions.csv').write_text('\n'.join(rows))
  return [f'--captions_file={tmp_path / "pics" / "captions.csv"}',
          '--val_fraction=0.1', '--test_fraction=0.2', '--num_threads=1']


def test_build_custom_data(tmp_path, launch):
  out = tmp_path / 'out'
  done = launch(
      'data_prep.build_custom_data', *custom_flags(tmp_path, 40),
      f'--output_dir={out}')
  assert done.returncode == 0, done.stderr
  assert count_pairs(out, 'train') == (8, 28)
  assert count_pairs(out, 'val') == (1, 4)
  assert count_pairs(out, 'test') == (1, 8)


@pytest.mark.long
def test_build_custom_data_in_layout_image(tmp_path, launch):
  out = tmp_path / 'out'
  flags = [*custom_flags(tmp_path, 40), f'--output_dir={out}',
           '--layout=image', '--max_side=11', '--jpeg_quality=80']
  done = launch(
      'data_prep.build_custom_data', *flags, '--train_shards=3')
  assert done.returncode == 0, done.stderr
  assert '7 images, 28 image-caption pairs in 3 shards' in done.stderr
  assert count_pairs(out, 'train') == (3, 7)
  assert count_pairs(out, 'val') == (1, 1)
  assert count_pairs(out, 'test') == (1, 2)
  done = launch(
      'data_prep.build_custom_data', *flags, '--train_shards=3',
      '--max_side=12')
  assert done.returncode == 1
  assert 'differs in max_side; give another' in error_line(done.stderr)


@pytest.mark.parametrize(('flag', 'message'), [
    ('--layout=IM2TXT', '--layout=IM2TXT'),
    ('--layout=', '--layout='),
    ('--max_side=-1', '--max_side=-1'),
    ('--max_side=256px', '--max_side=256px'),
    ('--max_side=2.5', '--max_side=2.5'),
    ('--jpeg_quality=0', '--jpeg_quality=0'),
    ('--jpeg_quality=101', '--jpeg_quality=101'),
])
def test_hostile_values(tmp_path, launch, flag, message):
  finished = launch('data_prep.build_custom_data', *custom_flags(tmp_path, 40),
                    f'--output_dir={tmp_path / "out"}', *flag.split())
  assert finished.returncode in (1, 2)
  assert message in finished.error
  assert not (tmp_path / 'out').exists()


def shards_of(folder):
  return {path.name: path.read_bytes() for path in folder.glob('*-of-?????')}


def words_of(folder):
  """Words and texts of every caption in a folder's shards."""
  paths = sorted(map(str, folder.glob('*-of-?????')))
  return [(' '.join(caption.words), caption.raw)
          for record in tf.data.TFRecordDataset(paths).as_numpy_iterator()
          for caption in sequence_example.captions_of(
              tf.train.SequenceExample.FromString(record))]


@pytest.fixture
def build_styled(tmp_path, launch):
  """Build shards into a folder of a name, with flags."""
  def go(name, *further):
    return launch('data_prep.build_custom_data', *custom_flags(tmp_path, 40),
                  f'--output_dir={tmp_path / name}', '--train_shards=1',
                  *further)
  return go


@pytest.mark.long
def test_a_given_vocabularys_style_is_taken_over(tmp_path, build_styled):
  finished = build_styled('first', '--caption_style=clean', '--end_word=fin')
  assert finished.returncode == 0, finished.stderr
  vocab = tmp_path / 'first' / 'word_counts.txt'
  assert json.loads((tmp_path / 'first' / 'word_counts.style.json').read_text()
                    ) == {'name': 'clean', 'start_word': 'startseq',
                          'end_word': 'fin', 'unknown_word': '<unk>'}
  words = 'startseq image number fin'
  assert words_of(tmp_path / 'first').count((words, 'image number 7')) == 1

  finished = build_styled('second', f'--vocab_file={vocab}')
  assert finished.returncode == 0, finished.stderr
  assert shards_of(tmp_path / 'second') == shards_of(tmp_path / 'first')
  # There is one vocabulary, and its style is beside it.
  assert not list((tmp_path / 'second').glob('word_counts*'))
  finished = build_styled('second', f'--vocab_file={vocab}',
                          '--caption_style=clean', '--end_word=fin')
  assert 'nothing to do' in finished.stderr

  for flag, theirs in (('--caption_style=keras', 'clean'),
                       ('--start_word=<start>', 'startseq'),
                       ('--end_word=endseq', 'fin'),
                       ('--unknown_word=<UNK>', '<unk>')):
    finished = build_styled('refused', f'--vocab_file={vocab}', flag)
    assert finished.returncode == 1
    assert finished.error == (
        f'build_custom_data: error: {flag}, but the captions of --vocab_file='
        f'{vocab} were read with {theirs}')
    assert not (tmp_path / 'refused').exists()


def test_a_vocabulary_without_a_style_is_im2txts(tmp_path, build_styled):
  vocab = tmp_path / 'words.8k'
  vocab.write_text('<S> 4\n</S> 4\n')
  finished = build_styled('nltk', f'--vocab_file={vocab}', '--start_word=<S>')
  assert finished.returncode == 0, finished.stderr
  assert ('<S> image number 7 </S>', '') in words_of(tmp_path / 'nltk')


@pytest.mark.long
def test_a_vocabulary_without_a_style_is_no_others(tmp_path, build_styled):
  # Nobody would find out later what the style of the shards is.
  vocab, style = tmp_path / 'words.8k', tmp_path / 'words.8k.style.json'
  for name, markers, flags, words in (
      ('keras', '<start> 4\n<end> 4\n', ['--caption_style=keras'],
       ('<start> image number 7 <end>', 'image number 7')),
      ('marked', '{ 4\n} 4\n', ['--start_word={', '--end_word=}'],
       ('{ image number 7 }', ''))):
    vocab.write_text(markers)
    flags = [f'--vocab_file={vocab}', *flags]
    finished = build_styled(name, *flags)
    assert finished.returncode == 1
    assert finished.error.startswith(
        f'build_custom_data: error: --vocab_file={vocab} has no {style} ')
    assert not (tmp_path / name).exists()
    # What the line says helps.
    style.write_text(finished.error.partition('write into that file: ')[2])
    finished = build_styled(name, *flags)
    assert finished.returncode == 0, finished.stderr
    assert words in words_of(tmp_path / name)
    style.unlink()


@pytest.mark.parametrize('flags, said', [
    (['--caption_style=Clean'], '--caption_style=Clean'),
    (['--caption_style=keras', '--end_word=<start>'], 'three different words'),
    (['--start_word='], 'three different words'),
    (['--start_word=start seq'], "'start seq'"),
    (['--max_pairs=0'], '--max_pairs=0'),
    (['--max_words=2'], '--max_words=2'),
    (['--vocab_file={}/words.txt'], '{}/words.style.json'),
    (['--vocab_file={}/none.txt'], '{}/none.txt'),
])
def test_hostile_styles_and_samples(tmp_path, build_styled, flags, said):
  (tmp_path / 'words.txt').write_text('startseq 4\nendseq 4\n')
  (tmp_path / 'words.style.json').write_text('{"name": "clean"')
  finished = build_styled('out', *(flag.format(tmp_path) for flag in flags))
  assert finished.returncode in (1, 2)
  assert said.format(tmp_path) in finished.error
  assert not (tmp_path / 'out').exists()


@pytest.mark.long
def test_a_sample_of_pairs_and_of_words(tmp_path, build_styled):
  finished = build_styled('out', '--max_pairs=23', '--max_words=4',
                          '--min_word_count=1', '--caption_style=keras')
  assert finished.returncode == 0, finished.stderr
  assert len(words_of(tmp_path / 'out')) == 23
  lines = (tmp_path / 'out' / 'word_counts.txt').read_text().splitlines()
  assert [line.split()[0] for line in lines] == [
      '<end>', '<start>', 'number', 'image']
  finished = build_styled('out', '--max_pairs=24', '--max_words=4',
                          '--min_word_count=1', '--caption_style=keras')
  assert finished.returncode == 1
  assert 'pictures and captions; give another --output_dir' in finished.error


@pytest.mark.long
@pytest.mark.parametrize('names', [['train', 'val'], ['train']])
def test_coco_at_random_deals_images(tmp_path, launch, names):
  ids = {'train': range(1, 21), 'val': range(21, 31)}
  out = tmp_path / 'out'

  def build_it(*further):
    return launch('data_prep.build_coco_data', *(
        flag for name in names
        for flag in write_coco(tmp_path, name, ids[name])), '--split=random',
                  '--train_shards=1', '--val_shards=1', '--num_threads=1',
                  f'--output_dir={out}', *further)

  finished = build_it()
  assert finished.returncode == 0, finished.stderr
  dealt = {'train': [], 'val': []}
  for row in (out / 'images.tsv').read_text().splitlines()[1:]:
    split, image_id, _ = row.split('\t')
    dealt[split].append(int(image_id))
  everything = [i for name in names for i in ids[name]]
  assert len(dealt['val']) == len(everything) / 5
  assert sorted(dealt['train'] + dealt['val']) == everything
  # All of an image's captions are where it is.
  for split, images in dealt.items():
    assert count_pairs(out, split) == (1, 2 * len(images))
  # Of both files, and in no order.
  assert min(dealt['val']) < 21 and max(dealt['train']) == everything[-1]
  assert dealt['val'] != sorted(dealt['val'])
  # The same each time, or it would be another build.
  assert 'nothing to do' in build_it().stderr
  finished = build_it('--val_fraction=0.5')
  assert 'differs in train pictures and captions, val' in finished.error
  finished = build_it('--val_fraction=1')
  assert finished.returncode == 1 and '--val_fraction=1' in finished.error


def build_here(tmp_path, out, num_shards, layout):
  """Build in this process what the test below has built by command."""
  images = annotations.read(str(tmp_path / 'pics' / 'captions.csv'))
  splits = captioned_images.split_at_random(
      captioned_images.by_split(images, str(tmp_path / 'pics'))[None], 0.1, 0.2)
  build.build(splits, build.Options(
      str(out), {'train': num_shards, 'val': 1, 'test': 1}, layout=layout))


@pytest.mark.long
@pytest.mark.parametrize(('layout', 'images', 'num_shards'), [
    ('im2txt', 10, 300), ('image', 600, 400)])
def test_interrupted_and_killed_build_ends_as_an_unbroken_one(
    tmp_path, layout, images, num_shards):
  flags = [*custom_flags(tmp_path, 2000, images), f'--layout={layout}']
  out = tmp_path / 'out'
  for stop in (signal.SIGINT, signal.SIGKILL):
    before = len(shards_of(out))
    with subprocess.Popen(
        command('build_custom_data', *flags, f'--train_shards={num_shards}',
                f'--output_dir={out}'),
        cwd=REPOSITORY, text=True, stderr=subprocess.PIPE) as process:
      while len(shards_of(out)) == before and process.poll() is None:
        time.sleep(0.01)
      process.send_signal(stop)
      stderr = process.stderr.read()
    assert process.returncode == (1 if stop == signal.SIGINT else -9), stderr
    if stop == signal.SIGINT:
      assert 'the same command goes on' in error_line(stderr)
      assert not list(out.glob('*.tmp'))
    assert before < len(shards_of(out)) < num_shards + 2
  build_here(tmp_path, out, num_shards, layout)
  assert not list(out.glob('*.tmp'))
  build_here(tmp_path, tmp_path / 'unbroken', num_shards, layout)
  assert len(shards_of(out)) == num_shards + 2
  assert shards_of(out) == shards_of(tmp_path / 'unbroken')
