"""A build is whole, repeatable, goes on after a break and mixes with none."""

import dataclasses
import functools
import json
import os

import pytest
import tensorflow as tf
from PIL import Image

from data_prep.datasets.captioned_images import CaptionedImage
from data_prep.runners import local_runner
from data_prep.shards import build
from im2txt.inputs import sequence_example
from im2txt.text import caption_styles

NUM_SHARDS = {'train': 4, 'val': 2, 'test': 1}
CLEAN = caption_styles.named('clean')


def make_splits(folder, sizes=(('train', 20), ('val', 5))):
  """Draw images, each with three captions, ids counted from 0."""
  folder.mkdir()
  splits = {}
  image_id = 0
  for split, size in sizes:
    splits[split] = []
    for _ in range(size):
      path = str(folder / f'{image_id}.jpg')
      Image.new('RGB', (11, 7), (image_id * 5, 90, 0)).save(path)
      splits[split].append(CaptionedImage(image_id, path, [
          f'A {split} image', f'number {image_id} .', 'a dog']))
      image_id += 1
  return splits


@pytest.fixture
def splits(tmp_path):
  return make_splits(tmp_path / 'images')


@pytest.fixture
def options(tmp_path):
  return build.Options(
      str(tmp_path / 'out'), NUM_SHARDS, min_word_count=4,
      runner=functools.partial(local_runner.local_runner, 2))


