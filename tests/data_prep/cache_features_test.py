"""data_prep.cache_features as a user runs it, against the encoder itself."""

import dataclasses
import hashlib
import io
import itertools
import json
import os
import pathlib
import re
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tiny_encoder import C

from data_prep import cache_features
from data_prep.features import feature_maker, feature_store, image_scan
from data_prep.runners import local_runner
from im2txt import configuration, encoders
from im2txt.checkpoints import encoder_weights
from im2txt.inputs import captions as shard_captions
from im2txt.inputs import (
    feature_cache,
    image_processing,
    sequence_example,
    tfrecords,
)
from im2txt.inputs import pipeline as inputs
from im2txt.inputs.sequence_example import Caption
from im2txt.inputs.shards import Shards
from im2txt.text import caption_styles

tf1 = tf.compat.v1

HEIGHT, WIDTH = 96, 64
# What is said behind the fault of a record.
ADVICE = str(tfrecords.Fault('', 0, '').error()).removeprefix(
    ', record 0: ')
SHAPES = {'features/pooled': [C], 'features/regions': [3 * 2, C]}
# Image and caption of each record, in im2txt's layout; shards of 4 and 5.
PAIRS = [(0, 'a'), (1, 'a'), (0, 'b'), (2, 'a'),
         (1, 'b'), (3, 'a'), (0, 'c'), (4, 'a'), (3, 'b')]
# The same images and captions by shard, in layout `image`.
TRAIN = [{0: 'abc', 1: 'ab'}, {2: 'a', 3: 'ab', 4: 'a'}]
VAL = [{5: 'ab', 6: 'a'}]


def image(number):
  """A JPEG unlike that of any other number."""
  pixels = np.random.default_rng(number).integers(0, 256, (5, 7, 3), np.uint8)
  buffer = io.BytesIO()
  Image.fromarray(pixels).resize((71, 53)).save(buffer, 'JPEG')
  return buffer.getvalue()


def caption(number, letter):
  """A caption whose second word says of which image it is."""
  return Caption(['<S>', f'image{number}', letter, '</S>'],
                 [0, 30 + number, 2 + ord(letter) - ord('a'), 1])


def clean_caption(number, letter):
  """A caption of whose words less is left."""
  return Caption(['startseq', 'image', 'endseq'], [0, 2, 1],
                 f'Image {number}, {letter}!')


def write(path, examples):
  path.parent.mkdir(exist_ok=True)
  with tf.io.TFRecordWriter(str(path)) as writer:
    for example in examples:
      writer.write(example.SerializeToString())


def shard_of(shard, caption_of=caption):
  """Records of layout `image`."""
  return [
      sequence_example.make_image(
          100 + number, {'image/data': image(number)},
          [caption_of(number, letter) for letter in letters])
      for number, letters in shard.items()]


def write_split(folder, split, shards):
  for i, shard in enumerate(shards):
    write(folder / f'{split}-{i:05d}-of-{len(shards):05d}', shard_of(shard))


@pytest.fixture(scope='module')
def images(tmp_path_factory):
  """Folders of shards of the same 7 images in either layout; read only.

  Captions of `clean` and `clean pairs` are of that style, in either layout.
  """
  folder = tmp_path_factory.mktemp('images')
  pairs = [sequence_example.make_pair(
      100 + number, image(number), caption(number, letter))
           for number, letter in PAIRS]
  write(folder / 'im2txt' / 'train-00000-of-00002', pairs[:4])
  write(folder / 'im2txt' / 'train-00001-of-00002', pairs[4:])
  write_split(folder / 'im2txt', 'val', VAL)
  (folder / 'im2txt' / 'word_counts.txt').write_text('<S> 13\n</S> 13\n')
  write_split(folder / 'image', 'train', TRAIN)
  write_split(folder / 'image', 'val', VAL)
  write(folder / 'clean pairs' / 'train-00000-of-00001', [
      sequence_example.make_pair(
          100 + number, image(number), clean_caption(number, letter))
      for number, letter in PAIRS])
  write(folder / 'clean' / 'train-00000-of-00001', [
      record for shard in TRAIN for record in shard_of(shard, clean_caption)])
  for name in ('clean pairs', 'clean'):
    write(folder / name / 'val-00000-of-00001', shard_of(VAL[0], clean_caption))
    words = folder / name / 'word_counts.txt'
    words.write_text('startseq 13\nendseq 13\n')
    caption_styles.write(str(words), caption_styles.named('clean'))
  return folder


