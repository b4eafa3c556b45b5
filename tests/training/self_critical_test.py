"""Self-critical training: what counts of captions, the gradient, the order.

Shapes: P images, K captions drawn of each, T longest, V vocabulary.
"""

import contextlib
import queue
from typing import NamedTuple

import fresh_session
import numpy as np
import pytest
import tensorflow as tf
from attending import HEIGHT, WIDTH, Attending, AttendingConfig, C, Cells

from im2txt import configuration
from im2txt.decoders import (
  DECODERS,
  CnnLstmConfig,
  ShowAttendTellConfig,
  TransformerConfig,
)
from im2txt.encoders import ENCODERS, Encoding
from im2txt.inputs import pipeline
from im2txt.inputs.batch import Batch
from im2txt.models.captioner import Captioner, Mode, Outputs
from im2txt.text import vocabulary
from im2txt.training import optimization, self_critical

tf1 = tf.compat.v1

P, K = 3, 4
WORDS = ('<S>', '</S>', 'a', 'dog', '.', 'cat', "'s", 'red', ',')
START, END, A, DOG, STOP, CAT, S, RED, COMMA = range(9)
UNKNOWN = 9
V = 10
SMALL = {
    'encoder': 'cells', 'image_height': HEIGHT, 'image_width': WIDTH,
    'vocab_size': V, 'embedding_size': 9, 'num_lstm_units': 13}
CONFIGS = [
    configuration.ModelConfig(decoder='show_and_tell', **SMALL),
    configuration.ModelConfig(decoder='merge', **SMALL),
    CnnLstmConfig(decoder='cnn_lstm', **SMALL),
    ShowAttendTellConfig(decoder='show_attend_tell', **SMALL),
    TransformerConfig(decoder='transformer', num_heads=3, **SMALL),
    AttendingConfig(decoder='attending', **SMALL),
]


@pytest.fixture(scope='module', autouse=True)
def tables():
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(ENCODERS, 'cells', Cells)
    patch.setitem(DECODERS, 'attending', Attending)
    yield


@pytest.fixture(scope='module')
def vocab(tmp_path_factory):
  path = tmp_path_factory.mktemp('vocabulary') / 'word_counts.txt'
  path.write_text(''.join(f'{word} {9 - i}\n' for i, word in enumerate(WORDS)))
  return vocabulary.Vocabulary(str(path), '<S>', '</S>', '<UNK>')


CAPTIONS = [
    [[START, A, DOG, STOP, END], [START, A, RED, DOG, END]],
    [[START, A, CAT, END]],
    [[START, A, RED, UNKNOWN, COMMA, END], [START, RED, CAT, END]]]


@pytest.fixture(scope='module')
def critic(vocab):
  return self_critical.Critic(vocab, CAPTIONS)


# What captions are worth.


def test_what_counts_of_captions(critic):
  assert critic.written([A, DOG, S, COMMA, RED, STOP, END]) == [
      A, DOG, S, RED, END]
  assert critic.drawn([A, DOG, STOP, END, END, END]) == [A, DOG, END]
  # Without its end, where there was no room for it.
  assert critic.drawn([A, STOP, DOG]) == [A, DOG]
  # The start is no word of theirs, and so a mistake.
  assert critic.drawn([A, START, DOG, END]) == [A, START, DOG, END]


def test_the_unknown_word_matches_nothing(critic):
  assert critic.written([UNKNOWN, END]) == [-1, END]
  assert critic.drawn([UNKNOWN, END]) == [UNKNOWN, END]


def test_captions_that_break_off_are_worth_less(critic):
  [[whole, broken], [nothing]] = critic.score(
      [[[A, CAT, END], [A, CAT]], [[DOG, END]]],
      [[[A, CAT, END]], [[A, CAT, END]]])
  assert whole > broken > nothing == 0.0


# The training graph.


class Arrays(NamedTuple):
  """People's captions of P images."""

  images: np.ndarray
  input_seqs: np.ndarray
  target_seqs: np.ndarray
  input_mask: np.ndarray
  image_rows: np.ndarray


def arrays():
  flat = [caption for captions in CAPTIONS for caption in captions]
  longest = max(map(len, flat))
  padded = np.array([ids + (longest - len(ids)) * [0] for ids in flat])
  mask = (np.arange(longest - 1) < np.array(
      [[len(ids) - 1] for ids in flat])).astype(int)
  cells = np.random.default_rng(1).uniform(-1.0, 1.0, (P, 3, 5, 3))
  return Arrays(
      np.kron(cells, np.ones((1, 5, 5, 1))).astype(np.float32),
      padded[:, :-1] * mask, padded[:, 1:] * mask, mask,
      np.array([0, 0, 1, 2, 2]))


