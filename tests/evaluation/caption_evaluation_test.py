"""Scores of a model on shards: those of its captions of these images."""

import functools
import shutil

import numpy as np
import pytest
import tensorflow as tf
from command_runner import NO_JAVA
from tiny_encoder import TinyEncoder
from tiny_task import draw_image

from im2txt.checkpoints import trained_model
from im2txt.checkpoints.reader import Reader
from im2txt.evaluation.caption_evaluation import (
    CaptionEvaluation,
    digest_of_images,
    find_training_shards,
)
from im2txt.inference import batch_captioner, consensus, loaded_model
from im2txt.inputs import captions as shard_captions
from im2txt.inputs import sequence_example
from im2txt.inputs.sequence_example import Caption
from im2txt.inputs.shards import Shards
from im2txt.scoring import metrics
from im2txt.search import beam_search
from im2txt.search.rules import Rules
from im2txt.text import caption_styles

IMAGES = {
    70: ('red', 'square'), 30: ('green', 'circle'), 50: ('blue', 'square'),
    90: ('white', 'circle'), 10: ('black', 'square')}
REFERENCES = {
    70: ['a red square .', 'the red square'], 30: ['a green circle .'],
    50: ['a big blue square', 'the blue square on grey', 'a square .'],
    90: ['the circle'], 10: ['a small square .', 'a square on grey']}
# Image and number of the caption of each record, in im2txt's layout.
PAIRS = [[(70, 0), (30, 0), (50, 0), (70, 1)],
         [(50, 1), (90, 0), (10, 0), (50, 2), (10, 1)]]
# The images of each shard, in layout `image`.
SHARDS = [[70, 30], [50, 90, 10]]
TRAINING = ['a red square .', 'a blue circle']


@pytest.fixture(scope='module', autouse=True)
def no_java():
  """METEOR takes seconds each time; metrics_test has it."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('PATH', NO_JAVA['PATH'])
    yield


def caption(text):
  words = ['<S>', *text.split(), '</S>']
  return Caption(words, range(len(words)))


def write(folder, name, shards):
  for i, records in enumerate(shards):
    path = folder / f'{name}-{i:05d}-of-{len(shards):05d}'
    with tf.io.TFRecordWriter(str(path)) as writer:
      for record in records:
        writer.write(record.SerializeToString())


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Shards of the images in both layouts, and files of them."""
  folder = tmp_path_factory.mktemp('scored')
  data = {number: draw_image(*drawn) for number, drawn in IMAGES.items()}
  for number, encoded in data.items():
    (folder / f'{number}.jpg').write_bytes(encoded)
  write(folder, 'pairs', [
      [sequence_example.make_pair(
          number, data[number], caption(REFERENCES[number][i]))
       for number, i in shard] for shard in PAIRS])
  write(folder, 'images', [
      [sequence_example.make_image(
          number, {'image/data': data[number]},
          list(map(caption, REFERENCES[number])))
       for number in shard] for shard in SHARDS])
  write(folder, 'train', [[
      sequence_example.make_pair(1, b'', caption(text)) for text in TRAINING]])
  return folder


@pytest.fixture(scope='module')
def model(trained, read_checkpoint, write_checkpoint, tmp_path_factory):
  """A model that says something else of each image."""
  run = tmp_path_factory.mktemp('runs') / 'loud'
  run.mkdir()
  for name in ('config.json', 'word_counts.txt'):
    shutil.copy(trained.folder / name, run)
  random = np.random.default_rng(5)
  values = {
      name: value if name.startswith(TinyEncoder.scope) or name == 'global_step'
      else random.normal(size=value.shape).astype(np.float32)
      for name, value in read_checkpoint(
          trained.folder / 'model.ckpt-6').items()}
  values['image_embedding/weights'] *= 30
  values['logits/biases'][1] = -3  # Captions shall not end at once.
  write_checkpoint(run / 'model.ckpt-9', values)
  return trained_model.find(str(run / 'model.ckpt-9'), None)


@pytest.fixture(scope='module')
def expected(model, folder):
  """What it says, by image, from their files; by the rules and options."""
  def captions(rules, options):
    search = functools.partial(
        beam_search.beam_search, rules=rules, options=options)
    [results] = batch_captioner.caption_files(
        loaded_model.combine([model]),
        [str(folder / f'{number}.jpg') for number in IMAGES], search,
        batch_size=9)
    return {number: result.captions[0].text
            for number, result in zip(IMAGES, results, strict=True)}
  return captions


