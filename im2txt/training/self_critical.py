"""Self-critical training: sampled captions, rewarded by their CIDEr-D.

Rennie et al. 2017, https://arxiv.org/abs/1612.00563: REINFORCE with a baseline
from the same model; here the mean reward of the other captions sampled of the
image (Luo 2020, https://arxiv.org/abs/2003.09971), which needs no search.

A thread scores the captions of one batch while those of the next are sampled:
captions are from the weights of one step earlier. (Processes would be no
faster: 50 captions are scored in 5 ms, a small part of a step.)

Shapes: P images of a batch, K captions sampled of each, T length of the longest
of them, B captions trained on.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from absl import logging

from im2txt import configuration
from im2txt.inputs import bad_records, records
from im2txt.inputs import captions as shard_captions
from im2txt.inputs.batch import Batch
from im2txt.inputs.shards import Shards
from im2txt.models.captioner import Captioner
from im2txt.scoring import cider, ptb_tokenizer
from im2txt.search import sampling
from im2txt.search.rules import Rules
from im2txt.text import vocabulary
from im2txt.training.cluster import task as cluster

tf1 = tf.compat.v1

# No word's id: a word of a written caption that the model does not know.
_UNKNOWN = -1

# Captions of each image, as word ids.
Captions = Sequence[Sequence[Sequence[int]]]
# Sampled captions and written ones of each image -> rewards of those sampled.
Score = Callable[[Captions, Captions], list[list[float]]]


class Critic:
  """Rewards of captions: CIDEr-D against the written captions.

  Punctuation is left out, as in COCO's evaluation. Unlike there the end of a
  caption counts as a word; otherwise captions that break off get high rewards.
  The unknown word matches nothing.

  Attributes:
    vocab: of the captions.
  """

  def __init__(
      self,
      vocab: vocabulary.Vocabulary,
      captions_of_images: Captions,
  ):
    """Count in how many training images each n-gram is.

    Args:
      vocab: of the captions.
      captions_of_images: of each image, as word ids with both markers.

    Raises:
      ValueError: there are none.
    """
    self.vocab = vocab
    markers = (vocab.start_id, vocab.end_id)
    self._punctuation = {
        i for i in range(len(vocab)) if i not in markers
        and not ptb_tokenizer.tokenize(vocab.id_to_word(i))}
    self._scorer = cider.CiderD(
        [self.written(caption[1:]) for caption in captions]
        for captions in captions_of_images)

  def written(self, ids: Sequence[int]) -> list[int]:
    """Return the ids of a written caption, without its start, that count."""
    return [_UNKNOWN if i == self.vocab.unk_id else i
            for i in ids if i not in self._punctuation]

  def drawn(self, ids: Sequence[int]) -> list[int]:
    """Return the ids of a sampled caption, padded with ends, that count."""
    end = ids.index(self.vocab.end_id) if self.vocab.end_id in ids else None
    return [i for i in ids[:None if end is None else end + 1]
            if i not in self._punctuation]

  def score(self, drawn: Captions, written: Captions) -> list[list[float]]:
    """Return CIDEr-D of the sampled captions of each image."""
    return [self._scorer.scores(candidates, references)
            for candidates, references in zip(drawn, written, strict=True)]


def make_critic(
    shards: Shards, config: configuration.ModelConfig,
    vocab: vocabulary.Vocabulary,
) -> Critic:
  """Make the critic of the captions of the training shards.

  Args:
    shards: the training shards.
    config: the model.
    vocab: of the captions.

  Raises:
    ValueError: the shards cannot be used, or do not have all captions of an
      image together, for which each is rewarded.
  """
  logging.info('Counting the n-grams of %s', shards.pattern)
  of_images, num_records = shard_captions.read_ids(
      shards, records.caption_feature(shards, config),
      bad_records.left_out(shards, config))
  if num_records > len(of_images):
    raise ValueError(
        f'{shards.pattern}: --self_critical needs all captions of an '
        'image in one record; build the shards with --layout=image, or make '
        'features of them (data_prep.cache_features)')
  return Critic(vocab, of_images)


def phase(config: configuration.Config) -> configuration.Config:
  """Return the configuration that this phase of training uses.

  Perplexity rises in this phase, so another metric chooses the best checkpoint.
  """
  training = config.training
  metric = training.best_metric
  return dataclasses.replace(
      config,
      model=dataclasses.replace(
          config.model, all_captions=True,
          batch_size=training.self_critical_batch_size),
      training=dataclasses.replace(
          training,
          initial_learning_rate=training.self_critical_learning_rate,
          learning_rate_decay='staircase', learning_rate_decay_factor=0.0,
          warmup_steps=0, label_smoothing=0.0, scheduled_sampling=0.0,
          best_metric='CIDEr' if metric == 'perplexity' else metric))


class SelfCritical:
  """The part of the training graph that samples captions and their rewards.

  Attributes:
    batch: the captions to train on: those sampled, and with
      `self_critical_cross_entropy` also the written ones.
    caption_weights: float32 [B], see `losses.sequence_loss`.
    reward: float32 [], mean CIDEr-D of the sampled captions.
  """

  def __init__(
      self,
      captioner: Captioner,
      config: configuration.TrainingConfig,
      source: Batch,
      critic: Critic,
  ):
    """Build the graph.

    Args:
      captioner: the model.
      config: of training, as of `phase`.
      source: images with all their captions.
      critic: gives the rewards.
    """
    # The encoder is frozen and runs once: its encoding is fetched and fed to
    # the training step. Cached features may lack regions.
    encoding = captioner.encode(source.images)
    source = source._replace(images=encoding._replace(**{
        name: tf.stop_gradient(x)
        for name, x in encoding._asdict().items() if x is not None}))
    self._source = source
    self._fed = [x for x in tf.nest.flatten(source) if x is not None]
    self._critic = critic
    num_samples = config.self_critical_samples
    with tf.name_scope('self_critical'):
      decoder, memory = captioner.build_memory(source.images)
      self._sentences = sampling.sample(
          decoder, memory, Rules(critic.vocab),
          sampling.SamplingOptions(num_samples)).sentences
      self._drawn = tf1.placeholder(
          tf.int32, [None, num_samples, None], 'drawn')
      self._rewards = tf1.placeholder(
          tf.float32, [None, num_samples], 'rewards')
      self.reward = tf.reduce_mean(self._rewards)
      # Reward of each caption minus the mean reward of the others.
      advantages = (
          self._rewards - tf.reduce_mean(self._rewards, 1, keepdims=True)
      ) * (num_samples / (num_samples - 1))
      self.batch = self._drawn_batch(num_samples, critic.vocab.end_id)
      self.caption_weights = tf.reshape(advantages, [-1])
      share = config.self_critical_cross_entropy
      if share:
        self.batch, self.caption_weights = self._with_written(share)
    tf1.summary.scalar('self_critical/reward', self.reward)

  def _drawn_batch(self, num_samples: int, end_id: int) -> Batch:
    sentences = tf.reshape(
        self._drawn, tf.stack([-1, tf.shape(self._drawn)[2]]))
    # Captions are padded with the end marker.
    mask = tf.cast(tf.not_equal(sentences[:, :-1], end_id), tf.int32)
    length = tf.reduce_max(tf.reduce_sum(mask, axis=1))
    mask = mask[:, :length]
    num_images = tf.shape(self._drawn)[0]
    return self._source._replace(
        input_seqs=sentences[:, :length] * mask,
        target_seqs=sentences[:, 1:length + 1] * mask, input_mask=mask,
        image_rows=tf.repeat(tf.range(num_images), num_samples))

  def _with_written(self, share: float) -> tuple[Batch, tf.Tensor]:
    """Add the written captions with a share of the loss."""
    length = tf.maximum(*(tf.shape(batch.input_mask)[1]
                          for batch in (self.batch, self._source)))

    def join(drawn, written):
      return tf.concat([
          tf.pad(x, [(0, 0), (0, length - tf.shape(x)[1])])
          for x in (drawn, written)], axis=0)

    batch = self.batch._replace(
        **{name: join(getattr(self.batch, name), getattr(self._source, name))
           for name in ('input_seqs', 'target_seqs', 'input_mask')},
        image_rows=tf.concat(
            [self.batch.image_rows, self._source.image_rows], axis=0))
    # The loss is a mean over all words; each part shall be the mean over its
    # own words (except banned words, which the loss does not count).
    words = tf.cast(tf.reduce_sum(batch.input_mask), tf.float32)
    parts = [words / tf.cast(tf.reduce_sum(x.input_mask), tf.float32)
             for x in (self.batch, self._source)]
    return batch, tf.concat([
        (1.0 - share) * parts[0] * self.caption_weights,
        share * parts[1] * tf.ones_like(
            self._source.image_rows, tf.float32)], axis=0)

  def feeds(
      self, session: tf1.train.MonitoredSession, score: Score
  ) -> Iterator[dict[tf.Tensor, np.ndarray]]:
    """Sample and score captions, one batch ahead of the one that is fed.

    Args:
      session: of training; its hooks are not called for sampling.
      score: of the critic.

    Yields:
      The feed of a training step.
    """
    fetches = (self._fed, self._sentences, self._source.image_rows,
               self._source.target_seqs, self._source.input_mask)

    def run(step_context: tf1.train.MonitoredSession.StepContext) -> list:
      try:
        return step_context.session.run(fetches)
      except cluster.LOST as error:
        # TensorFlow would retry in the session that it has closed.
        raise cluster.LostError(str(error)) from None

    def draw():
      fed, sentences, *written = session.run_step_fn(run)
      return fed, sentences, scoring.submit(
          score,
          [[self._critic.drawn(sentence[1:]) for sentence in of_image]
           for of_image in sentences.tolist()],
          self._written(len(sentences), *written))

    with ThreadPoolExecutor(1) as scoring:
      following = draw()
      while True:
        fed, sentences, scored = following
        following = draw()
        yield dict(zip(
            [*self._fed, self._drawn, self._rewards],
            [*fed, sentences, scored.result()], strict=True))

  def _written(
      self, num_images: int, rows: np.ndarray, targets: np.ndarray,
      mask: np.ndarray,
  ) -> list[list[list[int]]]:
    """Return the written captions of each image of a batch."""
    captions = [[] for _ in range(num_images)]
    for row, ids, of_words in zip(rows, targets, mask, strict=True):
      captions[row].append(self._critic.written(ids[of_words > 0].tolist()))
    return captions