class FakeSession:
  """As a MonitoredSession runs a step without hooks."""

  def __init__(self, session, feeds=None):
    self.session = session
    self._feeds = feeds

  def run_step_fn(self, step_fn):
    plain = self.session

    class Context:
      """What a step is given."""

      class session:
        """Always with the same batch."""

        run = staticmethod(lambda fetches: plain.run(fetches, self._feeds))

    return step_fn(Context)


class Built(NamedTuple):
  """The graph of this phase; the images' own batch is fed."""

  graph: tf.Graph
  source: Batch
  critical: self_critical.SelfCritical
  outputs: Outputs
  train_op: tf.Operation

  @contextlib.contextmanager
  def session(self):
    with self.graph.as_default(), fresh_session.make() as session:
      session.run(tf1.global_variables_initializer())
      yield session, FakeSession(
          session, dict(zip(self.source, arrays(), strict=True)))


def build(model, critic, **training):
  config = configuration.Config(
      model=model, training=configuration.TrainingConfig(
          self_critical_samples=K, optimizer='Adam', **training))
  with tf.Graph().as_default() as graph:
    tf1.set_random_seed(1)
    source = pipeline.make_batch(None, config.model, training=True)
    captioner = Captioner(config.model)
    critical = self_critical.SelfCritical(
        captioner, config.training, source, critic)
    outputs = captioner.build(
        Mode.EVAL, critical.batch, caption_weights=critical.caption_weights)
    train_op, _ = optimization.train_op(
        config.training, outputs.total_loss, tf.constant(0.03))
  return Built(graph, source, critical, outputs, train_op)


def score_by(reward):
  """As `Critic.score`, of a function of a caption's words."""
  return lambda drawn, written: [
      [float(reward(words)) for words in captions] for captions in drawn]


def test_the_batch_is_what_was_drawn(critic):
  built = build(CONFIGS[0], critic)
  seen = []

  def score(drawn, written):
    seen.append((drawn, written))
    return score_by(len)(drawn, written)

  with built.session() as (session, monitored):
    feeds = next(built.critical.feeds(monitored, score))
    batch, weights, reward = session.run(
        [built.critical.batch, built.critical.caption_weights,
         built.critical.reward], feeds)
  drawn, written = seen[0]
  assert [len(captions) for captions in drawn] == P * [K]
  assert written == [
      [[A, DOG, END], [A, RED, DOG, END]], [[A, CAT, END]],
      [[A, RED, -1, END], [RED, CAT, END]]]
  assert batch.image_rows.tolist() == np.repeat(range(P), K).tolist()
  # Punctuation does not count, but is trained on.
  assert [critic.drawn(targets[mask == 1].tolist())
          for targets, mask in zip(
              batch.target_seqs, batch.input_mask, strict=True)] == [
      words for captions in drawn for words in captions]
  assert batch.input_mask[:, 0].all() and batch.input_mask.any(0).all()
  assert (batch.input_seqs[:, 0] == START).all()
  np.testing.assert_array_equal(
      (batch.input_seqs[:, 1:] - batch.target_seqs[:, :-1])
      * batch.input_mask[:, 1:], 0)
  lengths = np.array([[len(words) for words in captions]
                      for captions in drawn], np.float64)
  others = (lengths.sum(1, keepdims=True) - lengths) / (K - 1)
  np.testing.assert_allclose(
      weights.reshape(P, K), lengths - others, atol=1e-5)
  assert np.ptp(weights) > 0.0
  assert reward == pytest.approx(lengths.mean())


def test_a_step_learns_from_the_batch_before_the_one_just_drawn(critic):
  built = build(CONFIGS[0], critic)
  # Scores are computed in a thread, which may be late.
  submitted = queue.Queue()

  def score(drawn, written):
    submitted.put(drawn)
    return score_by(len)(drawn, written)

  with built.session() as (session, monitored):
    feeds = built.critical.feeds(monitored, score)
    for _ in range(3):
      batch = session.run(built.critical.batch, next(feeds))
      before = submitted.get(timeout=60)
      assert [critic.drawn(targets[mask == 1].tolist())
              for targets, mask in zip(
                  batch.target_seqs, batch.input_mask, strict=True)] == [
          words for captions in before for words in captions]
    # The batch just drawn.
    submitted.get(timeout=60)
    assert submitted.empty()