@pytest.fixture(scope='module')
def runner():
  with local_runner.in_this_process() as started:
    yield started


@pytest.fixture(scope='module')
def command_of(task):
  """Arguments that make features of a folder's shards."""
  def arguments(source, output, *flags):
    return ['data_prep.cache_features', f'--config={task.config_file}',
            f'--config.model.image_height={HEIGHT}',
            f'--config.model.image_width={WIDTH}',
            f'--input_file_pattern={source}/train-?????-of-?????,'
            f'{source}/val-?????-of-?????', f'--output_dir={output}', *flags]
  return arguments


@pytest.fixture(scope='module')
def made(images, command_of, start, tmp_path_factory):
  """Folders of features made in three ways; read only."""
  folder = tmp_path_factory.mktemp('made')
  commands = [
      start(*command_of(images / source, folder / name, *flags.split()))
      for source, name, flags in (
          ('im2txt', 'pooled', ''),
          ('image', 'both', '--features=both --precision=float32'),
          ('im2txt', 'augmented', '--features=regions --augmentations=3'))]
  for command in commands:
    finished = command.finish()
    assert finished.returncode == 0, finished.stderr
  return folder


def records(*paths):
  return [tf.train.SequenceExample.FromString(record) for record in
          tf.data.TFRecordDataset(list(map(str, paths))).as_numpy_iterator()]


def data(example, key):
  [value] = example.context.feature[key].bytes_list.value
  return value


def test_distorted_versions_follow_from_the_image(
    made, images, command_of, launch, tmp_path):
  # Another layout, order, number of threads and size of batches.
  finished = launch(*command_of(
      images / 'image', tmp_path / 'again', '--features=regions',
      '--augmentations=3', '--batch_size=5',
      '--config.model.num_preprocess_threads=1'))
  assert finished.returncode == 0, finished.stderr
  found = [{data(record, 'features/digest'): np.frombuffer(
      data(record, 'features/regions'), np.float16)
            for record in records(*folder.glob('*-of-*'))}
           for folder in (made / 'augmented', tmp_path / 'again')]
  assert len(found[0]) == 7 and found[0].keys() == found[1].keys()
  for digest, features in found[0].items():
    np.testing.assert_allclose(
        found[1][digest], features, rtol=1e-2, atol=1e-3)


def arrays(example, precision, versions=1):
  """A record's features, [versions, ...], by key."""
  return {
      key: np.frombuffer(data(example, key), np.dtype(precision)).reshape(
          versions, *shape)
      for key, shape in SHAPES.items() if key in example.context.feature}


def contents(folder):
  """Names, image ids and captions, as they lie in a folder's shards."""
  return {
      path.name: [
          (example.context.feature['image/image_id'].int64_list.value[:],
           sequence_example.captions_of(example))
          for example in records(path)]
      for path in folder.glob('*-of-*')}


def expected_contents(train):
  return {
      f'{split}-{i:05d}-of-{len(shards):05d}': [
          ([100 + number], [caption(number, letter) for letter in letters])
          for number, letters in shard.items()]
      for split, shards in (('train', train), ('val', VAL))
      for i, shard in enumerate(shards)}


def shards_in(folder):
  return {path.name: path.read_bytes() for path in folder.glob('*-of-*')}


def files_in(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope='module')
def encoder_config():
  return configuration.ModelConfig(
      encoder='tiny', image_height=HEIGHT, image_width=WIDTH)


