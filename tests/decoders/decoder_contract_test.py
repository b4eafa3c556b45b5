"""What every decoder must do; a further one is a line in `CONFIGS`.

Beside the decoders of the house stands one of the tests' own, whose step looks
at the image's regions.

Shapes: B batch, T padded caption length, V vocabulary, E embedding, H hidden.
"""

import dataclasses
import functools
import io
import math
from typing import NamedTuple

import fresh_session
import numpy as np
import pytest
import tensorflow as tf
from attending import HEIGHT, WIDTH, Attending, AttendingConfig, Cells, L
from PIL import Image

from im2txt import configuration, encoders, inference_wrapper
from im2txt.caption_generator import CaptionGenerator
from im2txt.checkpoints import folder as checkpoints
from im2txt.checkpoints import restore
from im2txt.decoders import (
  DECODERS,
  CnnLstmConfig,
  ShowAttendTellConfig,
  TransformerConfig,
)
from im2txt.encoders import ENCODERS
from im2txt.inputs import image_processing, pipeline
from im2txt.inputs.batch import Batch
from im2txt.models.captioner import Captioner, Mode, Outputs, make_decoder
from im2txt.search import beam_search, sampling
from im2txt.search.rules import Rules
from im2txt.training import optimization

tf1 = tf.compat.v1

B, T, V, E, H = 3, 5, 99, 11, 13
LENGTHS = np.array([5, 4, 1])


# Of each decoder by its name: its configuration, small.
SMALL = {
    'encoder': 'cells', 'image_height': HEIGHT, 'image_width': WIDTH,
    'vocab_size': V, 'embedding_size': E, 'num_lstm_units': H,
}
TRANSFORMER = {
    'embedding_size': 15, 'num_heads': 3,
    'feed_forward_size': 19, 'max_positions': 21}
CONFIGS = [
    configuration.ModelConfig(decoder='show_and_tell', **SMALL),
    configuration.ModelConfig(decoder='merge', **SMALL),
    CnnLstmConfig(decoder='cnn_lstm', num_lstm_layers=2, **SMALL),
    ShowAttendTellConfig(
        decoder='show_attend_tell', attention_size=17,
        attention_regularization=0.5, **SMALL),
    ShowAttendTellConfig(
        decoder='show_attend_tell', cell='lstm', attention_size=17, **SMALL),
    TransformerConfig(
        decoder='transformer', num_layers=1, **SMALL | TRANSFORMER),
    TransformerConfig(
        decoder='transformer', num_layers=2, pre_norm=True,
        **SMALL | TRANSFORMER),
    AttendingConfig(decoder='attending', **SMALL),
]


@pytest.fixture(scope='module', autouse=True)
def tables():
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(ENCODERS, 'cells', Cells)
    patch.setitem(DECODERS, 'attending', Attending)
    yield


@pytest.fixture(scope='module', params=CONFIGS, ids=lambda c: c.decoder)
def config(request):
  return request.param


@pytest.fixture
def random():
  return np.random.default_rng(1)


def test_every_decoder_is_tested():
  assert DECODERS.keys() == {config.decoder for config in CONFIGS}
  for config in CONFIGS:
    assert type(config) is DECODERS[config.decoder].config_class


def images(random, number=B):
  """Pixels in [-1, 1] that differ enough to be told apart."""
  cells = random.uniform(-1.0, 1.0, (number, 3, 5, 3))
  return np.kron(cells, np.ones((1, 5, 5, 1))).astype(np.float32)


def batch_arrays(random, length=T):
  """A batch of captions of `LENGTHS` words; padding is 0."""
  words = random.integers(0, V, (B, length + 1))
  mask = (np.arange(length) < LENGTHS[:, np.newaxis]).astype(int)
  return Batch(
      images(random), words[:, :-1] * mask, words[:, 1:] * mask, mask,
      np.arange(B))


