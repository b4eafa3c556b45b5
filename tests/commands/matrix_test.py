"""Every decoder with every encoder, at toy size.

With the tests' own encoder and the two small ones everything runs: training by
SGD or Adam, both searches, pixels and cached features; of the small ones one
pair, the others are marked long. With inception_v3 and resnet_v1_50, of which
the encoders' own tests have the numbers, graphs are built only, for that takes
seconds by itself; resnet_v1_101 and resnet_v1_152 are resnet_v1_50 with more
blocks and say the same shapes, so that one decoder each does for them.

Shapes: B images, T padded caption length, V vocabulary.
"""

import io
import math

import numpy as np
import pytest
import tensorflow as tf
import tiny_encoder
from attending import HEIGHT as CELLS_HEIGHT
from attending import WIDTH as CELLS_WIDTH
from attending import C, Cells
from PIL import Image

from im2txt import configuration, encoders
from im2txt.caption_generator import CaptionGenerator
from im2txt.decoders import DECODERS
from im2txt.encoders import ENCODERS, Encoding
from im2txt.inputs import pipeline
from im2txt.models import losses
from im2txt.models.captioner import Captioner, Mode, make_decoder
from im2txt.search import beam_search, sampling
from im2txt.search.rules import Rules
from im2txt.training import optimization

tf1 = tf.compat.v1

B, T, V = 3, 5, 29
HEIGHT, WIDTH = 80, 107
SMALL = ('efficientnet_lite0', 'mobilenet_v3_small')
LARGE = ('inception_v3', 'resnet_v1_50', 'efficientnet_lite2')
DEEP = ('resnet_v1_101', 'resnet_v1_152')
RUN = (tiny_encoder.NAME, *SMALL)
QUICK = [(tiny_encoder.NAME, name) for name in DECODERS] + [
    (SMALL[0], 'show_attend_tell')]
PAIRS = [
    pytest.param(encoder, decoder, marks=[] if (encoder, decoder) in QUICK
                 else pytest.mark.long)
    for encoder in RUN for decoder in DECODERS]
# Of those that have them.
FIELDS = {'attention_size': 7, 'num_layers': 1, 'num_heads': 3,
          'feed_forward_size': 13, 'max_positions': 9, 'num_lstm_layers': 2}


def test_every_encoder_is_tested():
  assert {*SMALL, *LARGE, *DEEP} == ENCODERS.keys() - {tiny_encoder.NAME}


def test_every_field_is_of_a_decoder():
  assert all(any(hasattr(decoder.config_class(), name)
                 for decoder in DECODERS.values()) for name in FIELDS)


class Vocab:
  start_id = 3
  end_id = 5

  def __len__(self):
    return V


RULES = Rules(Vocab(), 6)


def make_config(encoder, decoder, **fields):
  config_class = DECODERS[decoder].config_class
  own = {name: value for name, value in FIELDS.items()
         if hasattr(config_class, name)}
  return config_class(**{
      'encoder': encoder, 'decoder': decoder, 'image_height': HEIGHT,
      'image_width': WIDTH, 'vocab_size': V, 'embedding_size': 12,
      'num_lstm_units': 11, 'initializer_scale': 0.5,
      'decoder_dropout_keep_prob': 1.0, **own, **fields})


def image(random):
  pixels = np.kron(random.integers(0, 256, (8, 9, 3)), np.ones((10, 12, 1)))
  buffer = io.BytesIO()
  Image.fromarray(pixels.astype(np.uint8)).save(buffer, 'PNG')
  return buffer.getvalue()


class Stepping:
  """The step-by-step search's model, of the graph's present weights."""

  def __init__(self, step):
    self._step = step

  def feed_image(self, sess, encoded_image):
    return sess.run(
        self._step.initial_state, {self._step.image_feed: encoded_image})

  def inference_step(self, sess, input_feed, state_feed):
    softmax, state = sess.run(
        [self._step.softmax, self._step.state],
        {self._step.input_feed: input_feed,
         self._step.state_feed: state_feed})
    return softmax, state, None


def make_lively():
  """Have random batch norms hand on what they see, a billionth otherwise."""
  return [v.assign(tf.fill(v.shape, 0.1)) for v in tf1.global_variables()
          if v.op.name.endswith('/moving_variance')]