@pytest.fixture(scope='module')
def own(encoder_config):
  """What the encoder itself says of the 7 images, [7, ...], by key."""
  with tf.Graph().as_default(), tf1.Session() as session:
    encoder = encoders.make(encoder_config)
    encoding = encoder.encode(tf.stack([
        image_processing.process_image(image(number), False, encoder_config)
        for number in range(7)]), False, False)
    encoder_weights.restorer(
        encoder, encoder.default_weights())(session)
    pooled, regions = session.run(encoding)
  return {'features/pooled': pooled, 'features/regions': regions}


@pytest.mark.parametrize('name, keys, precision, versions', [
    ('pooled', ['features/pooled'], 'float16', 1),
    ('augmented', ['features/regions'], 'float16', 4),
    ('both', ['features/pooled', 'features/regions'], 'float32', 1)])
def test_features_are_the_encoders_own(
    made, own, name, keys, precision, versions):
  examples = records(*sorted((made / name).glob('*-of-*')))
  assert len(examples) == 7
  size = {'float16': 2, 'float32': 4}[precision] * versions
  tolerance = {'float16': 2 ** -10, 'float32': 1e-5}[precision]
  for number, example in enumerate(examples):
    assert example.context.feature.keys() == {
        'image/image_id', 'features/digest', *keys}
    digest = hashlib.sha256(image(number)).digest()
    assert data(example, 'features/digest') == digest
    for key, array in arrays(example, precision, versions).items():
      assert len(data(example, key)) == size * np.prod(SHAPES[key])
      np.testing.assert_allclose(
          array[0], own[key][number], rtol=tolerance, atol=1e-5)
      # Of another image they would be far from these.
      assert np.abs(array[0] - own[key][number - 1]).max() > 0.1