class Built(NamedTuple):
  """A training or evaluation graph whose batch is fed."""

  graph: tf.Graph
  batch: Batch
  outputs: Outputs

  def session(self):
    """A session in which every variable has its first value."""
    with self.graph.as_default():
      session = fresh_session.make()
      session.run(tf1.global_variables_initializer())
      return session

  def feeds(self, arrays):
    return dict(zip(self.batch, arrays, strict=True))


def build(config, mode, train_encoder=False):
  with tf.Graph().as_default() as graph:
    tf1.set_random_seed(1)
    batch = pipeline.make_batch(None, config, mode is Mode.TRAIN)
    return Built(
        graph, batch, Captioner(config).build(mode, batch, train_encoder))


@pytest.fixture(scope='module')
def training(config):
  """A training graph with much dropout, which trains the encoder, too."""
  return build(
      dataclasses.replace(config, decoder_dropout_keep_prob=0.5), Mode.TRAIN,
      train_encoder=True)


class Sure(NamedTuple):
  """A training graph without dropout, and what a training needs of it."""

  built: Built
  train: tf.Operation
  saver: tf1.train.Saver
  sampling_rate: tf.Tensor  # Fed: how often `sampled` reads its own words.
  sampled: Outputs


@pytest.fixture(scope='module')
def sure(config):
  # So wide for layers so narrow as .08 is for 512 units: with .08 hardly any
  # of an image would come through the first layers.
  config = dataclasses.replace(
      config, decoder_dropout_keep_prob=1.0, initializer_scale=0.5)
  built = build(config, Mode.TRAIN, train_encoder=True)
  with built.graph.as_default():
    train, _ = optimization.train_op(
        configuration.TrainingConfig(optimizer='Adam'),
        built.outputs.total_loss, tf.constant(0.03))
    rate = tf1.placeholder(tf.float32, [])
    sampled = Captioner(config).build(
        Mode.TRAIN, built.batch, sampling_rate=rate)
    return Sure(built, train, tf1.train.Saver(), rate, sampled)


@pytest.fixture(scope='module')
def evaluation(config):
  """An evaluation graph of a model that would be trained with dropout."""
  return build(
      dataclasses.replace(config, decoder_dropout_keep_prob=0.5), Mode.EVAL)


@pytest.fixture(scope='module')
def evaluate(evaluation):
  """`evaluate(arrays)`: a batch's losses by the first values of variables."""
  with evaluation.session() as session:
    yield lambda arrays: session.run(
        evaluation.outputs.caption_loss, evaluation.feeds(arrays))


@pytest.fixture(scope='module')
def step_graph(config):
  """The graph of the step-by-step search and its tensors."""
  with tf.Graph().as_default() as graph:
    return graph, Captioner(config).build_step()


def anything(random):
  """Give every variable values of its own."""
  return [
      tf1.assign(v, random.uniform(
          0.1 if v.op.name.endswith('moving_variance') else -0.5, 0.5,
          v.shape))
      for v in tf1.global_variables()]


def test_unroll_equals_step_repeated(config, random):
  arrays = batch_arrays(random)
  with tf.Graph().as_default(), fresh_session.make() as session:
    tf1.set_random_seed(1)
    encoding = encoders.make(config).encode(
        tf.constant(arrays.images), False, False)
    decoder = make_decoder(config, training=False)
    memory = decoder.prepare(encoding)
    unrolled = decoder.unroll(
        memory, tf.constant(arrays.input_seqs), tf.constant(arrays.input_mask))
    state = decoder.initial_state(memory)
    stepped = []
    for t in range(T):
      hidden, state = decoder.step(
          memory, tf.constant(arrays.input_seqs[:, t]), state)
      stepped.append(hidden)
    logits = decoder.logits(stepped[0])
    session.run(anything(random))
    unrolled, stepped, logits = session.run(
        [unrolled, tf.stack(stepped, axis=1), logits])
  words = arrays.input_mask == 1
  assert unrolled.shape[:2] == (B, T) and logits.shape == (B, V)
  np.testing.assert_allclose(unrolled[words], stepped[words], atol=1e-5)
  assert np.ptp(stepped[:, 1:] - stepped[:, :-1]) > 0.01


