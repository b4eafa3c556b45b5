"""Models that choose words together: as a decoder, and from the command line.

Shapes: B images, T words, V vocabulary.
"""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from attending import HEIGHT, WIDTH, Cells, L

from im2txt import configuration
from im2txt.checkpoints.trained_model import TrainedModel
from im2txt.decoders import ShowAttendTellConfig, TransformerConfig
from im2txt.encoders import ENCODERS
from im2txt.inference import loaded_model
from im2txt.models.captioner import Captioner, make_decoder
from im2txt.search import beam_search
from im2txt.search.rules import Rules

tf1 = tf.compat.v1

B, T, V = 3, 5, 29
SMALL = {
    'encoder': 'cells', 'image_height': HEIGHT, 'image_width': WIDTH,
    'vocab_size': V, 'embedding_size': 9, 'num_lstm_units': 13}
PLAIN = configuration.ModelConfig(decoder='show_and_tell', **SMALL)
ATTEND = ShowAttendTellConfig(decoder='show_attend_tell', **SMALL)
TRANSFORMER = TransformerConfig(
    decoder='transformer', num_heads=3, max_positions=11, **SMALL)


class Vocab:
  """Words that are numbers."""

  start_id = 3
  end_id = 5

  def __init__(self, change=''):
    self._change = change

  def __len__(self):
    return V

  def id_to_word(self, word_id):
    return f'{word_id}{self._change}'


def models_of(*configs, vocab=None):
  return [TrainedModel(f'model_{i}', Captioner(config), vocab or Vocab())
          for i, config in enumerate(configs)]


@pytest.fixture(scope='module', autouse=True)
def tables():
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(ENCODERS, 'cells', Cells)
    yield


def images():
  return tf.constant(np.random.default_rng(1).uniform(
      -1.0, 1.0, [B, HEIGHT, WIDTH, 3]).astype(np.float32))


def connect(*configs):
  model = loaded_model.combine(models_of(*configs))
  return model.captioner.connect(images())[:2]


def anything():
  random = np.random.default_rng(2)
  return [tf1.assign(v, random.uniform(-0.9, 0.9, v.shape))
          for v in tf1.global_variables() if v.dtype.is_floating]


def test_probabilities_are_the_means_of_the_members():
  words = np.random.default_rng(3).integers(0, V, [B, T])
  with tf.Graph().as_default(), tf1.Session() as session:
    decoder, memory = connect(PLAIN, ATTEND, TRANSFORMER)
    state = decoder.initial_state(memory)
    found = []
    for t in range(T):
      hidden, state = decoder.step(memory, tf.constant(words[:, t]), state)
      found.append(tf.nn.softmax(decoder.logits(hidden)))
    unrolled = decoder.unroll(
        memory, tf.constant(words), tf.ones([B, T], tf.int32))
    expected = []
    for i, config in enumerate((PLAIN, ATTEND, TRANSFORMER)):
      with tf1.variable_scope(f'member_{i}', reuse=True):
        member, of_member, _ = Captioner(config).connect(images())
        hidden = member.unroll(
            of_member, tf.constant(words), tf.ones([B, T], tf.int32))
        expected.append(tf.reshape(tf.nn.softmax(member.logits(
            tf.reshape(hidden, [B * T, hidden.shape[-1]]))), [B, T, V]))
    session.run(anything())
    found, unrolled, expected = session.run(
        [tf.stack(found, axis=1), tf.exp(unrolled), expected])
  np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-6)
  np.testing.assert_allclose(unrolled, np.mean(expected, axis=0), atol=1e-6)
  assert np.ptp(np.array(expected), axis=0).max() > 0.01
  assert not decoder.attends and decoder.max_length == 11


def test_attention_is_the_mean_of_the_members():
  with tf.Graph().as_default(), tf1.Session() as session:
    decoder, memory = connect(ATTEND, TRANSFORMER)
    captions = beam_search.beam_search(
        decoder, memory, Rules(Vocab(), 7), beam_search.Options(2))
    session.run(anything())
    captions = session.run(captions)
  assert decoder.attends and captions.alignments.shape == (B, 2, 7, L)
  found = np.isfinite(captions.log_probabilities)
  assert found[:, 0].all()
  np.testing.assert_allclose(
      captions.alignments[found][:, 1].sum(-1), 1.0, rtol=1e-5)