def test_pooled_is_the_mean_of_the_regions(made):
  for example in records(*(made / 'both').glob('*-of-*')):
    found = arrays(example, 'float32')
    np.testing.assert_allclose(
        found['features/pooled'], found['features/regions'].mean(1),
        rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('name', ['pooled', 'both'])
def test_each_image_once_with_its_id_and_captions_whatever_the_layout(
    made, name):
  assert contents(made / name) == expected_contents(TRAIN)


def test_features_json(made, encoder_config):
  encoder = encoders.make(encoder_config)
  weights = encoder.read_weights(encoder.default_weights())
  found = {name: json.loads((made / name / 'features.json').read_text())
           for name in ('pooled', 'both', 'augmented')}
  sources = [found[name].pop('source') for name in found]
  assert sources[0] == sources[2] and len(sources[0]) == 64
  assert found['both'] == {
      'encoder': 'tiny', 'image_height': 96, 'image_width': 64,
      'weights': encoder_weights.digest(encoder, weights),
      'preprocessing': image_processing.describe(encoder_config, 0),
      'precision': 'float32', 'augmentations': 0, 'shapes': SHAPES}
  assert found['pooled'] == found['both'] | {
      'precision': 'float16', 'shapes': {'features/pooled': [C]}}
  assert found['augmented'] == found['both'] | {
      'precision': 'float16', 'augmentations': 3,
      'shapes': {'features/regions': [6, C]}}


def test_digest_is_of_the_encoders_weights_only(encoder_config):
  encoder = encoders.make(encoder_config)
  scope = 'TinyEncoder/Stem/weights'
  values = {scope: np.arange(5.0), 'logits/biases': np.zeros(3)}
  digests = [encoder_weights.digest(encoder, values | other)
             for other in ({}, {'logits/biases': np.ones(3)},
                           {scope: np.arange(5.0) + 1e-6})]
  assert digests[0] == digests[1] != digests[2]


def test_vocabulary_goes_along_if_there_is_one(made, images):
  copy = made / 'pooled' / 'word_counts.txt'
  assert copy.read_text() == '<S> 13\n</S> 13\n'
  assert not (made / 'both' / 'word_counts.txt').exists()


def test_augmented_versions_differ(made):
  for example in records(*(made / 'augmented').glob('*-of-*')):
    [versions] = arrays(example, 'float16', 4).values()
    for i, j in itertools.combinations(range(4), 2):
      assert np.abs(versions[i] - versions[j]).max() > 0.1


def drawn_versions(folder, pipeline, training, batches):
  """Which version of its image each caption of some batches has."""
  known = {
      example.context.feature['image/image_id'].int64_list.value[0]:
          arrays(example, 'float16', 4)['features/regions']
      for example in records(*folder.glob('train-*'))}
  found = []
  with tf.Graph().as_default():
    tf1.set_random_seed(1)
    fetches = inputs.make_batch(
        Shards.find(f'{folder}/train-*'), configuration.ModelConfig(
            input_pipeline=pipeline, encoder='tiny',
            image_height=HEIGHT, image_width=WIDTH, batch_size=5,
            values_per_input_shard=3), training)
    with tf1.train.MonitoredSession() as session:
      for _ in range(batches):
        batch = session.run(fetches)
        np.testing.assert_allclose(
            batch.images.pooled, batch.images.regions.mean(1), rtol=1e-5)
        for words, row in zip(
            batch.input_seqs, batch.image_rows, strict=True):
          versions = known[100 + words[1] - 30]
          [version] = np.flatnonzero(
              (versions == batch.images.regions[row]).all((1, 2)))
          found.append(int(version))
  return found


@pytest.mark.parametrize('pipeline', ['tf_data', 'queue'])
def test_training_draws_distorted_versions_only(made, pipeline):
  found = drawn_versions(made / 'augmented', pipeline, True, 9)
  assert len(found) == 45
  assert set(found) == {1, 2, 3}


@pytest.mark.parametrize('pipeline', ['tf_data', 'queue'])
def test_evaluation_sees_the_plain_version(made, pipeline):
  found = drawn_versions(made / 'augmented', pipeline, False, 1)
  assert found == [0] * len(PAIRS)


def test_goes_on_with_the_missing_shard_only(
    images, made, command_of, start, tmp_path):
  commands = {}
  for name in ('broken off', 'complete'):
    folder = tmp_path / name
    shutil.copytree(made / 'pooled', folder)
    if name == 'broken off':
      (folder / 'train-00001-of-00002').unlink()
      (folder / 'train-00001-of-00002.tmp').write_bytes(b'half a shard')
    for path in folder.glob('*-of-0000?'):
      os.utime(path, (1, 1))
    commands[name] = start(*command_of(images / 'im2txt', folder))
  for name, encoded in (('broken off', 3), ('complete', 0)):
    finished = commands[name].finish()
    assert finished.returncode == 0
    assert f'7 images, {encoded} of them to encode' in finished.stderr
    assert f'{name}: 7 images in 3 shards' in finished.stderr
    assert files_in(tmp_path / name).keys() == files_in(made / 'pooled').keys()
    assert contents(tmp_path / name) == contents(made / 'pooled')
    for shard in contents(made / 'pooled'):
      for own, other in zip(records(tmp_path / name / shard),
                            records(made / 'pooled' / shard), strict=True):
        # A batch of another size may round otherwise.
        np.testing.assert_allclose(
            arrays(own, 'float16')['features/pooled'],
            arrays(other, 'float16')['features/pooled'], rtol=2e-3, atol=1e-4)
    rewritten = {path.name for path in (tmp_path / name).glob('*-of-*')
                 if path.stat().st_mtime != 1}
    assert rewritten == ({'train-00001-of-00002'} if encoded else set())


def test_interrupted_leaves_whole_shards(command_of, start, tmp_path):
  shards = [{number: 'a'} for number in range(99)]
  write_split(tmp_path / 'images', 'train', shards)
  write_split(tmp_path / 'images', 'val', VAL)
  folder = tmp_path / 'features'
  command = start(*command_of(tmp_path / 'images', folder, '--batch_size=1'))
  command.wait_for('making features: 2 of ')
  command.send(signal.SIGINT)
  finished = command.finish()
  assert finished.returncode == 130
  assert finished.error == 'cache_features: error: interrupted'
  assert not list(folder.glob('*.tmp'))
  written = contents(folder)
  assert 2 <= len(written) < 99
  assert written.items() <= expected_contents(shards).items()


def features_by_digest(folder):
  return {
      data(example, 'features/digest'): data(example, 'features/regions')
      for example in records(*folder.glob('*-of-*'))}


def test_reuse_takes_every_image_there_is(
    made, command_of, start, tmp_path):
  edited = [{3: 'd', 0: 'ca'}, {4: 'bcd', 2: 'a', 1: 'a'}]
  with_a_new_one = [{3: 'd'}, {7: 'a', 1: 'a'}]
  commands = []
  for name, train in (('edited', edited), ('new', with_a_new_one)):
    write_split(tmp_path / name, 'train', train)
    write_split(tmp_path / name, 'val', VAL)
    # Distorted ones, which nothing makes alike a second time.
    commands.append(start(*command_of(
        tmp_path / name, tmp_path / f'of {name}', '--features=regions',
        '--augmentations=3', f'--reuse={made / "augmented"}')))
  for command, said in zip(commands, (
      '7 images, 0 of them to encode', '5 images, 1 of them to encode'),
                           strict=True):
    assert said in command.finish().stderr

  old = features_by_digest(made / 'augmented')
  assert contents(tmp_path / 'of edited') == expected_contents(edited)
  assert features_by_digest(tmp_path / 'of edited') == old
  assert contents(tmp_path / 'of new') == expected_contents(with_a_new_one)
  found = features_by_digest(tmp_path / 'of new')
  added = found.pop(hashlib.sha256(image(7)).digest())
  assert len(added) == 4 * 6 * C * 2
  assert len(found) == 4 and found.items() <= old.items()


@pytest.mark.parametrize('source', ['clean', 'clean pairs'])
def test_what_people_wrote_and_the_style_of_the_words_go_along(
    images, made, command_of, launch, tmp_path, source):
  def check(folder):
    assert contents(folder) == {
        f'{split}-00000-of-00001': [
            ([100 + number],
             [clean_caption(number, letter) for letter in letters])
            for shard in shards for number, letters in shard.items()]
        for split, shards in (('train', TRAIN), ('val', VAL))}
    for name in ('word_counts.txt', 'word_counts.style.json'):
      assert (folder / name).read_bytes() == (
          images / source / name).read_bytes()
    # They are what captions are scored against.
    assert shard_captions.read(
        Shards.find(f'{folder}/val-*')).of_images == [
        ['Image 5, a!', 'Image 5, b!'], ['Image 6, a!']]

  # Of features that were made with the words of another style, ...
  finished = launch(*command_of(images / source, tmp_path / 'reused',
                                f'--reuse={made / "pooled"}'))
  assert finished.returncode == 0, finished.stderr
  assert '7 images, 0 of them to encode' in finished.stderr
  check(tmp_path / 'reused')
  # ... and of a folder that has a style.
  finished = launch(*command_of(images / source, tmp_path / 'again',
                                f'--reuse={tmp_path / "reused"}'))
  assert finished.returncode == 0, finished.stderr
  assert shards_in(tmp_path / 'again') == shards_in(tmp_path / 'reused')
  if source == 'clean':
    finished = launch(*command_of(images / source, tmp_path / 'made'))
    assert '7 images, 7 of them to encode' in finished.stderr
    check(tmp_path / 'made')


def test_shards_are_known_by_what_they_held_before_styles(runner, images):
  # Or features from then could not be gone on with.
  files = sorted(map(str, (images / 'image').glob('*-of-*')))
  groups = image_scan.scan(
      runner, Shards('x', tuple(files)), configuration.ModelConfig())
  hashed = hashlib.sha256()
  for group in groups:
    hashed.update('\n'.join(map(os.path.basename, group.files)).encode())
    for example in records(*group.files):
      hashed.update(
          str(example.context.feature['image/image_id'].int64_list.value[0])
          .encode() + hashlib.sha256(data(example, 'image/data')).digest())
      hashed.update(hashlib.sha256(example.feature_lists.SerializeToString(
          deterministic=True)).digest())
  assert image_scan.digest(groups) == hashed.hexdigest()


@pytest.mark.parametrize('raw', [[], ['x'], ['x', 'y', 'z']])
def test_raw_captions_of_another_number_are_refused(runner, raw, tmp_path):
  [example] = shard_of({1: 'ab'}, clean_caption)
  lists = example.feature_lists.feature_list
  del lists['image/raw_caption']
  lists['image/raw_caption'].feature.extend(
      tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))
      for text in raw)
  write(tmp_path / 'train-00000-of-00001', [*shard_of({0: 'a'}), example])
  file = str(tmp_path / 'train-00000-of-00001')
  with pytest.raises(ValueError) as error:
    image_scan.scan(runner, Shards.find(file), configuration.ModelConfig())
  assert str(error.value) == (
      f'{file}, record 1: no captions: image/raw_caption holds {len(raw)} '
      f'captions, image/caption 2{ADVICE}')