def test_several_captions_of_an_image_share_its_memory(config, random):
  n = 5
  with tf.Graph().as_default(), fresh_session.make() as session:
    words = tf.constant(random.integers(0, V, [2, B * n]))
    decoder, memory, _ = Captioner(config).connect(
        tf.constant(images(random)))
    repeated = tf.nest.map_structure(lambda x: tf.repeat(x, n, 0), memory)
    outputs = []
    for rows in (memory, repeated):
      state = tf.nest.map_structure(
          lambda x: tf.repeat(x, n, 0), decoder.initial_state(memory))
      for t in range(2):
        hidden, state = decoder.step(rows, words[t], state)
      outputs.append([hidden, *tf.nest.flatten(state)])
    session.run(anything(random))
    for shared, own in zip(*session.run(outputs), strict=True):
      assert len(shared) == B * n
      np.testing.assert_allclose(shared, own, atol=1e-6)


def test_every_variable_gets_a_gradient(training, random):
  with training.graph.as_default():
    variables = tf1.trainable_variables()
    gradients = tf.gradients(training.outputs.total_loss, variables)
    assert [v.op.name for v, g in zip(variables, gradients, strict=True)
            if g is None] == []
    gradients = [tf.convert_to_tensor(g) for g in gradients]
  with training.session() as session:
    gradients = session.run(gradients, training.feeds(batch_arrays(random)))
  for variable, gradient in zip(variables, gradients, strict=True):
    assert np.isfinite(gradient).all(), variable.op.name
    assert np.abs(gradient).max() > 0, variable.op.name
  assert len(variables) > 3


def test_first_loss_is_about_ln_v(training, evaluate, random):
  arrays = batch_arrays(random)
  with training.session() as session:
    first = session.run(
        training.outputs.caption_loss.mean, training.feeds(arrays))
  for loss in (first, evaluate(arrays).mean):
    assert abs(loss - math.log(V)) < 0.1


def test_a_few_examples_can_be_learnt_by_heart(sure, random):
  arrays = batch_arrays(random)
  # One first word for all: only the image can tell what comes next.
  arrays.input_seqs[:, 0] = 1
  with sure.built.session() as session:
    for _ in range(199):
      loss, _ = session.run(
          [sure.built.outputs.caption_loss.mean, sure.train],
          sure.built.feeds(arrays))
      if loss < 0.1:
        break
  assert loss < 0.1


def test_it_can_train_on_its_own_words(sure, random):
  feeds = sure.built.feeds(batch_arrays(random))
  with sure.built.graph.as_default():
    gradients = [tf.convert_to_tensor(g) for g in tf.gradients(
        sure.sampled.caption_loss.mean, tf1.trainable_variables())
        if g is not None]
  with sure.built.session() as session:
    ours, theirs = session.run(
        [outputs.caption_loss.losses
         for outputs in (sure.sampled, sure.built.outputs)],
        feeds | {sure.sampling_rate: 0.0})
    found = session.run(gradients, feeds | {sure.sampling_rate: 1.0})
  np.testing.assert_allclose(ours, theirs, atol=1e-4)
  assert len(found) > 3 and all(np.isfinite(g).all() for g in found)


def test_padding_changes_nothing(evaluate, random):
  arrays = batch_arrays(random)
  padding = arrays.input_mask == 0
  other = Batch(
      arrays.images,
      np.where(padding, random.integers(0, V, (B, T)), arrays.input_seqs),
      np.where(padding, random.integers(0, V, (B, T)), arrays.target_seqs),
      arrays.input_mask, arrays.image_rows)
  wider = Batch(arrays.images, *(
      np.pad(x, [(0, 0), (0, 4)]) for x in arrays[1:4]), arrays.image_rows)
  loss, again, padded = (evaluate(x) for x in (arrays, other, wider))
  for changed, length in ((again, T), (padded, T + 4)):
    np.testing.assert_allclose(changed.mean, loss.mean, rtol=1e-5)
    np.testing.assert_allclose(
        changed.losses.reshape(B, length)[:, :T], loss.losses.reshape(B, T),
        rtol=1e-4)
    assert changed.weights.sum() == LENGTHS.sum()


