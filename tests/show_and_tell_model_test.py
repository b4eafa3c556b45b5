"""im2txt's model by its attributes, variables and first loss."""

import math
import pathlib
import re

import fresh_session
import numpy as np
import pytest
import tensorflow as tf

from im2txt import configuration, encoders, show_and_tell_model
from im2txt.checkpoints import reader
from im2txt.models import captioner

tf1 = tf.compat.v1

TESTS = pathlib.Path(__file__).resolve().parent
PUBLISHED = TESTS.parents[1] / 'shared/data/im2txt_checkpoints'
GOLDEN = TESTS / 'goldens/show_and_tell.txt'

B, T, E, H = 3, 7, 11, 13
HEIGHT, WIDTH = 33, 47
LENGTHS = np.array([7, 4, 1])


def small_config(**fields):
  return configuration.ModelConfig(**{
      'encoder': 'tiny', 'image_height': HEIGHT,
      'image_width': WIDTH, 'embedding_size': E, 'num_lstm_units': H,
      **fields})


def build(config, mode, train_inception=False):
  """A model in a graph of its own."""
  with tf.Graph().as_default():
    tf1.set_random_seed(1)
    model = show_and_tell_model.ShowAndTellModel(
        config, mode, train_inception=train_inception)
    model.build()
  return model


@pytest.fixture(scope='module')
def models():
  """Show and Tell as published, in the three modes."""
  return {mode: build(configuration.ModelConfig(), mode, mode == 'train')
          for mode in ('train', 'eval', 'inference')}


@pytest.fixture(scope='module')
def small(tmp_path_factory):
  """A small one in phase 1 on shards (never read), and to be evaluated."""
  shard = tmp_path_factory.mktemp('shards') / 'train-00000-of-00001'
  shard.write_text('not empty')
  return {
      'train': build(small_config(input_file_pattern=str(shard)), 'train'),
      'eval': build(small_config(), 'eval')}


def variables(model):
  return {v.op.name: v.shape.as_list()
          for v in model.global_step.graph.get_collection(
              tf1.GraphKeys.GLOBAL_VARIABLES)}


def trainable(model):
  return {v.op.name for v in model.global_step.graph.get_collection(
      tf1.GraphKeys.TRAINABLE_VARIABLES)}


def golden():
  lines = GOLDEN.read_text().splitlines()
  assert lines == sorted(lines)
  return {name: [int(n) for n in re.findall(r'\d+', shape)]
          for name, shape in (line.split(' ', 1) for line in lines)}


@pytest.mark.parametrize('mode', ['train', 'eval', 'inference'])
def test_variables_are_golden_in_every_mode(models, mode):
  assert len(golden()) == 383
  assert variables(models[mode]) == golden()


@pytest.mark.skipif(not PUBLISHED.exists(), reason=f'no {PUBLISHED}')
@pytest.mark.parametrize('step', [5000000, 1000000])
def test_variables_are_those_of_published_checkpoints(step):
  prefix = str(PUBLISHED / f'model.ckpt-{step}')
  names = {name for name, _ in tf.train.list_variables(prefix)}
  assert ('lstm/basic_lstm_cell/weights' in names) == (step == 1000000)
  assert reader.Reader(prefix).shapes == golden()


def test_parameters_of_the_decoder(models):
  counts = {}
  for name, shape in variables(models['train']).items():
    scope = name.split('/')[0]
    counts[scope] = counts.get(scope, 0) + math.prod(shape)
  assert counts == {
      'InceptionV3': 21_802_784,
      'image_embedding': 1_048_576,  # 2048 x 512 and no bias.
      'seq_embedding': 6_144_000,    # 12000 x 512.
      'lstm': 2_099_200,             # (512 + 512 + 1) x 4 x 512.
      'logits': 6_156_000,           # (512 + 1) x 12000.
      'global_step': 1,
  }


def test_what_is_trained(models, small):
  # In phase 2 all but the moving statistics, 2 of the 4 variables of each of
  # 94 layers, and the step.
  assert len(trainable(models['train'])) == 188 + 6
  assert trainable(small['train']) == {
      'image_embedding/weights', 'seq_embedding/map',
      'lstm/basic_lstm_cell/kernel', 'lstm/basic_lstm_cell/bias',
      'logits/weights', 'logits/biases'}


@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_attributes_in_training_and_evaluation(models, mode):
  model = models[mode]
  assert model.mode is captioner.Mode(mode)
  shapes = {
      'images': [None, 299, 299, 3], 'input_seqs': [None, None],
      'target_seqs': [None, None], 'input_mask': [None, None],
      'image_embeddings': [None, 512], 'seq_embeddings': [None, None, 512],
      'total_loss': [], 'target_cross_entropy_losses': [None],
      'target_cross_entropy_loss_weights': [None], 'global_step': []}
  assert {name: getattr(model, name).shape.as_list() for name in shapes} == (
      shapes)
  assert model.target_cross_entropy_loss_weights.dtype == tf.float32
  assert model.global_step.dtype.base_dtype == tf.int64
  assert len(model.inception_variables) == 376
  assert model.init_fn is None  # No file of weights was named.


def test_attributes_in_inference(models):
  model = models['inference']
  shapes = {'images': [1, 299, 299, 3], 'input_seqs': [None, 1],
            'image_embeddings': [1, 512], 'global_step': []}
  assert {name: getattr(model, name).shape.as_list() for name in shapes} == (
      shapes)
  assert model.seq_embeddings.shape[-1] == 512
  for name in ('target_seqs', 'input_mask', 'total_loss', 'init_fn',
               'target_cross_entropy_losses',
               'target_cross_entropy_loss_weights'):
    assert getattr(model, name) is None
  assert len(model.inception_variables) == 376