def damage(shards, output, made):
  path = shards / 'train-00001-of-00002'
  path.write_bytes(path.read_bytes()[:-3])


def fill_output(shards, output, made):
  output.mkdir()
  (output / 'holidays.txt').write_text('June')


def copy_features(shards, output, made):
  shutil.copytree(made / 'both', output)


def copy_shards(shards, output, made):
  shutil.copytree(shards, shards / 'more')


SHARD = '{shards}/train-00001-of-00002'
# What is done to a copy of the shards and the output folder; a flag; what is
# said.
REFUSALS = {
    'no weights': (
        None, '--config.model.encoder=inception_v3',
        ['inception_v3', '--inception_checkpoint_file']),
    'no shards': (
        None, '--input_file_pattern={shards}/none-*', ['{shards}/none-*']),
    'other features': (
        copy_features, '--features=both',
        ['{output} ', 'precision', '--output_dir']),
    'something else': (fill_output, '', ['{output} ', '--output_dir']),
    'damaged': (damage, '', [f'{SHARD}, record 4: the shard is damaged',
                             '--bad_records=skip']),
    'two shards of one name': (
        copy_shards, f'--input_file_pattern={SHARD},{{shards}}/more/train-*',
        ['train-00001-of-00002']),
}


@pytest.fixture(scope='module')
def refusals(images, made, command_of, start, tmp_path_factory):
  """What came of each of `REFUSALS`; a few run at once."""
  found = {}
  running = {}

  def look(output):
    return files_in(output) if output.exists() else {}

  def finish():
    for name, (command, paths, before) in running.items():
      found[name] = command.finish(), paths, before, look(paths['output'])
    running.clear()

  for name, (prepare, flag, _) in REFUSALS.items():
    folder = tmp_path_factory.mktemp('refused')
    paths = {'shards': folder / 'shards', 'output': folder / 'output',
             'made': made}
    shutil.copytree(images / 'im2txt', paths['shards'])
    if prepare:
      prepare(**paths)
    flags = [flag.format(**paths)] if flag else []
    running[name] = (
        start(*command_of(paths['shards'], paths['output'], *flags)),
        paths, look(paths['output']))
    if len(running) == 4:
      finish()
  finish()
  return found