def test_dropout_is_there_in_training_only(
    training, sure, evaluation, random):
  arrays = batch_arrays(random)
  different = []
  for built in (training, sure.built, evaluation):
    with built.session() as session:
      different.append(len({
          float(session.run(built.outputs.total_loss, built.feeds(arrays)))
          for _ in range(3)}))
  assert different == [3, 1, 1]


def encode(pixels):
  buffer = io.BytesIO()
  Image.fromarray(((pixels + 1.0) * 127.5).astype(np.uint8)).save(
      buffer, 'PNG')
  return buffer.getvalue()


class Trained(NamedTuple):
  """A training run's checkpoint and what its own pass says of captions."""

  config: configuration.ModelConfig
  folder: str
  encoded_images: list[bytes]
  images: np.ndarray  # What inference makes of the files.
  input_seqs: np.ndarray
  probabilities: np.ndarray  # [B, T], of each next word of the captions
  model: inference_wrapper.InferenceWrapper
  session: tf1.Session


@pytest.fixture(scope='module')
def trained(config, sure, evaluation, tmp_path_factory):
  """Train a little, then restore into a fresh graph for inference."""
  tmp_path = tmp_path_factory.mktemp(config.decoder)
  random = np.random.default_rng(1)
  arrays = batch_arrays(random)
  with sure.built.session() as session:
    for _ in range(9):
      session.run(sure.train, sure.built.feeds(arrays))
    sure.saver.save(session, str(tmp_path / 'model.ckpt'), global_step=9)

  encoded_images = [encode(image) for image in arrays.images]
  with tf.Graph().as_default(), fresh_session.make() as inference_session:
    model = inference_wrapper.InferenceWrapper()
    model.build_graph_from_config(config, str(tmp_path))(inference_session)
    words = random.integers(0, V, (B, T + 1))
    with evaluation.graph.as_default(), fresh_session.make() as session:
      tf1.train.Saver().restore(session, str(tmp_path / 'model.ckpt-9'))
      encoded_image = tf1.placeholder(tf.string, [])
      image = image_processing.process_image(encoded_image, False, config)
      images = np.stack([
          session.run(image, {encoded_image: encoded})
          for encoded in encoded_images])
      losses = session.run(
          evaluation.outputs.caption_loss.losses, evaluation.feeds(
              Batch(images, words[:, :-1], words[:, 1:], np.ones((B, T)),
                    np.arange(B))))
    yield Trained(config, str(tmp_path), encoded_images, images, words,
                  np.exp(-losses).reshape(B, T), model, inference_session)


def test_a_training_checkpoint_gives_inference_the_same_probabilities(
    trained):
  for i, encoded_image in enumerate(trained.encoded_images):
    state = trained.model.feed_image(trained.session, encoded_image)
    for t in range(T):
      softmax, state, metadata = trained.model.inference_step(
          trained.session, trained.input_seqs[i, t:t + 1], state)
      assert softmax.shape == (1, V)
      if DECODERS[trained.config.decoder].attends:
        assert metadata.shape == (1, L)
        np.testing.assert_allclose(metadata.sum(), 1.0, rtol=1e-5)
        assert np.ptp(metadata) > 0.0
      else:
        assert metadata is None
      np.testing.assert_allclose(softmax.sum(), 1.0, rtol=1e-5)
      np.testing.assert_allclose(
          softmax[0, trained.input_seqs[i, t + 1]],
          trained.probabilities[i, t], rtol=1e-4)