@pytest.mark.parametrize(('encoder', 'decoder'), PAIRS)
def test_training_and_both_searches(encoder, decoder):
  config = make_config(encoder, decoder)
  random = np.random.default_rng(1)
  images = [image(random) for _ in range(B)]
  words = random.integers(0, V, (B, T + 1))
  # Each encoder meets both optimisers, and so does each decoder.
  optimizer = ('SGD', 'Adam')[
      (list(DECODERS).index(decoder) + RUN.index(encoder)) % 2]
  with tf.Graph().as_default(), tf1.Session() as session:
    tf1.set_random_seed(1)
    batch = pipeline.make_batch(None, config, training=True)
    outputs = Captioner(config).build(Mode.TRAIN, batch)
    train, _ = optimization.train_op(
        configuration.TrainingConfig(optimizer=optimizer),
        outputs.total_loss, tf.constant(0.01))
    step = Captioner(config).build_step()
    network = encoders.make(config)
    features = network.encode(batch.images, False, False)
    assert features.regions.shape[1] == math.prod(network.grid(HEIGHT, WIDTH))
    cached = Encoding(*(tf1.placeholder(x.dtype, x.shape) for x in features))
    captions = beam_search.beam_search(
        *Captioner(config).connect(cached)[:2],
        RULES, beam_search.Options(3))
    session.run(tf1.global_variables_initializer())
    session.run(make_lively())

    pixels = np.concatenate([
        session.run(step.images, {step.image_feed: encoded})
        for encoded in images])
    feeds = dict(zip(batch, (
        pixels, words[:, :-1], words[:, 1:], np.ones([B, T]), np.arange(B)),
        strict=True))
    steps = [session.run([outputs.total_loss, train], feeds)[0]
             for _ in range(3)]
    assert steps[2] < steps[1] < steps[0]

    found = session.run(captions, dict(zip(cached, session.run(
        features, {batch.images: pixels}), strict=True)))
    generator = CaptionGenerator(Stepping(step), Vocab(), 3, 6)
    assert np.ptp(found.log_probabilities[:, 0]) > 1e-3
    for encoded, sentences, logprobs in zip(
        images, found.sentences.tolist(), found.log_probabilities,
        strict=True):
      expected = generator.beam_search(session, encoded)[0]
      assert sentences[0][:len(expected.sentence)] == expected.sentence
      assert logprobs[0] == pytest.approx(expected.logprob, rel=1e-5)


@pytest.mark.long
@pytest.mark.parametrize('encoder', LARGE)
def test_graphs_of_large_encoders(encoder):
  with tf.Graph().as_default():
    images = tf1.placeholder(tf.float32, [None, HEIGHT, WIDTH, 3])
    words = tf1.placeholder(tf.int32, [None, None])
    mask = tf.ones_like(words)
    network = encoders.make(make_config(encoder, 'merge'))
    encoding = network.encode(images, False, False)
    assert encoding.regions.shape[1] == math.prod(network.grid(HEIGHT, WIDTH))
    for name in DECODERS:
      config = make_config(encoder, name)
      with tf1.variable_scope(name):
        decoder = make_decoder(config, training=True)
        memory = decoder.prepare(encoding)
        loss = losses.sequence_loss(
            decoder.unroll(memory, words, mask), words, mask, decoder.logits)
        trained = tf1.trainable_variables(f'{name}/')
        assert len(trained) > 3
        assert None not in tf.gradients(loss.mean, trained)
        decoder = make_decoder(config, training=False)
        memory = decoder.prepare(encoding)
        captions = beam_search.beam_search(decoder, memory, RULES)
        # What a step-by-step search packs into a row.
        assert all(x.shape[1:].is_fully_defined() for x in tf.nest.flatten(
            [memory, decoder.initial_state(memory)]))
        assert len(tf1.trainable_variables(f'{name}/')) == len(trained)
      assert captions.sentences.shape.rank == 3


@pytest.mark.long
@pytest.mark.parametrize('encoder', DEEP)
def test_graphs_of_deep_encoders(encoder):
  with tf.Graph().as_default():
    step = Captioner(make_config(encoder, 'show_attend_tell')).build_step()
    assert step.softmax.shape.as_list() == [None, V]
    # 80 x 107 pixels, a region for each 32 x 32, as resnet_v1_50 has.
    assert step.memory.regions.shape.as_list() == [1, 3 * 4, 12]


@pytest.mark.parametrize('decoder', DECODERS)
def test_pooled_features_do_for_decoders_that_look_at_no_regions(
    decoder, monkeypatch):
  monkeypatch.setitem(ENCODERS, 'cells', Cells)
  config = make_config(
      'cells', decoder, image_height=CELLS_HEIGHT, image_width=CELLS_WIDTH)
  with tf.Graph().as_default():
    pooled = Encoding(tf1.placeholder(tf.float32, [None, C]), None)
    if DECODERS[decoder].reads_regions:
      with pytest.raises(ValueError, match='looks at regions, which these fe'):
        Captioner(config).build_memory(pooled)
      return
    maker, memory = Captioner(config).build_memory(pooled)
    captions = sampling.greedy(maker, memory, RULES)
    with tf1.Session() as session:
      session.run(tf1.global_variables_initializer())
      sentences = session.run(
          captions.sentences, {pooled.pooled: np.ones([B, C])})
    assert sentences.shape == (B, 1, 6)