@pytest.mark.parametrize('name', REFUSALS)
def test_refusals_are_one_line_and_write_nothing(refusals, name):
  finished, paths, before, after = refusals[name]
  assert finished.returncode == 1
  assert finished.error.startswith('cache_features: error: ')
  for said in REFUSALS[name][-1]:
    assert said.format(**paths) in finished.error
  assert before == after


def test_no_configuration(images, launch, tmp_path):
  finished = launch('data_prep.cache_features',
                    f'--input_file_pattern={images}/image/val-*',
                    f'--output_dir={tmp_path}/output')
  assert finished.returncode == 1
  assert '--config' in finished.error
  assert not (tmp_path / 'output').exists()


def without(key):
  [example] = shard_of({1: 'a'})
  del example.context.feature[key]
  return example


@pytest.mark.parametrize('example, said', [
    (without('image/data'), 'no image under image/data'),
    (without('image/image_id'), 'image/image_id'),
    (sequence_example.make_image(1, {'image/data': b'x'}, []), 'no captions'),
    (sequence_example.make_image(
        1, {'features/pooled': b'x'}, [caption(1, 'a')]),
     'features are made from shards of images'),
], ids=['image', 'id', 'captions', 'features'])
def test_records_that_cannot_be_used(runner, example, said, tmp_path):
  write_split(tmp_path, 'train', TRAIN)
  files = sorted(map(str, tmp_path.glob('*-of-*')))
  write(pathlib.Path(files[1]), [*shard_of({0: 'a', 1: 'a'}), example])
  with pytest.raises(ValueError) as error:
    image_scan.scan(
        runner, Shards('x', tuple(files)), configuration.ModelConfig())
  assert str(error.value).startswith(f'{files[1]}, record 2: ')
  assert said in str(error.value)