def test_captions_of_several_images_can_go_on_side_by_side(trained):
  state = np.concatenate([
      trained.model.feed_image(trained.session, encoded_image)
      for encoded_image in trained.encoded_images])
  for t in range(T):
    softmax, state, _ = trained.model.inference_step(
        trained.session, trained.input_seqs[:, t], state)
    np.testing.assert_allclose(
        softmax[np.arange(B), trained.input_seqs[:, t + 1]],
        trained.probabilities[:, t], rtol=1e-4)


class Vocab:
  start_id = 3
  end_id = 5

  def __len__(self):
    return V - 10


def test_search_gives_captions_the_probabilities_of_their_words(trained):
  generator = CaptionGenerator(trained.model, Vocab(), 4, 6)
  for encoded_image in trained.encoded_images:
    captions = generator.beam_search(trained.session, encoded_image)
    assert len({tuple(c.sentence) for c in captions}) == len(captions) > 0
    for caption in captions:
      assert max(caption.sentence) < V - 10
      state = trained.model.feed_image(trained.session, encoded_image)
      logprob = 0.0
      for word, next_word in zip(
          caption.sentence[:-1], caption.sentence[1:], strict=True):
        softmax, state, _ = trained.model.inference_step(
            trained.session, np.array([word]), state)
        logprob += math.log(softmax[0, next_word])
      assert caption.logprob == pytest.approx(logprob, rel=1e-4)


@pytest.fixture(scope='module')
def found(trained):
  """Captions of every search in the graph, by the name of the search."""
  searches = {
      'beam of 1': (beam_search.beam_search, beam_search.Options(1)),
      'beam of 4': (beam_search.beam_search, beam_search.Options(4)),
      'groups': (
          beam_search.beam_search, beam_search.Options(4, beam_groups=2)),
      'greedy': (sampling.greedy,),
      'sample': (functools.partial(sampling.sample, seed=1),
                 sampling.SamplingOptions(num_samples=2)),
  }
  with tf.Graph().as_default(), fresh_session.make() as session:
    decoder, memory, _ = Captioner(trained.config).connect(
        tf.constant(trained.images))
    captions = {
        name: search(decoder, memory, Rules(Vocab(), 6), *options)
        for name, (search, *options) in searches.items()}
    restore.inference_restorer(checkpoints.latest(trained.folder))(session)
    return session.run(captions)


@pytest.mark.parametrize('beam_size', [1, 4])
def test_search_in_the_graph_finds_the_same(config, trained, found, beam_size):
  generator = CaptionGenerator(trained.model, Vocab(), beam_size, 6)
  for encoded_image, sentences, logprobs, _, looked in zip(
      trained.encoded_images, *found[f'beam of {beam_size}'], strict=True):
    expected = generator.beam_search(trained.session, encoded_image)
    for caption, sentence, of_words in zip(
        expected, sentences.tolist(), looked, strict=True):
      padding = 6 - len(caption.sentence)
      assert sentence == caption.sentence + padding * [Vocab.end_id]
      if not DECODERS[config.decoder].attends:
        assert caption.metadata is None and of_words.shape == (6, 0)
        continue
      # The start marker is not chosen.
      np.testing.assert_allclose(
          of_words[1:6 - padding], caption.metadata, atol=1e-5)
      assert not of_words[0].any() and not of_words[6 - padding:].any()
    np.testing.assert_allclose(
        logprobs, [caption.logprob for caption in expected], atol=1e-4)


@pytest.mark.parametrize('search', ['groups', 'greedy', 'sample'])
def test_alignments_are_those_of_the_words_before(
    config, trained, found, search):
  for encoded_image, sentences, looked in zip(
      trained.encoded_images, found[search].sentences,
      found[search].alignments, strict=True):
    if not DECODERS[config.decoder].attends:
      assert looked.shape == (*sentences.shape, 0)
      continue
    for sentence, of_words in zip(sentences, looked, strict=True):
      state = trained.model.feed_image(trained.session, encoded_image)
      last = [*np.flatnonzero(sentence == Vocab.end_id), 5][0]
      for t, word in enumerate(sentence[:last], 1):
        _, state, expected = trained.model.inference_step(
            trained.session, np.array([word]), state)
        np.testing.assert_allclose(of_words[t], expected[0], atol=1e-5)
      assert not of_words[0].any() and not of_words[last + 1:].any()