def read_values(model):
  reader = Reader(model.prefix, averaged=True)
  return {name: reader.value(name) for name in reader.shapes
          if not name.startswith('optimizer/')}


def evaluate(model, shards, name, rules, options, training='train',
             consensus_pattern=None):
  scoring = CaptionEvaluation(
      model.captioner, Shards.find(f'{shards}/{name}-*'),
      find_training_shards(f'{shards}/{training}-*'), rules, options,
      consensus_pattern and Shards.find(consensus_pattern))
  return scoring, scoring.evaluate(read_values(model))


@pytest.fixture(scope='module')
def by_im2txts_search(model, folder):
  """The evaluation of shards of layout `image`, and its scores."""
  return evaluate(
      model, folder, 'images', Rules(model.vocab), beam_search.Options())


def test_scores_are_of_each_images_own_caption(
    model, folder, expected, by_im2txts_search):
  rules, options = Rules(model.vocab), beam_search.Options()
  captions = expected(rules, options)
  assert len(set(captions.values())) > 2, captions
  scoring, scores = by_im2txts_search
  assert scores | {'settings': None} == metrics.Scorer(
      REFERENCES, TRAINING).evaluate(captions).summary() | {'settings': None}
  assert scores['num_images'] == 5
  assert scores['settings']['beam_size'] == 3
  assert scores['settings']['max_caption_length'] == 20
  assert scoring.names == ('Bleu_1', 'Bleu_2', 'Bleu_3', 'Bleu_4', 'ROUGE_L',
                           'CIDEr')
  # im2txt's layout has an image as often as it has captions.
  assert evaluate(model, folder, 'pairs', rules, options)[1] == scores


@pytest.mark.parametrize('layout', ['pairs', 'images'])
def test_references_are_what_people_wrote(
    model, folder, expected, by_im2txts_search, tmp_path, layout):
  # Of a style of which the words say less.
  def less(text):
    return caption(' '.join(text.split()[1:2]))._replace(raw=text.title())

  def record(number, texts):
    data = {'image/data': (folder / f'{number}.jpg').read_bytes()}
    return sequence_example.make_image(number, data, list(map(less, texts)))

  if layout == 'images':
    write(tmp_path, 'val', [[record(number, texts) for number, texts
                             in REFERENCES.items()]])
  else:
    write(tmp_path, 'val', [[
        sequence_example.make_pair(
            number, (folder / f'{number}.jpg').read_bytes(),
            less(REFERENCES[number][i])) for number, i in shard]
                            for shard in PAIRS])
  rules, options = Rules(model.vocab), beam_search.Options()
  captions = expected(rules, options)
  # Two that the model says: one is new in neither form, one in one of them.
  said = sorted(set(captions.values()))
  write(tmp_path, 'train', [[
      sequence_example.make_pair(1, b'', caption('unsaid')._replace(
          raw=said[0].title())),
      sequence_example.make_pair(2, b'', caption(said[1])._replace(
          raw='Unsaid!'))]])
  _, scores = evaluate(model, tmp_path, 'val', rules, options)
  theirs = by_im2txts_search[1]
  assert scores['captions'] == theirs['captions']
  assert scores['settings']['pictures'] == theirs['settings']['pictures']
  assert scores['diversity']['novel'] == pytest.approx(
      sum(text not in said[:2] for text in captions.values()) / 5)


def test_other_searches_are_other_scores(
    model, folder, expected, by_im2txts_search):
  rules = Rules(model.vocab, max_caption_length=5, banned_words=(4,))
  options = beam_search.Options(beam_size=1)
  scoring, scores = evaluate(model, folder, 'images', rules, options)
  captions = expected(rules, options)
  assert scores['captions'] == metrics.Scorer(
      REFERENCES, TRAINING).evaluate(captions).summary()['captions']
  assert scoring.is_comparable(scores)
  assert not by_im2txts_search[0].is_comparable(scores)
  assert not scoring.is_comparable(None)
  # As where METEOR can be computed now and could not before.
  del scores['captions']['CIDEr']
  assert not scoring.is_comparable(scores)


WRITTEN = {1: ['Two dogs ("Rex & Bo") near Washington D.C.', "It can't rain"],
           2: ['A girl']}