def test_an_image_that_cannot_be_decoded(
    encoder_config, tmp_path):
  write_split(tmp_path, 'train', TRAIN)
  files = sorted(map(str, tmp_path.glob('*-of-*')))
  write(pathlib.Path(files[1]), [sequence_example.make_image(
      1, {'image/data': b'no image'}, [caption(1, 'a')])])
  maker = feature_maker.FeatureMaker(encoder_config)
  description = maker.describe('pooled', 'float16', 0, '')
  made = maker.encode(
      [(files[0], [0, 1]), (files[1], [0])],
      description, batch_size=1)
  assert len(next(made)['features/pooled']) == len(
      next(made)['features/pooled']) == 2 * C
  with pytest.raises(ValueError, match='Unknown image file format') as error:
    next(made)
  maker.close()
  assert files[1] in str(error.value)


def test_a_folder_that_was_only_just_begun(made, tmp_path):
  # Killed as it wrote the first file.
  (tmp_path / 'features.json.tmp').write_text('{"encoder": ')
  description = feature_cache.read(str(made / 'pooled'))
  cache_features.claim_folder(str(tmp_path), description)
  assert feature_cache.read(str(tmp_path)) == description
  assert not (tmp_path / 'features.json.tmp').exists()


def test_features_to_reuse_must_have_been_made_likewise(runner, made):
  description = feature_cache.read(str(made / 'augmented'))
  with pytest.raises(ValueError) as error:
    feature_store.FeatureStore(runner, str(made / 'both'), description)
  assert str(error.value).startswith(f'{made}/both: ')
  assert '(precision, augmentations, shapes' in str(error.value)
  other = dataclasses.replace(description, weights='5' * 16)
  with pytest.raises(ValueError, match=r'\(weights\)'):
    feature_store.FeatureStore(runner, str(made / 'augmented'), other)
  with pytest.raises(ValueError, match=f'{made} has no features.json'):
    feature_store.FeatureStore(runner, str(made), other)


def test_a_folder_to_reuse_whose_writer_was_killed(runner, made, tmp_path):
  shutil.copytree(made / 'pooled', tmp_path, dirs_exist_ok=True)
  (tmp_path / '.lock').touch()
  feature_store.FeatureStore(
      runner, str(tmp_path), feature_cache.read(str(tmp_path)))


def test_a_folder_to_reuse_with_a_shard_of_images(
    runner, made, images, tmp_path):
  shutil.copytree(made / 'pooled', tmp_path, dirs_exist_ok=True)
  shard = tmp_path / 'train-00000-of-00002'
  shutil.copy(images / 'image' / shard.name, shard)
  with pytest.raises(ValueError, match=str(shard)):
    feature_store.FeatureStore(
        runner, str(tmp_path), feature_cache.read(str(tmp_path)))