def test_beam_of_1_is_greedy(trained):
  generator = CaptionGenerator(trained.model, Vocab(), 1, 6)
  [caption] = generator.beam_search(
      trained.session, trained.encoded_images[0])
  state = trained.model.feed_image(trained.session, trained.encoded_images[0])
  sentence = [Vocab.start_id]
  while len(sentence) < 6 and sentence[-1] != Vocab.end_id:
    softmax, state, _ = trained.model.inference_step(
        trained.session, np.array(sentence[-1:]), state)
    sentence.append(int(softmax[0, :len(Vocab())].argmax()))
  assert caption.sentence == sentence


def test_images_make_a_difference(trained):
  states = [trained.model.feed_image(trained.session, encoded_image)
            for encoded_image in trained.encoded_images]
  softmax, _, _ = trained.model.inference_step(
      trained.session, np.full(B, 1), np.concatenate(states))
  assert np.abs(softmax[1:] - softmax[:1]).max() > 1e-3


def test_all_graphs_have_the_same_variables(training, evaluation, step_graph):
  names = [sorted((v.op.name, tuple(v.shape)) for v in graph.get_collection(
      tf1.GraphKeys.GLOBAL_VARIABLES))
      for graph in (training.graph, evaluation.graph, step_graph[0])]
  assert names[0] == names[1] == names[2]


def test_tensors_of_the_search_have_their_names(config, step_graph):
  scope = DECODERS[config.decoder].scope
  graph, step = step_graph
  for name, tensor in (
      ('image_feed', step.image_feed), ('input_feed', step.input_feed),
      (f'{scope}/state_feed', step.state_feed),
      (f'{scope}/initial_state', step.initial_state),
      (f'{scope}/state', step.state), ('softmax', step.softmax)):
    assert graph.get_tensor_by_name(f'{name}:0') is tensor


def product_types(graph):
  """Of the decoder's products with matrices, in loops too."""
  definition = graph.as_graph_def()
  nodes = [*definition.node, *(
      node for function in definition.library.function
      for node in function.node_def)]
  return [tf.as_dtype(node.attr['T'].type) for node in nodes
          if node.op == 'MatMul' and Cells.scope not in node.name]


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_products_of_less_precision(config, evaluate, random, dtype):
  arrays = batch_arrays(random)
  built = build(dataclasses.replace(
      config, compute_dtype=dtype, decoder_dropout_keep_prob=1.0), Mode.TRAIN)
  with built.graph.as_default():
    variables = tf1.trainable_variables()
    gradients = [tf.convert_to_tensor(g) for g in tf.gradients(
        built.outputs.total_loss, variables)]
  assert {v.dtype.base_dtype for v in variables} == {tf.float32}
  with built.session() as session:
    loss, gradients = session.run(
        [built.outputs.caption_loss.mean, gradients], built.feeds(arrays))
  assert all(np.isfinite(gradient).all() for gradient in gradients)
  assert loss == pytest.approx(evaluate(arrays).mean, rel=0.01)
  if config.decoder != 'attending':  # Which knows one precision only.
    assert set(product_types(built.graph)) == {tf.as_dtype(dtype)}


def test_another_precision_is_refused(random):
  config = dataclasses.replace(CONFIGS[0], compute_dtype='float64')
  with pytest.raises(ValueError, match="compute_dtype is 'float64'; it must"):
    build(config, Mode.TRAIN)


def test_captions_of_one_image_share_its_encoding(evaluate, random):
  arrays = batch_arrays(random)
  rows = np.array([1, 0, 1])
  once, repeated = (
      evaluate(arrays._replace(images=images, image_rows=image_rows)).losses
      for images, image_rows in ((arrays.images[:2], rows),
                                 (arrays.images[rows], np.arange(B))))
  np.testing.assert_allclose(once, repeated, atol=1e-5)