def test_the_graph_of_inference_does_not_train(models):
  graph = models['inference'].global_step.graph
  assert not any(name.startswith('InceptionV3')
                 for name in trainable(models['inference']))
  assert not graph.get_collection(tf1.GraphKeys.UPDATE_OPS)
  assert not graph.get_collection(tf1.GraphKeys.REGULARIZATION_LOSSES)


@pytest.mark.parametrize('mode', ['training', '', None])
def test_other_modes_are_refused(mode):
  with pytest.raises(ValueError):
    show_and_tell_model.ShowAndTellModel(configuration.ModelConfig(), mode)


def test_another_decoder_is_refused():
  with pytest.raises(ValueError, match="cannot build 'none_such'"):
    show_and_tell_model.ShowAndTellModel(
        configuration.ModelConfig(decoder='none_such'), 'train')


def batch(vocab_size=12000):
  """Arrays to feed in the place of a batch."""
  random = np.random.default_rng(1)
  words = random.integers(0, vocab_size, (B, T + 1))
  return {
      'images': random.uniform(-1.0, 1.0, (B, HEIGHT, WIDTH, 3)),
      'input_seqs': words[:, :-1], 'target_seqs': words[:, 1:],
      'input_mask': (np.arange(T) < LENGTHS[:, np.newaxis]).astype(int)}


def run(model, fetches, **arrays):
  """Run with arrays fed into the model's attributes of these names."""
  feeds = {getattr(model, name): array for name, array in arrays.items()}
  with model.global_step.graph.as_default(), fresh_session.make() as new:
    new.run(tf1.global_variables_initializer())
    return new.run(fetches, feeds)


@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_first_loss_is_about_ln_v(small, mode):
  # The arrays are fed in place of what shards would give.
  model = small[mode]
  loss, losses, weights = run(model, [
      model.total_loss, model.target_cross_entropy_losses,
      model.target_cross_entropy_loss_weights], **batch())
  assert abs(loss - math.log(12000)) < 0.1
  assert losses.shape == weights.shape == (B * T,)
  np.testing.assert_array_equal(weights, batch()['input_mask'].reshape(-1))
  np.testing.assert_array_equal(losses > 0, weights > 0)
  np.testing.assert_allclose(loss, losses.sum() / LENGTHS.sum(), rtol=1e-5)


def test_training_on_fed_arrays_reads_no_shard(small):
  """The shard is none; what is fed says which image a caption is of."""
  model = small['train']
  loss, rows = run(model, [model.total_loss, model.image_rows], **batch())
  assert abs(loss - math.log(12000)) < 0.1
  np.testing.assert_array_equal(rows, np.arange(B))


def test_total_loss_is_batch_loss_and_regularisation():
  config = small_config(vocab_size=99, encoder_weight_decay=0.1)
  model = build(config, 'train', train_inception=True)
  with model.global_step.graph.as_default():
    regularization = tf1.losses.get_regularization_loss()
    summaries = tf1.summary.merge_all()
  total, losses, regularization, summaries = run(
      model, [model.total_loss, model.target_cross_entropy_losses,
              regularization, summaries], **batch(99))
  batch_loss = losses.sum() / LENGTHS.sum()
  assert regularization > 0.1
  assert total == pytest.approx(batch_loss + regularization, rel=1e-5)
  logged = {value.tag: value.simple_value
            for value in tf1.Summary.FromString(summaries).value}
  assert logged['losses/batch_loss'] == pytest.approx(batch_loss, rel=1e-5)
  assert logged['losses/total_loss'] == pytest.approx(total, rel=1e-5)
  assert logged['losses/regularization_loss'] == pytest.approx(
      regularization, rel=1e-5)


def test_shards_give_the_shapes_that_are_fed(small):
  model = small['train']
  assert model.images.shape[1:] == [HEIGHT, WIDTH, 3]
  for name in ('input_seqs', 'target_seqs', 'input_mask'):
    assert getattr(model, name).shape.rank == 2
    assert getattr(model, name).dtype == tf.int32


def test_embeddings(small):
  model = small['eval']
  with model.global_step.graph.as_default():
    [table] = [v for v in tf1.global_variables()
               if v.op.name == 'seq_embedding/map']
  arrays = batch()
  images, words, table = run(
      model, [model.image_embeddings, model.seq_embeddings, table], **arrays)
  assert images.shape == (B, E) and words.shape == (B, T, E)
  np.testing.assert_array_equal(words, table[arrays['input_seqs']])


def test_variables_of_the_decoder_begin_uniform(small):
  model = small['eval']
  with model.global_step.graph.as_default():
    values = run(model, {v.op.name: v for v in tf1.trainable_variables()})
  assert len(values) == 6
  for name, value in values.items():
    if name.endswith(('bias', 'biases')):
      assert not value.any()
    else:
      assert value.min() >= -0.08 and value.max() <= 0.08
      assert abs(value.std() - 0.08 / math.sqrt(3)) < 0.003


def test_init_fn_gives_the_encoder_its_weights(small):
  model = small['train']
  encoder = encoders.make(model.config)
  weights = encoder.read_weights(encoder.default_weights())
  assert len(model.inception_variables) == len(weights)
  with model.global_step.graph.as_default(), fresh_session.make() as session:
    session.run(tf1.global_variables_initializer())
    others = tf1.trainable_variables()
    before = session.run(others)
    model.init_fn(session)
    for variable, value in zip(
        model.inception_variables,
        session.run(model.inception_variables), strict=True):
      np.testing.assert_array_equal(value, weights[variable.op.name])
    for value, old in zip(session.run(others), before, strict=True):
      np.testing.assert_array_equal(value, old)
