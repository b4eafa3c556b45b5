"""Both searches on the same weights over 200 images, for every setting.

Shapes: B images, V vocabulary.
"""

import fresh_session
import numpy as np
import pytest
import tensorflow as tf
from attending import HEIGHT, WIDTH, Cells

from im2txt import configuration
from im2txt.caption_generator import CaptionGenerator
from im2txt.encoders import ENCODERS
from im2txt.models.captioner import Captioner
from im2txt.search.beam_search import Options, beam_search
from im2txt.search.rules import Rules

tf1 = tf.compat.v1

B, V = 200, 43
CONFIG = configuration.ModelConfig(
    encoder='cells', image_height=HEIGHT, image_width=WIDTH, vocab_size=V,
    embedding_size=11, num_lstm_units=13)


class Vocab:
  start_id = 3
  end_id = 5

  def __len__(self):
    return V - 2


@pytest.fixture(scope='module', autouse=True)
def cells():
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(ENCODERS, 'cells', Cells)
    yield


class Remembering:
  """The step-by-step graph; what it has computed once it does not again.

  An image is its number.
  """

  def __init__(self, step, session, states):
    self._step = step
    self._session = session
    self._states = states
    self._known = {}

  def feed_image(self, sess, encoded_image):
    return self._states[encoded_image][np.newaxis]

  def inference_step(self, sess, input_feed, state_feed):
    keys = [(int(word), state.tobytes())
            for word, state in zip(input_feed, state_feed, strict=True)]
    new = [i for i, key in enumerate(keys) if key not in self._known]
    if new:
      rows = self._session.run(
          [self._step.softmax, self._step.state],
          {self._step.input_feed: input_feed[new],
           self._step.state_feed: state_feed[new]})
      for i, *row in zip(new, *rows, strict=True):
        self._known[keys[i]] = row
    softmax, states = zip(*(self._known[key] for key in keys), strict=True)
    return np.stack(softmax), np.stack(states), None


@pytest.fixture(scope='module')
def weights():
  """Weights that make captions end now and then, by name."""
  random = np.random.default_rng(4)
  with tf.Graph().as_default():
    Captioner(CONFIG).build_step()
    values = {v.op.name: random.normal(0.0, 0.7, v.shape)
              for v in tf1.trainable_variables()}
  values['logits/biases'][Vocab.end_id] = 1.5
  return values


def assign(session, weights):
  session.run([
      tf1.assign(v, weights[v.op.name]) for v in tf1.trainable_variables()])


@pytest.fixture(scope='module')
def images():
  cells = np.random.default_rng(5).uniform(-1.0, 1.0, (B, 3, 5, 3))
  return np.kron(cells, np.ones((1, 5, 5, 1))).astype(np.float32)


@pytest.fixture(scope='module')
def model(weights, images):
  with tf.Graph().as_default(), fresh_session.make() as session:
    step = Captioner(CONFIG).build_step()
    assign(session, weights)
    states = [session.run(step.initial_state, {step.images: image[np.newaxis]})
              for image in images]
    yield Remembering(step, session, np.concatenate(states))


@pytest.mark.parametrize('factor', [
    0.7, *(pytest.param(factor, marks=pytest.mark.long)
           for factor in (0.0, 3.0))])
def test_same_captions_in_the_same_order(weights, images, model, factor):
  total = completed = swapped = 0
  with tf.Graph().as_default(), fresh_session.make() as session:
    beam_size, length = (tf1.placeholder(tf.int32, []) for _ in range(2))
    captions = beam_search(
        *Captioner(CONFIG).connect(tf.constant(images))[:2],
        Rules(Vocab(), length),
        Options(beam_size, length_normalization_factor=factor))
    assign(session, weights)
    for beam in (1, 2, 3, 5, 10):
      for longest in (1, 2, 3, 20):
        generator = CaptionGenerator(model, Vocab(), beam, longest, factor)
        found = session.run(captions, {beam_size: beam, length: longest})
        for image, ours in enumerate(zip(*found[:3], strict=True)):
          expected = generator.beam_search(None, image)
          assert np.isfinite(ours[1]).sum() == len(expected)
          for sentence, logprob, score, caption in zip(
              *ours, expected, strict=False):
            filled = caption.sentence + (
                longest - len(caption.sentence)) * [Vocab.end_id]
            assert abs(logprob - caption.logprob) < 1e-4
            assert abs(score - caption.score) < 1e-4
            # Of equal scores but for the rounding either may come first.
            if sentence.tolist() != filled:
              assert abs(score - caption.score) < 1e-5
              swapped += 1
            completed += caption.sentence[-1] == Vocab.end_id
            total += 1
  assert swapped < total / 1000
  assert 0.2 * total < completed < 0.95 * total
