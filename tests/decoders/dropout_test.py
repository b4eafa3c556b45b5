"""Where each decoder drops values in training, and that it scales the rest.

Shapes: B images, T words, E embedding, H hidden, L regions, C channels.
"""

import collections

import numpy as np
import pytest
import tensorflow as tf

from im2txt import configuration
from im2txt.decoders import (
    DECODERS,
    CnnLstmConfig,
    ShowAttendTellConfig,
    TransformerConfig,
)
from im2txt.encoders import Encoding
from im2txt.layers import core
from im2txt.models import captioner

B, T, E, H, L, C, FEED_FORWARD, HEADS = 2, 5, 12, 13, 7, 17, 19, 3
SMALL = {'vocab_size': 29, 'embedding_size': E, 'num_lstm_units': H,
         'decoder_dropout_keep_prob': 0.5}
IMAGE, WORDS, SAID = (B, E), (B, T, E), (B, T, H)
CASES = [
    (configuration.ModelConfig(decoder='show_and_tell', **SMALL),
     [IMAGE, WORDS, SAID]),
    (configuration.ModelConfig(decoder='merge', **SMALL), [(B, C), WORDS]),
    # The image on its way through both layers, then the words.
    (CnnLstmConfig(decoder='cnn_lstm', num_lstm_layers=2, **SMALL),
     [IMAGE, (B, H), (B, H), WORDS, SAID, SAID]),
    (ShowAttendTellConfig(decoder='show_attend_tell', **SMALL),
     [(B, L, E), WORDS, (B * T, H)]),
    (TransformerConfig(
        decoder='transformer', num_layers=2, num_heads=HEADS,
        feed_forward_size=FEED_FORWARD, **SMALL),
     2 * [(B, HEADS, T, T), (B, HEADS, T, L), WORDS]),
]


def test_every_decoder_is_tested():
  assert [config.decoder for config, _ in CASES] == list(DECODERS)


@pytest.mark.parametrize('config, expected', CASES, ids=lambda x: (
    x.decoder if isinstance(x, configuration.ModelConfig) else ''))
def test_what_is_dropped(config, expected, monkeypatch):
  dropped = []

  def dropout(x, keep_prob):
    assert keep_prob == 0.5
    dropped.append(x)
    return x

  monkeypatch.setattr(core, 'dropout', dropout)
  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    decoder = captioner.make_decoder(config, training=True)
    memory = decoder.prepare(Encoding(
        tf.ones([B, C]), tf.ones([B, L, C])))
    hidden = decoder.unroll(
        memory, tf.ones([B, T], tf.int32), tf.ones([B, T], tf.int32))
    decoder.logits(tf.reshape(hidden, [B * T, hidden.shape[-1]]))
    session.run(tf.compat.v1.global_variables_initializer())
    shapes = [x.shape for x in session.run(dropped)]
  assert collections.Counter(shapes) == collections.Counter(expected)


def test_what_is_kept_is_scaled_up():
  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    values = session.run(core.dropout(tf.ones([9999]), 0.8))
  assert set(np.unique(values)) == {np.float32(0.0), np.float32(1.25)}
  assert abs((values == 0.0).mean() - 0.2) < 0.03