def test_one_model_is_not_an_ensemble():
  with tf.Graph().as_default():
    decoder, _ = connect(PLAIN)
    assert type(decoder) is type(make_decoder(PLAIN, False))
    assert not any(v.op.name.startswith('member')
                   for v in tf1.global_variables())


def test_models_that_cannot_choose_together():
  first, second = models_of(PLAIN, ATTEND)
  with pytest.raises(ValueError, match='^model_0 and model_1 have different '
                     'vocabularies'):
    loaded_model.combine([first, second._replace(vocab=Vocab('!'))])
  for change in ({'image_width': 20}, {'central_crop': False},
                 {'resize_ratio': 1.5}):
    with pytest.raises(ValueError, match='^model_0 and model_1 see images '
                       'differently'):
      loaded_model.combine([first, second._replace(
          captioner=Captioner(dataclasses.replace(ATTEND, **change)))])
  loaded_model.combine([first, second])


# From the command line.


def results_of(path):
  return [json.loads(line)['captions']
          for line in path.read_text().splitlines()]


def test_a_model_with_itself_says_the_same(trained, caption, images,
                                           tmp_path):
  for name, more in (
      ('one', []), ('two', [f'--checkpoint_path={trained.folder}'])):
    finished = caption(trained.folder, images, *more,
                       f'--output_jsonl={tmp_path / name}')
    assert finished.returncode == 0, finished.stderr
  one, two = results_of(tmp_path / 'one'), results_of(tmp_path / 'two')
  assert len(one) == 3
  for ours, theirs in zip(one, two, strict=True):
    assert [x['caption'] for x in ours] == [x['caption'] for x in theirs]
    np.testing.assert_allclose([x['probability'] for x in ours],
                               [x['probability'] for x in theirs], rtol=1e-4)


@pytest.mark.long
def test_another_checkpoint_has_its_say(scripted, trained, caption, images):
  finished = caption(scripted, images, '--beam_size=1',
                     f'--checkpoint_path={trained.folder}')
  assert finished.returncode == 0, finished.stderr
  alone = caption(scripted, images, '--beam_size=1')
  assert finished.stdout != alone.stdout
  assert finished.stderr.count(': restored 25') == 2


def test_mistakes(trained, caption, launch, images, tmp_path):
  finished = caption(trained.folder, images,
                     f'--checkpoint_path={tmp_path}/none')
  assert finished.returncode == 1
  assert f'{tmp_path}/none' in finished.lines[-1]
  other = tmp_path / 'other'
  shutil.copytree(trained.folder, other)
  words = (other / 'word_counts.txt').read_text()
  (other / 'word_counts.txt').write_text(words.replace('red ', 'pink '))
  finished = caption(trained.folder, images, f'--checkpoint_path={other}')
  assert finished.returncode == 1
  assert 'different vocabularies' in finished.lines[-1]
  finished = launch(
      'im2txt.export', f'--checkpoint_path={trained.folder}',
      f'--checkpoint_path={trained.folder}', f'--output_dir={tmp_path}/1',
      f'--tflite_file={tmp_path}/x.tflite')
  assert finished.returncode == 1
  assert '--tflite_file' in finished.lines[-1]


@pytest.mark.long
def test_ensembles_can_be_exported(trained, scripted, caption, launch,
                                   images, tmp_path):
  other = f'--checkpoint_path={trained.folder}'
  finished = launch('im2txt.export', f'--checkpoint_path={scripted}', other,
                    f'--output_dir={tmp_path}/1', '--beam_size=2')
  assert finished.returncode == 0, finished.stderr
  files = sorted(images.iterdir())
  answer = tf.saved_model.load(str(tmp_path / '1')).signatures[
      'serving_default'](image_bytes=tf.constant(
          [file.read_bytes() for file in files]))
  finished = caption(scripted, images, other, '--beam_size=2',
                     f'--output_jsonl={tmp_path}/x.jsonl')
  assert finished.returncode == 0, finished.stderr
  assert [[caption.decode() for caption in captions]
          for captions in answer['captions'].numpy()] == [
      [x['caption'] for x in captions]
      for captions in results_of(tmp_path / 'x.jsonl')]