def test_people_may_keep_a_share_of_the_loss(critic):
  model = configuration.ModelConfig(
      decoder='show_and_tell', decoder_dropout_keep_prob=1.0, **SMALL)
  share = 0.3
  built = build(model, critic, self_critical_cross_entropy=share)
  with built.graph.as_default():
    plain = Captioner(model).build(Mode.TRAIN, built.source)
    drawn = built.critical.batch._replace(**{
        name: getattr(built.critical.batch, name)[:P * K]
        for name in ('input_seqs', 'target_seqs', 'input_mask', 'image_rows')})
    weights = built.critical.caption_weights[:P * K]
    critical = Captioner(model).build(
        Mode.TRAIN, drawn, caption_weights=weights)
  with built.session() as (session, monitored):
    feeds = next(built.critical.feeds(monitored, score_by(len)))
    total, of_people, of_drawn, number, weighed, mask = session.run(
        [built.outputs.total_loss, plain.total_loss, critical.total_loss,
         tf.reduce_sum(drawn.input_mask), weights,
         built.critical.batch.input_mask],
        feeds | {built.source.images: arrays().images})
  # The weights of the captions drawn have their share already, for a mean
  # over all words.
  assert total == pytest.approx(
      share * of_people + of_drawn * number / mask.sum(), rel=1e-4)
  assert len(mask) == P * K + 5
  advantages = weighed / (1.0 - share) * number / mask.sum()
  assert abs(advantages.reshape(P, K).sum(1)).max() < 1e-4


@pytest.mark.parametrize('model', CONFIGS, ids=lambda c: c.decoder)
def test_every_decoder_learns_what_is_rewarded(model, critic):
  built = build(model, critic)
  score = score_by(lambda words: DOG in words and CAT not in words)
  found = []
  with built.session() as (session, monitored):
    feeds = built.critical.feeds(monitored, score)
    for _ in range(60):
      reward, _ = session.run(
          [built.critical.reward, built.train_op], next(feeds))
      found.append(reward)
  assert np.mean(found[:10]) < 0.6
  assert np.mean(found[-10:]) > 0.9


def test_features_without_regions_can_be_fed(critic):
  model = configuration.ModelConfig(decoder='show_and_tell', **SMALL)
  with tf.Graph().as_default(), fresh_session.make() as session:
    source = Batch(
        Encoding(tf.random.uniform([P, C]), None),
        *map(tf.constant, arrays()[1:]))
    critical = self_critical.SelfCritical(
        Captioner(model), configuration.TrainingConfig(), source, critic)
    session.run(tf1.global_variables_initializer())
    feeds = next(critical.feeds(FakeSession(session), score_by(len)))
    fed = session.run(critical.batch.images.pooled, feeds)
    assert fed.shape == (P, C)
    # What was drawn of these features, not of others.
    np.testing.assert_array_equal(
        fed, session.run(critical.batch.images.pooled, feeds))


def test_this_phase_reads_its_own_numbers():
  config = configuration.Config(
      model=configuration.ModelConfig(batch_size=64),
      training=configuration.TrainingConfig(
          self_critical_learning_rate=0.25, self_critical_batch_size=7,
          learning_rate_decay='cosine', warmup_steps=9, label_smoothing=0.1,
          scheduled_sampling=0.2))
  phase = self_critical.phase(config)
  assert phase.model.batch_size == 7 and phase.model.all_captions
  assert not phase.training.label_smoothing
  assert not phase.training.scheduled_sampling
  assert config.model.batch_size == 64
  with tf.Graph().as_default(), fresh_session.make() as session:
    for step in (0, 10**6):
      assert session.run(optimization.learning_rate(
          phase.training, 7, False, tf.constant(step, tf.int64))) == 0.25


def test_the_best_is_not_that_of_perplexity():
  for metric, expected in (('perplexity', 'CIDEr'), ('Bleu_4', 'Bleu_4')):
    phase = self_critical.phase(configuration.Config(
        training=configuration.TrainingConfig(best_metric=metric)))
    assert phase.training.best_metric == expected


def test_images_are_encoded_once(critic):
  built = build(CONFIGS[0], critic)
  assert isinstance(built.critical.batch.images, Encoding)
  with built.session() as (session, monitored):
    feeds = next(built.critical.feeds(monitored, score_by(len)))
    # The pixels are not needed any more: nothing feeds them.
    assert np.isfinite(session.run(built.outputs.total_loss, feeds))
