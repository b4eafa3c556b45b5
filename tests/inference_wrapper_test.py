"""The inference graph as im2txt's scripts drive it: by calls and by names."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from im2txt import configuration, encoders, inference_wrapper
from im2txt.models.captioner import Captioner

tf1 = tf.compat.v1

V, E, H = 99, 11, 13
CONFIG = configuration.ModelConfig(
    encoder='tiny', image_height=33, image_width=47,
    vocab_size=V, embedding_size=E, num_lstm_units=H)
# Name -> shape, as im2txt's inference graph has them.
TENSORS = {
    'image_feed:0': [],
    'input_feed:0': [None],
    'lstm/initial_state:0': [1, 2 * H],
    'lstm/state_feed:0': [None, 2 * H],
    'lstm/state:0': [None, 2 * H],
    'softmax:0': [None, V],
}


def image(colour, file_format='JPEG'):
  buffer = io.BytesIO()
  Image.new('RGB', (61, 29), colour).save(buffer, file_format)
  return buffer.getvalue()


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
  """A checkpoint with a decoder at random; its prefix and values by name."""
  random = np.random.default_rng(1)
  encoder = encoders.make(CONFIG)
  values = encoder.read_weights(encoder.default_weights())
  with tf.Graph().as_default(), tf1.Session() as session:
    Captioner(CONFIG).build_step()
    variables = {v.op.name: v for v in tf1.global_variables()}
    # Sorted: the order of a set is another in each process.
    for name in sorted(variables.keys() - values.keys() - {'global_step'}):
      values[name] = random.uniform(
          -0.5, 0.5, variables[name].shape).astype(np.float32)
    values['global_step'] = np.int64(17)
    session.run([tf1.assign(v, values[name])
                 for name, v in variables.items()])
    folder = tmp_path_factory.mktemp('run')
    return tf1.train.Saver().save(
        session, str(folder / 'model.ckpt'), global_step=17), values


@pytest.fixture(scope='module')
def model(checkpoint):
  """A restored wrapper and its session."""
  prefix, _ = checkpoint
  with tf.Graph().as_default(), tf1.Session() as session:
    wrapper = inference_wrapper.InferenceWrapper()
    # A folder means its newest checkpoint.
    restore = wrapper.build_graph_from_config(
        CONFIG, prefix.rsplit('/', 1)[0])
    restore(session)
    yield wrapper, session


def test_every_variable_is_restored(checkpoint, model):
  _, values = checkpoint
  _, session = model
  with session.graph.as_default():
    restored = session.run(
        {v.op.name: v for v in tf1.global_variables()})
  assert restored.keys() == values.keys()
  for name, value in restored.items():
    np.testing.assert_array_equal(value, values[name])


def test_nothing_is_built_for_a_checkpoint_that_is_not_there(tmp_path):
  with tf.Graph().as_default() as graph:
    with pytest.raises(FileNotFoundError, match='model.ckpt-3'):
      inference_wrapper.InferenceWrapper().build_graph_from_config(
          CONFIG, str(tmp_path / 'model.ckpt-3'))
    assert not graph.get_operations()


def test_an_image_gives_a_state(model):
  wrapper, session = model
  red = wrapper.feed_image(session, image('red'))
  assert red.shape == (1, 2 * H) and red.dtype == np.float32
  np.testing.assert_array_equal(
      red, wrapper.feed_image(session, image('red')))
  assert np.abs(red - wrapper.feed_image(session, image('blue'))).max() > 0
  # A PNG is as good as a JPEG.
  np.testing.assert_allclose(
      red, wrapper.feed_image(session, image('red', 'PNG')), atol=0.05)


def test_a_step_gives_probabilities_and_states(model):
  wrapper, session = model
  state = np.concatenate([wrapper.feed_image(session, image(colour))
                          for colour in ('red', 'green', 'blue')])
  softmax, states, metadata = wrapper.inference_step(
      session, np.array([1, 98, 1]), state)
  assert softmax.shape == (3, V) and softmax.dtype == np.float32
  assert states.shape == (3, 2 * H) and states.dtype == np.float32
  assert metadata is None
  np.testing.assert_allclose(softmax.sum(1), 1.0, rtol=1e-5)
  assert softmax.min() > 0.0
  for i, word in enumerate((1, 98, 1)):  # Rows do not see each other.
    alone, state_alone, _ = wrapper.inference_step(
        session, np.array([word]), state[i:i + 1])
    np.testing.assert_allclose(softmax[i:i + 1], alone, rtol=1e-5)
    np.testing.assert_allclose(states[i:i + 1], state_alone, atol=1e-6)


def sigmoid(x):
  return 1.0 / (1.0 + np.exp(-x))


def test_a_step_is_an_lstm_whose_state_is_c_then_h(checkpoint, model):
  _, values = checkpoint
  wrapper, session = model
  state = wrapper.feed_image(session, image('red'))
  softmax, next_state, _ = wrapper.inference_step(
      session, np.array([7]), state)
  c, h = np.split(state, 2, axis=1)
  gates = np.concatenate(
      [values['seq_embedding/map'][[7]], h], axis=1) @ values[
          'lstm/basic_lstm_cell/kernel'] + values['lstm/basic_lstm_cell/bias']
  i, j, f, o = np.split(gates, 4, axis=1)
  c = c * sigmoid(f + 1.0) + sigmoid(i) * np.tanh(j)
  h = np.tanh(c) * sigmoid(o)
  np.testing.assert_allclose(
      next_state, np.concatenate([c, h], axis=1), atol=1e-5)
  logits = h @ values['logits/weights'] + values['logits/biases']
  expected = np.exp(logits - logits.max())
  np.testing.assert_allclose(softmax, expected / expected.sum(), rtol=1e-4)


def test_tensors_have_the_names_of_im2txt(model):
  _, session = model
  shapes = {name: session.graph.get_tensor_by_name(name).shape.as_list()
            for name in TENSORS}
  assert shapes == TENSORS


def test_the_names_are_all_one_needs(model):
  wrapper, session = model
  state = session.run('lstm/initial_state:0', {'image_feed:0': image('red')})
  softmax, state = session.run(
      ['softmax:0', 'lstm/state:0'],
      {'input_feed:0': [1], 'lstm/state_feed:0': state})
  expected = wrapper.inference_step(
      session, np.array([1]), wrapper.feed_image(session, image('red')))
  np.testing.assert_array_equal(softmax, expected[0])
  np.testing.assert_array_equal(state, expected[1])


def test_no_image_is_an_error_of_tensorflow(model):
  wrapper, session = model
  with pytest.raises(tf.errors.InvalidArgumentError):
    wrapper.feed_image(session, b'no image')


def test_a_checkpoint_of_another_size_is_one_line(checkpoint):
  prefix, _ = checkpoint
  config = configuration.ModelConfig(
      encoder='tiny', image_height=33, image_width=47,
      vocab_size=V + 1, embedding_size=E, num_lstm_units=H)
  with tf.Graph().as_default(), tf1.Session() as session:
    restore = inference_wrapper.InferenceWrapper().build_graph_from_config(
        config, prefix)
    with pytest.raises(ValueError, match=r'\[99\].*\[100\]') as error:
      restore(session)
  assert '\n' not in str(error.value) and prefix in str(error.value)