@pytest.fixture
def digest(tmp_path):
  """The digest of captions by image, in shards of a style and layout."""
  def go(captions, style='nltk', in_pairs=False):
    style = caption_styles.named(style)
    captions = {number: [
        caption(' '.join(style.tokenize(text)[1:-1]))._replace(
            raw='' if style.faithful else text) for text in texts]
                for number, texts in captions.items()}
    write(tmp_path, 'val', [[
        sequence_example.make_pair(number, b'', text)
        for number, texts in reversed(captions.items())
        for text in reversed(texts)] if in_pairs else [
            sequence_example.make_image(number, {'image/data': b''}, texts)
            for number, texts in captions.items()]])
    return digest_of_images(
        shard_captions.read(Shards.find(f'{tmp_path}/val-*')))
  return go


@pytest.mark.parametrize('in_pairs', [False, True])
@pytest.mark.parametrize('style', caption_styles.NAMES)
def test_images_are_the_same_in_any_style(digest, style, in_pairs):
  assert digest(WRITTEN, style, in_pairs) == digest(WRITTEN)


@pytest.mark.parametrize('others', [
    {1: WRITTEN[1]}, {1: WRITTEN[1], 3: WRITTEN[2]},
    # Images of one's own are numbered from 1 in every set.
    {1: WRITTEN[1], 2: ['A boy']}, {1: WRITTEN[1][:1], 2: WRITTEN[2]},
    {1: WRITTEN[2], 2: WRITTEN[1]},
], ids=['fewer', 'other ids', 'other caption', 'fewer captions', 'swapped'])
def test_other_images_have_another_digest(digest, others):
  assert digest(others) != digest(WRITTEN)


@pytest.mark.long
def test_features_and_those_of_another_encoder(
    model, folder, task, launch, by_im2txts_search, tmp_path, caplog):
  finished = launch(
      'data_prep.cache_features', f'--config={task.config_file}',
      f'--input_file_pattern={folder}/images-*', f'--output_dir={tmp_path}')
  assert finished.returncode == 0, finished.stderr
  with caplog.at_level('INFO'):
    scoring, scores = evaluate(
        model, tmp_path, 'images', Rules(model.vocab), beam_search.Options(),
        training='gone')
  assert scores['captions'] == by_im2txts_search[1]['captions']
  # The training shards are not there any more.
  assert f'no file matches {tmp_path}/gone-*' in caplog.text
  assert scores['diversity']['novel'] is None

  values = read_values(model)
  name = next(name for name in values if name.startswith(TinyEncoder.scope))
  values[name] = values[name] + 1
  with pytest.raises(ValueError, match='weights'):
    scoring.evaluate(values)


@pytest.mark.long
def test_captions_chosen_by_those_of_other_images(
    model, folder, train_features):
  known = f'{train_features}/train-*'
  rules, options = Rules(model.vocab), beam_search.Options(5)
  chosen, scores = evaluate(
      model, folder, 'images', rules, options, consensus_pattern=known)
  plain, others = evaluate(model, folder, 'images', rules, options)
  assert scores['captions'] != others['captions']
  # Found in the files, chosen by the same images.
  shards = Shards.find(known)
  agreed = consensus.read(
      shards, model.config, shard_captions.read(shards))
  def choose(features, found):
    order = agreed.rank(features, [caption.text for caption in found],
                        [caption.log_probability for caption in found])
    return [found[order[0]]]
  [results] = batch_captioner.caption_files(
      loaded_model.combine([model]),
      [str(folder / f'{number}.jpg') for number in IMAGES],
      functools.partial(
          beam_search.beam_search, rules=rules, options=options),
      batch_size=9, rerank=choose)
  expected = metrics.Scorer(REFERENCES, TRAINING).evaluate({
      number: result.captions[0].text
      for number, result in zip(IMAGES, results, strict=True)})
  assert scores['captions'] == pytest.approx(expected.captions.overall)
  # Neither is what the other would find.
  assert chosen.is_comparable(scores) and plain.is_comparable(others)
  assert not chosen.is_comparable(others) and not plain.is_comparable(scores)


def test_no_choice_by_the_references_themselves(
    model, folder, task, launch, tmp_path):
  finished = launch(
      'data_prep.cache_features', f'--config={task.config_file}',
      f'--input_file_pattern={folder}/images-*', f'--output_dir={tmp_path}')
  assert finished.returncode == 0, finished.stderr
  # Fewer of their captions would do, too.
  with pytest.raises(ValueError, match='has 5 of the images that are to be'):
    evaluate(model, folder, 'images', Rules(model.vocab),
             beam_search.Options(), consensus_pattern=f'{tmp_path}/images-*')