def test_what_is_whole_of_a_damaged_folder_may_be_reused(
    runner, made, tmp_path, caplog):
  shutil.copytree(made / 'pooled', tmp_path, dirs_exist_ok=True)
  description = feature_cache.read(str(tmp_path))
  shard = tmp_path / 'train-00000-of-00002'
  records = [example for example in map(
      tf.train.SequenceExample.FromString, map(
          lambda numbered: numbered[1], tfrecords.read(str(shard))))]
  digests = [example.context.feature['features/digest'].bytes_list.value[0]
             for example in records]
  del records[-1].context.feature['features/pooled'].bytes_list.value[:]
  write(shard, records)
  said = f'{shard}, record {len(records) - 1}: no features'
  with pytest.raises(ValueError, match=said):
    feature_store.FeatureStore(runner, str(tmp_path), description)
  with caplog.at_level('WARNING', 'absl'):
    store = feature_store.FeatureStore(
        runner, str(tmp_path), description, skip_damage=True)
  assert f'not reused: {said}' in caplog.text
  assert [store.lookup(digest) is None for digest in digests] == [
      *[False] * (len(digests) - 1), True]
  records[-1].context.feature['features/pooled'].bytes_list.value.append(b'x')
  write(shard, records)
  with pytest.raises(ValueError, match='not as many bytes of features'):
    feature_store.FeatureStore(runner, str(tmp_path), description)


IN_TWO_PROCESSES = ('--beam_options=--direct_num_workers=2 '
                    '--direct_running_mode=multi_processing')


@pytest.mark.long
def test_beam_makes_the_very_same(images, command_of, start, tmp_path):
  # Beam's processes do not know the tests' own encoder.
  commands = [start(*command_of(
      images / 'im2txt', tmp_path / name,
      '--config.model.encoder=efficientnet_lite0', *flags))
              for name, flags in (
                  ('local', []), ('beam', ['--runner=beam', IN_TWO_PROCESSES]))]
  for command in commands:
    finished = command.finish()
    assert finished.returncode == 0, finished.stderr
  assert files_in(tmp_path / 'beam') == files_in(tmp_path / 'local')


@pytest.mark.long
def test_beam_goes_on_and_reuses(images, made, command_of, start, tmp_path):
  shutil.copytree(made / 'pooled', tmp_path / 'broken off')
  (tmp_path / 'broken off' / 'train-00001-of-00002').unlink()
  again, reused = (start(*command_of(
      images / source, tmp_path / name, '--runner=beam', *flags))
      for source, name, flags in (
          ('im2txt', 'broken off', []),
          ('image', 'reused', [f'--reuse={made / "pooled"}'])))
  finished = again.finish()
  assert finished.returncode == 0, finished.stderr
  assert '7 images, 3 of them to encode' in finished.stderr
  assert files_in(tmp_path / 'broken off') == files_in(made / 'pooled')
  finished = reused.finish()
  assert finished.returncode == 0, finished.stderr
  assert '7 images, 0 of them to encode' in finished.stderr
  assert shards_in(tmp_path / 'reused') == shards_in(made / 'pooled')


def test_a_mistake_on_beam_is_one_line(images, command_of, launch, tmp_path):
  shutil.copytree(images / 'image', tmp_path / 'shards')
  damage(tmp_path / 'shards', None, None)
  finished = launch(*command_of(
      tmp_path / 'shards', tmp_path / 'output', '--runner=beam'))
  assert finished.returncode == 1
  assert finished.lines[-1].startswith('cache_features: error: ')
  assert re.search('train-00001-of-00002, record .: the shard is damaged',
                   finished.lines[-1])
  assert not any('Traceback' in line for line in finished.lines)


def test_a_machine_with_other_weights_stops(encoder_config, made):
  maker = feature_maker.FeatureMaker(encoder_config)
  description = feature_cache.read(str(made / 'pooled'))
  maker.check_weights(description)
  with pytest.raises(ValueError, match='has other weights here than where'):
    maker.check_weights(dataclasses.replace(description, weights='5' * 16))
