"""Our training step against im2txt's, written plainly for the benchmark."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import classic_training
from im2txt import configuration
from im2txt.inputs import pipeline
from im2txt.inputs.batch import Batch
from im2txt.models.captioner import Captioner, Mode

tf1 = tf.compat.v1

B, T, V, E, H = 5, 9, 33, 11, 13
LENGTHS = np.array([9, 1, 4, 7, 2])


@pytest.fixture(scope='module')
def steps():
  """Losses and gradients: [(ours, theirs), ...] by name."""
  with tf.Graph().as_default(), tf1.Session() as session:
    tf1.set_random_seed(1)
    config = configuration.ModelConfig(
        encoder='tiny', image_height=32, image_width=32,
        vocab_size=V, embedding_size=E, num_lstm_units=H,
        initializer_scale=0.5, decoder_dropout_keep_prob=1.0)
    batch = pipeline.make_batch(None, config, training=True)
    # Both find the same variables.
    with tf1.variable_scope(tf1.get_variable_scope(), reuse=tf1.AUTO_REUSE):
      losses = [Captioner(config).build(Mode.TRAIN, batch).total_loss,
                classic_training.build(config, batch)]
    variables = tf1.trainable_variables()
    assert len(variables) == 6
    gradients = [dict(zip(
        (v.op.name for v in variables), tf.gradients(loss, variables),
        strict=True)) for loss in losses]
    sparse = [name for name, gradient in gradients[0].items()
              if isinstance(gradient, tf.IndexedSlices)]
    assert sparse == ['seq_embedding/map']
    random = np.random.default_rng(1)
    words = random.integers(0, V, (B, T + 1))
    session.run(tf1.global_variables_initializer())
    found = session.run(
        [losses, [{name: tf.convert_to_tensor(gradient)
                   for name, gradient in own.items()} for own in gradients]],
        dict(zip(batch, Batch(
            random.uniform(-1.0, 1.0, (B, 32, 32, 3)), words[:, :-1],
            words[:, 1:], (np.arange(T) < LENGTHS[:, np.newaxis]).astype(int),
            np.arange(B)), strict=True)))
  return found


def test_the_loss_is_the_same_to_rounding(steps):
  (ours, theirs), _ = steps
  assert abs(theirs - np.log(V)) < 1.0
  assert ours == pytest.approx(theirs, rel=1e-6)


def test_every_gradient_is_the_same_to_rounding(steps):
  _, (ours, theirs) = steps
  for name, gradient in theirs.items():
    scale = np.abs(gradient).max()
    assert scale > 0
    np.testing.assert_allclose(
        ours[name], gradient, atol=1e-5 * scale, err_msg=name)