def contents(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_captions(paths):
  """Yield the id and captions of each record."""
  for record in tf.data.TFRecordDataset([str(path) for path in paths]):
    example = tf.train.SequenceExample.FromString(record.numpy())
    yield (example.context.feature[sequence_example.IMAGE_ID]
           .int64_list.value[0], sequence_example.captions_of(example))


def read_records(paths):
  """Yield the id and the words of the captions of each record."""
  for image_id, captions in read_captions(paths):
    yield image_id, *(' '.join(caption.words) for caption in captions)


def shards_of(folder):
  return {path.name: path.read_bytes() for path in folder.glob('*-of-*')}


def count_records(path):
  return sum(1 for _ in tf.data.TFRecordDataset(str(path)))


def stored_images(paths):
  """The encoded image of each record, by id."""
  stored = {}
  for record in tf.data.TFRecordDataset([str(path) for path in paths]):
    features = tf.train.SequenceExample.FromString(
        record.numpy()).context.feature
    stored[features[sequence_example.IMAGE_ID].int64_list.value[0]] = (
        features[sequence_example.IMAGE_DATA].bytes_list.value[0])
  return stored


def test_build_writes_each_pair_once(tmp_path, splits, options):
  build.build(splits, options)
  out = tmp_path / 'out'
  assert sorted(os.listdir(out)) == [
      'build.json', 'images.tsv', *(f'train-0000{i}-of-00004'
                                    for i in range(4)),
      'val-00000-of-00002', 'val-00001-of-00002', 'word_counts.style.json',
      'word_counts.txt']
  for split, captioned in splits.items():
    assert sorted(read_records(out.glob(f'{split}-*'))) == sorted(
        (image.image_id, f'<S> {caption.lower()} </S>')
        for image in captioned for caption in image.captions)
  # 'val' is no training word, numbers are rarer than 4.
  assert (out / 'word_counts.txt').read_text() == (
      '</S> 60\n<S> 60\na 40\n. 20\ndog 20\nimage 20\nnumber 20\n'
      'train 20\n')
  assert caption_styles.read(str(out / 'word_counts.txt')) == (
      caption_styles.CaptionStyle('nltk', '<S>', '</S>', '<UNK>'))
  rows = (out / 'images.tsv').read_text().splitlines()
  assert rows[0] == 'split\timage_id\tfile'
  assert rows[-1] == f'val\t24\t{tmp_path}/images/24.jpg'
  assert len(rows) == 26


def test_build_writes_each_image_once(tmp_path, splits, options, caplog):
  with caplog.at_level('INFO'):
    build.build(splits, dataclasses.replace(options, layout='image'))
  assert '20 images, 60 image-caption pairs in 4 shards' in caplog.text
  out = tmp_path / 'out'
  for split, captioned in splits.items():
    written = list(read_records(sorted(out.glob(f'{split}-*'))))
    assert sorted(written) == [
        (image.image_id, *(f'<S> {caption.lower()} </S>'
                           for caption in image.captions))
        for image in captioned]
    assert written != sorted(written)
  assert [count_records(path) for path in sorted(out.glob('train-*'))] == [
      5, 5, 5, 5]
  assert sorted(map(count_records, out.glob('val-*'))) == [2, 3]
  unchanged = stored_images(out.glob('train-*'))
  for image in splits['train']:
    with open(image.path, 'rb') as f:
      assert unchanged[image.image_id] == f.read()


def test_both_layouts_have_the_same_words(tmp_path, splits, options):
  build.build(splits, options)
  build.build(splits, dataclasses.replace(
      options, output_dir=str(tmp_path / 'image'), layout='image'))
  for name in ('word_counts.txt', 'word_counts.style.json', 'images.tsv'):
    assert (tmp_path / 'image' / name).read_bytes() == (
        tmp_path / 'out' / name).read_bytes()


@pytest.mark.parametrize('layout', ['im2txt', 'image'])
@pytest.mark.parametrize('style, counts', [
    (CLEAN, 'endseq 60\nstartseq 60\ndog 20\nimage 20\nnumber 20\n'
            'train 20\n'),
    (caption_styles.named('keras', end_word='.'),
     '. 60\n<start> 60\na 40\ndog 20\nimage 20\nnumber 20\ntrain 20\n'),
], ids=['clean', 'keras'])
def test_a_style_is_stored_with_the_words_and_the_captions_as_they_were(
    tmp_path, splits, options, layout, style, counts):
  build.build(splits, dataclasses.replace(
      options, style=style, layout=layout))
  out = tmp_path / 'out'
  assert (out / 'word_counts.txt').read_text() == counts
  assert caption_styles.read(str(out / 'word_counts.txt')) == style
  ids = {line.split()[0]: i for i, line in enumerate(counts.splitlines())}
  for split, captioned in splits.items():
    found = {}
    for image_id, captions in read_captions(out.glob(f'{split}-*')):
      found.setdefault(image_id, []).extend(captions)
    assert found.keys() == {image.image_id for image in captioned}
    for image in captioned:
      assert sorted(caption.raw for caption in found[image.image_id]) == (
          sorted(image.captions))
      for words, word_ids, raw in found[image.image_id]:
        assert words == style.tokenize(raw)
        assert word_ids == [ids.get(word, len(ids)) for word in words]


def test_records_of_im2txts_style_have_no_more_than_words(
    tmp_path, splits, options):
  build.build(splits, options)
  for _, [caption] in read_captions((tmp_path / 'out').glob('*-of-*')):
    assert caption.raw == ''


def test_only_the_most_frequent_words_are_kept(tmp_path, splits, options):
  build.build(splits, dataclasses.replace(options, max_words=4))
  assert (tmp_path / 'out' / 'word_counts.txt').read_text() == (
      '</S> 60\n<S> 60\na 40\n. 20\n')
  ids = {' '.join(caption.words): caption.ids for _, [caption] in
         read_captions((tmp_path / 'out').glob('*-of-*'))}
  assert ids['<S> a dog </S>'] == [1, 2, 4, 0]
  assert ids['<S> number 3 . </S>'] == [1, 4, 4, 3, 0]


@pytest.mark.parametrize('layout', ['im2txt', 'image'])
def test_a_sample_of_pairs_is_built(tmp_path, splits, options, layout):
  options = dataclasses.replace(options, layout=layout)
  found = {}
  for name, number in (('one', 33), ('again', 33), ('more', 34)):
    build.build(splits, dataclasses.replace(
        options, output_dir=str(tmp_path / name), max_pairs=number))
    records = list(read_records((tmp_path / name).glob('*-of-*')))
    assert sum(len(captions) for _, *captions in records) == number
    assert all(captions for _, *captions in records)
    found[name] = shards_of(tmp_path / name), sorted(records)
  assert found['one'] == found['again'] != found['more']
  of_image = {image.image_id: image for captioned in splits.values()
              for image in captioned}
  for image_id, *captions in found['one'][1]:
    for caption in captions:
      assert caption.removeprefix('<S> ').removesuffix(' </S>') in map(
          str.lower, of_image[image_id].captions)
  ids = {image_id for image_id, *_ in found['one'][1]}
  rows = (tmp_path / 'one' / 'images.tsv').read_text().splitlines()[1:]
  assert {int(row.split('\t')[1]) for row in rows} == ids


def test_a_sample_of_more_pairs_than_there_are_is_all(
    tmp_path, splits, options):
  build.build(splits, options)
  before = contents(tmp_path / 'out')
  for number in (75, 1000):
    build.build(splits, dataclasses.replace(options, max_pairs=number))
    assert contents(tmp_path / 'out') == before


@pytest.mark.parametrize('layout', ['im2txt', 'image'])
def test_large_images_are_stored_small(tmp_path, splits, options, layout):
  Image.new('RGB', (8, 40)).save(splits['train'][0].path)
  build.build(splits, dataclasses.replace(
      options, layout=layout, max_side=20, jpeg_quality=80))
  stored = stored_images((tmp_path / 'out').glob('train-*'))
  assert tf.io.decode_jpeg(stored[0]).shape == (20, 4, 3)
  with open(splits['train'][1].path, 'rb') as f:
    assert stored[1] == f.read()


def test_finished_build_is_left_alone(tmp_path, splits, options, caplog):
  build.build(splits, options)
  out = tmp_path / 'out'
  times = {path: path.stat().st_mtime_ns for path in out.iterdir()}
  with caplog.at_level('INFO'):
    build.build(splits, options)
  assert 'nothing to do' in caplog.text
  assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == times


def test_settings_of_a_default_build_are_those_of_older_builds(
    tmp_path, splits, options):
  build.build(splits, options)
  record = json.loads((tmp_path / 'out' / 'build.json').read_text())
  assert sorted(record['settings']) == [
      'end_word', 'min_word_count', 'nltk version', 'pillow version',
      'start_word', 'train pictures and captions', 'train_shards',
      'unknown_word', 'val pictures and captions', 'val_shards']


def test_a_lost_style_is_written_again(tmp_path, splits, options, caplog):
  options = dataclasses.replace(options, style=CLEAN)
  build.build(splits, options)
  unbroken = contents(tmp_path / 'out')
  (tmp_path / 'out' / 'word_counts.style.json').unlink()
  with caplog.at_level('INFO'):
    build.build(splits, options)
  assert 'nothing to do' not in caplog.text
  assert contents(tmp_path / 'out') == unbroken


@pytest.mark.parametrize('change', [
    {}, {'layout': 'image'},
    {'layout': 'image', 'max_side': 10, 'jpeg_quality': 80},
    {'style': CLEAN, 'max_pairs': 50},
], ids=['im2txt', 'image', 'shrunk', 'sample of another style'])
def test_broken_off_build_goes_on(tmp_path, splits, options, change):
  (tmp_path / 'images' / '3.jpg').write_bytes(b'no image')
  Image.new('RGB', (9, 9)).save(tmp_path / 'images' / '4.jpg', 'PNG')
  options = dataclasses.replace(options, max_bad_fraction=0.1, **change)
  build.build(splits, options)
  out = tmp_path / 'out'
  unbroken = contents(out)
  kept = out / 'train-00001-of-00004'
  kept_time = kept.stat().st_mtime_ns
  for name in unbroken:
    if name.startswith('train') and name != kept.name:
      (out / name).unlink()
  (out / 'word_counts.txt').unlink()
  (out / 'train-00000-of-00004.123.tmp').write_bytes(b'half')
  # The verdict of the first run stands, or shards would not fit together.
  Image.new('RGB', (11, 7)).save(tmp_path / 'images' / '3.jpg')
  build.build(splits, options)
  assert contents(out) == unbroken
  assert kept.stat().st_mtime_ns == kept_time


@pytest.mark.parametrize(('change', 'named'), [
    ({'num_shards': {**NUM_SHARDS, 'train': 5}}, 'train_shards'),
    ({'min_word_count': 1}, 'min_word_count'),
    ({'style': caption_styles.named('nltk', '<s>')}, 'start_word'),
    ({'style': caption_styles.named('keras', '<S>', '</S>', '<UNK>')},
     'caption_style'),
    ({'style': CLEAN}, 'caption_style, end_word, start_word, unknown_word'),
    ({'max_words': 100}, 'max_words'),
    ({'layout': 'image'}, 'layout'),
    ({'max_side': 300}, 'max_side'),
    ({'jpeg_quality': 94}, 'jpeg_quality'),
    ({'layout': 'image', 'max_side': 9}, 'layout, max_side'),
])
def test_another_build_is_refused(tmp_path, splits, options, change, named):
  build.build(splits, options)
  before = contents(tmp_path / 'out')
  with pytest.raises(ValueError, match=f'differs in {named};.*--output_dir'):
    build.build(splits, dataclasses.replace(options, **change))
  assert contents(tmp_path / 'out') == before


def test_default_build_is_refused_where_there_is_another(splits, options):
  build.build(splits, dataclasses.replace(
      options, layout='image', max_side=9, jpeg_quality=80))
  with pytest.raises(ValueError,
                     match='differs in jpeg_quality, layout, max_side;'):
    build.build(splits, options)


def test_a_sample_of_another_number_is_another_build(
    tmp_path, splits, options):
  options = dataclasses.replace(options, max_pairs=50)
  build.build(splits, options)
  before = contents(tmp_path / 'out')
  for number in (49, 51, None):
    with pytest.raises(ValueError, match='differs in .*pictures and captions'):
      build.build(splits, dataclasses.replace(options, max_pairs=number))
  assert contents(tmp_path / 'out') == before


def test_other_captions_are_refused(splits, options):
  build.build(splits, options)
  splits['val'][0].captions[0] = 'changed'
  with pytest.raises(ValueError, match='differs in val pictures and captions'):
    build.build(splits, options)


def test_shards_of_unknown_origin_are_refused(tmp_path, splits, options):
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out' / 'test-00000-of-00001').write_bytes(b'')
  with pytest.raises(ValueError, match='unknown origin'):
    build.build(splits, options)
  assert os.listdir(tmp_path / 'out') == ['test-00000-of-00001']


@pytest.mark.parametrize(('number', 'fraction'), [(6, 0.01), (1, 0)])
def test_too_many_bad_images_stop_the_build(
    tmp_path, splits, options, number, fraction):
  for i in range(number):
    (tmp_path / 'images' / f'{i}.jpg').write_bytes(b'no image')
  with pytest.raises(
      ValueError, match=f'{number} of 25 .*--max_bad_fraction={fraction}'):
    build.build(splits, dataclasses.replace(
        options, max_bad_fraction=fraction))
  assert contents(tmp_path / 'out') == {'bad_images.txt': ''.join(
      f'{tmp_path}/images/{i}.jpg\tnot an image\n' for i in range(number)
  ).encode()}


def test_few_bad_images_of_few_are_left_out(tmp_path, splits, options):
  small = {'train': splits['train'][:13]}
  for i in (2, 5):
    (tmp_path / 'images' / f'{i}.jpg').write_bytes(b'no image')
  build.build(small, options)
  ids = {image_id for image_id, _ in read_records(
      (tmp_path / 'out').glob('train-*'))}
  assert ids == set(range(13)) - {2, 5}


def test_few_bad_images_are_left_out(tmp_path, splits, options, caplog):
  (tmp_path / 'images' / '3.jpg').write_bytes(b'no image')
  build.build(splits, dataclasses.replace(options, max_bad_fraction=0.04))
  out = tmp_path / 'out'
  assert '3.jpg' in (out / 'bad_images.txt').read_text()
  assert '1 bad images' in caplog.text and '3.jpg' in caplog.text
  ids = {image_id for image_id, _ in read_records(out.glob('train-*'))}
  assert ids == set(range(20)) - {3}
  assert '<S> 57\n' in (out / 'word_counts.txt').read_text()


def test_repaired_image_clears_the_report(tmp_path, splits, options):
  image = tmp_path / 'images' / '3.jpg'
  good = image.read_bytes()
  image.write_bytes(good[:100])
  options = dataclasses.replace(options, max_bad_fraction=0)
  with pytest.raises(ValueError, match='bad_images.txt'):
    build.build(splits, options)
  image.write_bytes(good)
  build.build(splits, options)
  assert not (tmp_path / 'out' / 'bad_images.txt').exists()


def test_given_vocabulary_is_used(tmp_path, splits, options):
  vocab = tmp_path / 'given.txt'
  vocab.write_text('<S> 3\n</S> 3\ndog 2\n')
  options = dataclasses.replace(options, vocab_file=str(vocab))
  build.build({'val': splits['val']}, options)
  out = tmp_path / 'out'
  assert sorted(os.listdir(out)) == [
      'build.json', 'images.tsv', 'val-00000-of-00002', 'val-00001-of-00002']
  records = tf.data.TFRecordDataset(
      [str(path) for path in out.glob('val-*')])
  captions = [sequence_example.parse(record).captions.to_list()
              for record in records]
  assert captions.count([[0, 3, 2, 1]]) == 5  # a dog
  vocab.write_text('<S> 3\n</S> 3\ncat 2\n')
  with pytest.raises(ValueError, match='differs in vocab_file'):
    build.build({'val': splits['val']}, options)


def test_broken_given_vocabulary_is_refused_first(tmp_path, splits, options):
  vocab = tmp_path / 'given.txt'
  vocab.write_text('dog 2\n')
  with pytest.raises(ValueError, match='given.txt'):
    build.build(splits, dataclasses.replace(options, vocab_file=str(vocab)))
  assert not os.path.exists(options.output_dir)


@pytest.mark.parametrize(('chosen', 'change', 'message'), [
    (['val'], {}, '--vocab_file'),
    ([], {}, 'no split'),
    (['train', 'val'], {'max_pairs': 0}, 'the train split has no images'),
])
def test_impossible_requests(splits, options, chosen, change, message):
  with pytest.raises(ValueError, match=message):
    build.build({split: splits[split] for split in chosen},
                dataclasses.replace(options, **change))
  assert not os.path.exists(options.output_dir)


@pytest.mark.parametrize('change', [
    {'min_word_count': 61}, {'max_pairs': 9, 'min_word_count': 10}])
def test_a_least_count_that_leaves_no_words(splits, options, change):
  with pytest.raises(
      ValueError, match=f'--min_word_count={change["min_word_count"]}'):
    build.build(splits, dataclasses.replace(options, **change))


@pytest.mark.parametrize(('layout', 'number'), [('im2txt', 3), ('image', 1)])
def test_fewer_records_than_shards(
    tmp_path, splits, options, layout, number, caplog):
  options = dataclasses.replace(
      options, layout=layout, min_word_count=1,
      num_shards={'train': 7, 'val': 7})
  few = {'train': splits['train'][:1], 'val': []}
  with caplog.at_level('INFO'):
    build.build(few, options)
  assert f'--train_shards=7 is lowered to {number}' in caplog.text
  assert 'val split has no images' in caplog.text
  shards = sorted((tmp_path / 'out').glob('*-of-*'))
  assert [path.name for path in shards] == [
      f'train-{i:05d}-of-{number:05d}' for i in range(number)]
  before = contents(tmp_path / 'out')
  build.build(few, options)
  assert contents(tmp_path / 'out') == before


def with_captions(splits, *captions):
  """The training images, with one of the captions each, in turn."""
  return {'train': [
      image._replace(captions=[captions[i % len(captions)]])
      for i, image in enumerate(splits['train'])]}


def test_a_small_set_has_a_small_least_count(
    tmp_path, splits, options, caplog):
  few = with_captions(splits, 'a red dog', 'two blue cats', 'one cow')
  few['train'] = few['train'][:9]  # Each word three times.
  with caplog.at_level('INFO'):
    build.build(few, dataclasses.replace(options, min_word_count=None))
  assert '--min_word_count=3' in caplog.text
  assert ' 0.0 % of the words' in caplog.text
  assert 'dog 3\n' in (tmp_path / 'out' / 'word_counts.txt').read_text()
  # As given, whatever becomes of it; the warning has what would help.
  caplog.clear()
  few['train'].append(few['train'][0])
  build.build(few, dataclasses.replace(
      options, min_word_count=4, output_dir=str(tmp_path / 'given')))
  assert 'become <UNK>' in caplog.text and '--min_word_count=3' in caplog.text


def test_a_build_of_an_earlier_version_keeps_its_least_count(
    tmp_path, splits, options):
  few = with_captions(splits, 'a red dog', *(f'cow {i}' for i in range(9)))
  build.build(few, options)  # 4, and says so in build.json.
  before = contents(tmp_path / 'out')
  (tmp_path / 'out' / 'train-00000-of-00004').unlink()
  build.build(few, dataclasses.replace(options, min_word_count=None))
  assert contents(tmp_path / 'out') == before


@pytest.mark.parametrize('captions', [
    ['一只狗在雪地里奔跑', '两只猫'], ['สุนัขวิ่งในหิมะ'], ['犬が雪の中を走る。']])
def test_captions_without_blanks_between_words(splits, options, captions):
  with pytest.raises(ValueError, match='without blanks between words'):
    build.build(with_captions(splits, *captions), options)


@pytest.mark.parametrize('captions', [
    ['一 只 狗 在 雪地 里 奔跑', '两 只 猫'], ['a dog 狗'],
    ['कुत्ता बर्फ में दौड़ता है']])
def test_captions_with_blanks(splits, options, captions):
  build.build(with_captions(splits, *captions), options)


def test_captions_that_the_style_empties_and_long_ones_are_counted(
    tmp_path, splits, options, caplog):
  some = with_captions(splits, '1 2 3', 'dogs run ' * 300, 'two dogs')
  build.build(some, dataclasses.replace(options, style=CLEAN))
  assert '7 captions have no word' in caplog.text
  assert '7 captions are longer than 500 words' in caplog.text
  lengths = [len(caption.words) for _, [caption] in read_captions(
      (tmp_path / 'out').glob('train-*'))]
  assert sorted(lengths) == [2] * 7 + [4] * 6 + [500] * 7
  with pytest.raises(ValueError, match='no words in the caption style clean'):
    build.build(with_captions(splits, '1 2 3', '? !'), dataclasses.replace(
        options, style=CLEAN, output_dir=str(tmp_path / 'none')))


def test_image_that_vanishes_is_one_error(tmp_path, splits, options):
  build.build(splits, options)
  (tmp_path / 'out' / 'val-00001-of-00002').unlink()
  for image in splits['val']:
    os.remove(image.path)
  with pytest.raises(OSError, match=r'\d+\.jpg: no such file'):
    build.build(splits, options)
  assert not list((tmp_path / 'out').glob('*.tmp'))


def test_record_of_the_build_is_json(tmp_path, splits, options):
  build.build(splits, options)
  record = json.loads((tmp_path / 'out' / 'build.json').read_text())
  assert record['settings']['train_shards'] == 4
  assert record['bad'] == {}


def test_images_are_stored_upright_and_counted(
    tmp_path, splits, options, caplog):
  tags = Image.Exif()
  tags[0x0112] = 6
  for image in splits['val'][:2]:
    Image.new('RGB', (11, 7)).save(image.path, exif=tags)
  with caplog.at_level('INFO'):
    build.build(splits, options)
  assert 'checked 25 images: 0 bad, 2 to be turned upright' in caplog.text
  stored = stored_images((tmp_path / 'out').glob('val-*'))
  turned = [image.image_id for image in splits['val'][:2]]
  for image_id, data in stored.items():
    size = tf.io.decode_jpeg(data).shape[:2]
    assert size == ([11, 7] if image_id in turned else [7, 11])
    assert b'Exif' not in data
