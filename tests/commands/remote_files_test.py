"""From captions and images to a trained model on a remote file system.

ram:// is TensorFlow's own, in the memory of one process; to this project it is
as far away as gs://.
"""

import functools
import os

import pytest
from PIL import Image

from data_prep import cache_features
from data_prep.datasets import captioned_images
from data_prep.runners import beam_runner
from data_prep.shards import build
from im2txt import configuration
from im2txt.checkpoints import trained_model
from im2txt.evaluation import best_checkpoint, evaluator, run_history
from im2txt.files import file_system
from im2txt.inference import batch_captioner, image_files, loaded_model
from im2txt.inputs import feature_cache
from im2txt.inputs.shards import Shards
from im2txt.models.captioner import Captioner
from im2txt.search import beam_search
from im2txt.search.rules import Rules
from im2txt.text import annotations, vocabulary
from im2txt.training import loop

ROOT = 'ram://remote_files_test'
NUM_IMAGES = 10


def contents(folder):
  """Bytes by path of all files within."""
  found = {}
  for path, _, names in file_system.walk(folder):
    for name in names:
      with file_system.open(os.path.join(path, name), 'rb') as f:
        found[os.path.join(path, name)[len(folder):]] = f.read()
  return found


def config():
  return configuration.Config(
      model=configuration.ModelConfig(
          encoder='efficientnet_lite0', image_height=32, image_width=32,
          vocab_size=12, embedding_size=7, num_lstm_units=11, batch_size=3,
          values_per_input_shard=5, num_preprocess_threads=1),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=6, optimizer='Adam', seed=1))


def draw(folder):
  """Write images, of which one is none, and their captions."""
  file_system.makedirs(f'{folder}/images')
  rows = ['image,caption']
  for i in range(NUM_IMAGES):
    with file_system.open(f'{folder}/images/{i}.jpg', 'wb') as f:
      if i == 7:
        f.write(b'no image')
      else:
        Image.new('RGB', (40 + i, 33), (i * 25, 90, 0)).save(f, 'JPEG')
    rows += [f'{i}.jpg,a dog {i % 3}', f'{i}.jpg,the dog again']
  with file_system.open(f'{folder}/captions.csv', 'w') as f:
    f.write('\n'.join(rows))


def make(folder):
  """Shards and features of images, with Beam in this process."""
  draw(folder)
  start = functools.partial(
      beam_runner.beam_runner, beam_runner.parse([]), f'{folder}/scratch')
  splits = captioned_images.by_split(
      annotations.read(f'{folder}/captions.csv'),
      f'{folder}/images')
  build.build(
      captioned_images.split_at_random(splits[None], 0.2, 0),
      build.Options(f'{folder}/shards', {'train': 2, 'val': 1},
                    min_word_count=2, max_bad_fraction=0.2, runner=start))
  cache_features.make(
      config().model,
      Shards.find(
          f'{folder}/shards/train-*,{folder}/shards/val-*'),
      cache_features.Options(f'{folder}/features', runner=start))


@pytest.fixture(scope='module')
def made():
  make(ROOT)
  return ROOT


def test_shards_and_features_are_those_made_here(made, tmp_path):
  make(str(tmp_path))
  here, there = contents(str(tmp_path)), contents(made)
  assert {'/shards/train-00001-of-00002', '/shards/bad_images.txt',
          '/features/val-00000-of-00001', '/features/features.json',
          '/features/word_counts.txt'} < there.keys()
  # It has a digest of the images' places.
  assert here.pop('/shards/build.json') != there.pop('/shards/build.json')
  for name in ('/shards/images.tsv', '/shards/bad_images.txt'):
    here[name] = here[name].replace(str(tmp_path).encode(), made.encode())
  assert here == there
  assert not [name for name in there if '.tmp' in name or 'scratch' in name]


@pytest.mark.long
def test_a_model_is_trained_evaluated_and_captions_there(made):
  folder = f'{made}/run'
  system = config()
  captioner = Captioner(system.model)

  def keep():
    configuration.save(system, folder)
    vocabulary.copy(f'{made}/shards/word_counts.txt', folder)

  for steps in (2, 4):  # The second time it goes on.
    loop.train(loop.TrainingRun(
        captioner, system.training, Shards.find(f'{made}/features/train-*'),
        folder, steps, log_every_n_steps=1, on_start=keep))
    best_checkpoint.evaluate_new(
        evaluator.Evaluator(
            captioner, Shards.find(f'{made}/features/val-*'), 100),
        f'{folder}/model.ckpt-{steps}', f'{folder}/eval', 'perplexity')
  assert [result.step for result in run_history.read_run(folder).evaluations
          ] == [2, 4]
  assert file_system.listdir(f'{folder}/best')[0] == 'checkpoint'
  for run in (folder, f'{folder}/best'):
    model = trained_model.find(run, None)
    assert model.prefix.startswith(f'{run}/model.ckpt-')
  [batch] = batch_captioner.caption_files(
      loaded_model.load([f'{folder}/best']),
      image_files.find(f'{made}/images').files, functools.partial(
          beam_search.beam_search, rules=Rules(model.vocab),
          options=beam_search.Options()), NUM_IMAGES)
  assert [result.file for result in batch] == [
      f'{made}/images/{i}.jpg' for i in range(NUM_IMAGES)]
  assert [result.file for result in batch if result.error is not None] == [
      f'{made}/images/7.jpg']


def test_what_is_not_there_is_one_line():
  for act in (
      lambda: Shards.find('nosuch://a/train-*'),
      lambda: feature_cache.read('nosuch://a'),
      lambda: trained_model.find('nosuch://a', None)):
    with pytest.raises(OSError, match='nosuch:// is not implemented'):
      act()
  with pytest.raises(ValueError, match='nosuch:// is not implemented'):
    image_files.find('nosuch://a/*.jpg')
