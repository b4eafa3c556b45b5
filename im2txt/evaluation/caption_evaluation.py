"""Captioning of the images of evaluation shards, and scores of the captions."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm
from absl import logging

from im2txt.checkpoints import encoder_weights, variable_loader
from im2txt.inference import consensus
from im2txt.inputs import bad_records, pipeline
from im2txt.inputs import captions as shard_captions
from im2txt.inputs.batch import Encoding
from im2txt.inputs.shards import Shards
from im2txt.models.captioner import Captioner
from im2txt.scoring import metrics
from im2txt.search import beam_search
from im2txt.search.rules import Rules

tf1 = tf.compat.v1


class CaptionEvaluation:
  """The captioning graph and the references, for any checkpoint of a model."""

  def __init__(
      self,
      captioner: Captioner,
      shards: Shards,
      training_shards: Shards | None,
      rules: Rules,
      options: beam_search.Options,
      consensus_shards: Shards | None = None,
  ):
    """Read the references and build the graph.

    Args:
      captioner: the model.
      shards: the evaluation shards.
      training_shards: the training shards; if they are None or cannot be read
        any more, no caption counts as novel and constant captions come from
        the references.
      rules: what a caption may be, and its vocabulary.
      options: how to search; the best caption of each image is scored.
      consensus_shards: the shards by whose images the best caption is
        chosen, see `consensus.read`; None: the search chooses it.

    Raises:
      ValueError: the shards cannot be used, or pycocoevalcap is missing, or
        the consensus shards hold evaluation images.
    """
    metrics.check_available()
    config = captioner.config
    self._captioner = captioner
    self._vocab = rules.vocab
    self._shards = shards
    found = shard_captions.read(shards, bad_records.left_out(shards, config))
    self._num_images = len(found.of_images)
    training = training_shards and _read(training_shards)
    self._scorer = metrics.Scorer(dict(enumerate(found.of_images)), training)
    # 'pictures', as in the metrics.jsonl of earlier evaluations.
    settings = _settings(options, rules) | {
        'pictures': digest_of_images(found),
        'training_captions': training and _digest(training)}
    self._consensus_shards = consensus_shards
    self._consensus = None
    if consensus_shards:
      images = shard_captions.read(
          consensus_shards, bad_records.left_out(consensus_shards, config))
      _check_differ(found, images, consensus_shards.pattern)
      self._consensus = consensus.read(consensus_shards, config, images)
      settings['consensus'] = digest_of_images(images)
    # Compared with settings that were read from JSON.
    self._settings = json.loads(json.dumps(settings))
    self._graph = tf.Graph()
    with self._graph.as_default():
      # Deterministic training demands a seed; the initial values are not used.
      tf1.set_random_seed(0)
      images = pipeline.make_images(shards, config, found.first)
      self._fetches = self._search(images, rules, options)
      self._loader = variable_loader.VariableLoader(tf1.global_variables())
      self._init = tf1.tables_initializer()

  def _search(
      self, images: tf.Tensor | Encoding, rules: Rules,
      options: beam_search.Options,
  ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Build the search: pooled features, sentences and log probabilities."""
    decoder, memory, features = self._captioner.connect(images)
    captions = beam_search.beam_search(
        decoder, memory, rules, dataclasses.replace(
            options, num_captions=None if self._consensus else 1))
    return features, captions.sentences, captions.log_probabilities

  @property
  def names(self) -> tuple[str, ...]:
    """Return the names of the scores; METEOR needs Java."""
    return self._scorer.names

  def is_comparable(self, scores: Mapping[str, Any] | None) -> bool:
    """Return whether earlier scores have the same settings and all names."""
    return (bool(scores) and scores.get('settings') == self._settings
            and set(self.names) <= set(scores.get('captions', ())))

  def evaluate(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Caption all images and score the captions.

    Args:
      values: of the model's variables, by name.

    Returns:
      `metrics.Evaluation.summary` and the `settings` of the search.

    Raises:
      ValueError: the data cannot be used, or is of another encoder.
    """
    for shards in filter(None, (self._shards, self._consensus_shards)):
      encoder_weights.check_features(
          self._captioner.config, self._captioner.encoder, shards, values)
    captions = []
    logging.info('captioning %d images and scoring the captions',
                 self._num_images)
    with (tf1.Session(graph=self._graph) as session,
          bad_records.explained_errors(
              self._shards, self._captioner.config),
          tqdm.tqdm(total=self._num_images, unit='image', disable=None,
                    desc='Captioning', leave=False) as bar):
      self._loader.load(session, values)
      session.run(self._init)
      while len(captions) < self._num_images:
        found = session.run(self._fetches)
        captions += map(self._best, *found)
        bar.update(len(found[0]))
    evaluation = self._scorer.evaluate(dict(enumerate(captions)))
    return evaluation.summary() | {'settings': self._settings}

  def _best(
      self, features: np.ndarray, sentences: np.ndarray,
      log_probabilities: np.ndarray,
  ) -> str:
    """Return the best caption of an image; '' if none was found."""
    found = np.isfinite(log_probabilities)
    captions = list(map(self._vocab.to_sentence, sentences[found]))
    if self._consensus:
      order = self._consensus.rank(
          features, captions, log_probabilities[found])
      captions = [captions[i] for i in order]
    return captions[0] if captions else ''


def _settings(options: beam_search.Options, rules: Rules) -> dict[str, Any]:
  """Return what the captions of a model depend on besides its values."""
  settings = dataclasses.asdict(options) | {
      field.name: getattr(rules, field.name)
      for field in dataclasses.fields(rules) if field.name != 'vocab'}
  settings['vocabulary'] = _digest(
      map(rules.vocab.id_to_word, range(len(rules.vocab))))
  return settings


def digest_of_images(found: shard_captions.ShardCaptions) -> str:
  """Return a digest of the images' ids and references.

  It depends neither on the layout of the shards nor on the caption style.
  """
  return _digest(sorted(
      ' '.join([str(image_id), *sorted(map(_letters, references))])
      for image_id, references in zip(
          found.image_ids, found.of_images, strict=True)))


def _check_differ(
    found: shard_captions.ShardCaptions, images: shard_captions.ShardCaptions,
    pattern: str,
) -> None:
  """Refuse to choose captions by images that are evaluated.

  An image is the same if its id and one of its captions are: two data sets may
  share ids alone, or captions alone.
  """
  known = set(_captions_with_ids(found))
  shared = {image_id for image_id, caption in _captions_with_ids(images)
            if (image_id, caption) in known}
  if shared:
    raise ValueError(f'{pattern} has {len(shared)} of the images that are to '
                     'be evaluated; choose by those of training')


def _captions_with_ids(
    found: shard_captions.ShardCaptions
) -> Iterator[tuple[int, str]]:
  for image_id, captions in zip(found.image_ids, found.of_images, strict=True):
    yield from ((image_id, _letters(caption)) for caption in captions)


def _letters(caption: str) -> str:
  # The part of a caption that tokenizing never changes. The scorer's words are
  # no such part: its tokenizer reads `D.C.` and nltk's `d.c .` differently.
  return ''.join(filter(str.isalnum, caption.lower()))


def find_training_shards(pattern: str) -> Shards | None:
  """Find the shards that a model was trained on, if they are still there."""
  try:
    return Shards.find(pattern)
  except ValueError as error:
    _explain_missing(error)
    return None


def _read(training_shards: Shards) -> list[str] | None:
  try:
    return shard_captions.read(training_shards).everything()
  except ValueError as error:
    _explain_missing(error)
    return None


def _explain_missing(error: ValueError) -> None:
  logging.info('Without the captions of training it is unknown which are '
               'new, and constant captions are chosen from the references: '
               '%s; give --train_file_pattern', error)


def _digest(texts: Iterable[str]) -> str:
  """Return a digest of texts, 16 hexadecimal digits."""
  return hashlib.sha256('\n'.join(texts).encode(
      errors='surrogateescape')).hexdigest()[:16]
