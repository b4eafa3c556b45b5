"""Perplexity and scores of a run's checkpoints, remembered; the best one kept.

Perplexity = exp(sum of cross-entropies / number of words).
"""

import dataclasses
import json
import os
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tqdm
from absl import logging

from im2txt import configuration
from im2txt.checkpoints import (
  encoder_weights,
  restore,
  trained_model,
  variable_loader,
)
from im2txt.checkpoints import folder as checkpoints
from im2txt.checkpoints.reader import Reader
from im2txt.evaluation.caption_evaluation import CaptionEvaluation
from im2txt.files import atomic_files, file_system, json_files
from im2txt.inputs import bad_records
from im2txt.inputs import pipeline as inputs
from im2txt.inputs import records as shard_records
from im2txt.models.captioner import Captioner, Mode
from im2txt.scoring import metrics
from im2txt.search import beam_search
from im2txt.search.rules import Rules
from im2txt.text import vocabulary

tf1 = tf.compat.v1

METRICS_FILE = 'metrics.jsonl'
# Folders of a run folder.
EVAL_FOLDER = 'eval'
BEST_FOLDER = 'best'
# Of EVAL_FOLDER: there once training shall end early.
STOP_FILE = 'stop'
# Image-caption pairs of im2txt's validation split that it evaluates on.
NUM_EVAL_EXAMPLES = 10132
# Between looks for a new checkpoint of another process.
_FOLLOW_SECS = 5
# What a checkpoint can be the best in.
BEST_METRICS = ('perplexity', *metrics.NAMES)


# Of a Result's fields, as JSON has them; those of others are int.
_KINDS = {'perplexity': int | float, 'input_file_pattern': str,
          'fingerprint': str, 'scores': dict | None,
          'accuracy': int | float | None}


class Result(NamedTuple):
  """A line of `metrics.jsonl`."""

  global_step: int
  perplexity: float
  num_examples: int
  num_words: int
  input_file_pattern: str
  num_eval_examples: int  # as asked for
  fingerprint: str        # of the model's values in the checkpoint
  # See CaptionEvaluation.evaluate; None: nothing was captioned.
  scores: dict[str, Any] | None = None
  # Share of the words that were the most probable ones; None: not counted.
  accuracy: float | None = None

  def merit(self, metric: str) -> float:
    """How good it is in one of BEST_METRICS; the more the better.

    Raises:
      ValueError: that is unknown, as METEOR is where Java failed.
    """
    if metric == 'perplexity':
      return -self.perplexity
    try:
      return float(self.scores['captions'][metric])
    except (LookupError, TypeError, ValueError):
      raise ValueError(f'{metric} of step {self.global_step} is unknown'
                       ) from None

  def check(self) -> None:
    """Raises TypeError where a field is not of its type."""
    for name, value in self._asdict().items():
      kind = _KINDS.get(name, int)
      if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f'{name} is {value!r}')


class Evaluator:
  """The evaluation graph, to be run on any checkpoint of its model."""

  def __init__(
      self,
      config: configuration.ModelConfig,
      num_examples: int,
      captions: CaptionEvaluation | None = None,
  ):
    """Builds the graph.

    Args:
      config: the model; `input_file_pattern` says what to evaluate on.
      num_examples: image-caption pairs to evaluate at the most.
      captions: also captions and scores all images of these shards.
    """
    self.pattern = config.input_file_pattern
    self._config = config
    self._captioner = Captioner(config)
    self.num_examples = num_examples
    self._captions = captions
    self._graph = tf.Graph()
    with self._graph.as_default():
      # Of first values, which no one sees; seeded training asks for one.
      tf1.set_random_seed(0)
      batch = inputs.make_batch(config, training=False)
      outputs = self._captioner.build(Mode.EVAL, batch)
      shape = tf.shape(batch.input_mask)
      self._fetches = [  # Each [B, T].
          tf.reshape(outputs.caption_loss.losses, shape),
          tf.reshape(outputs.caption_loss.weights, shape),
          tf.reshape(outputs.caption_loss.correct, shape)]
      self._variables = tf1.global_variables()
      self._loader = variable_loader.VariableLoader(self._variables)
      self._init = [tf1.local_variables_initializer(),
                    tf1.tables_initializer()]

  def fingerprint(self, prefix: str) -> str:
    """Tells a model from another of its step, however often it is saved.

    A run that is resumed saves its checkpoint once more.

    Raises:
      ValueError: the checkpoint cannot be read.
    """
    reader = Reader(prefix, averaged=True)
    return variable_loader.digest({
        v.op.name: reader.value(v.op.name) for v in self._variables
        if v.op.name in reader.shapes})

  def evaluate(self, prefix: str) -> Result:
    """Evaluates a checkpoint, by the moving averages of weights that have one.

    Raises:
      ValueError: the checkpoint or the data cannot be used.
    """
    values = restore.read_values(prefix, self._variables, averaged=True)
    encoder_weights.check_features(
        self._config, self._captioner.encoder, values)
    total_loss = total_words = total_correct = examples = 0
    with (tf1.Session(graph=self._graph) as session,
          bad_records.explained_errors(self._config),
          tqdm.tqdm(total=self.num_examples, unit='pair', disable=None,
                    desc='Evaluating', leave=False) as bar):
      self._loader.load(session, values)
      session.run(self._init)
      coordinator = tf1.train.Coordinator()
      threads = []
      if self._graph.get_collection(tf1.GraphKeys.QUEUE_RUNNERS):
        threads = tf1.train.start_queue_runners(session, coordinator)
      while examples < self.num_examples:
        try:
          losses, words, correct = session.run(self._fetches)
        except tf.errors.OutOfRangeError:
          break
        wanted = self.num_examples - examples
        losses = losses[:wanted]
        total_loss += np.sum(losses, dtype=np.float64)
        total_words += int(np.sum(words[:wanted]))
        total_correct += int(np.sum(correct[:wanted]))
        examples += len(losses)
        bar.update(len(losses))
      coordinator.request_stop()
      coordinator.join(threads, stop_grace_period_secs=10,
                       ignore_live_threads=True)
    if not total_words:
      raise ValueError(f'the shards {self.pattern} hold no captions')
    step = int(values[tf1.GraphKeys.GLOBAL_STEP])
    with np.errstate(over='ignore'):  # A model gone astray: infinite.
      perplexity = float(np.exp(total_loss / total_words))
    return Result(step, perplexity, examples, total_words, self.pattern,
                  self.num_examples, variable_loader.digest(values),
                  self._captions and self._captions.evaluate(values),
                  total_correct / total_words)

  def knows(self, result: Result) -> bool:
    """Whether an earlier result is what this would find of its model."""
    if (result.input_file_pattern, result.num_eval_examples) != (
        self.pattern, self.num_examples):
      return False
    return (self._captions is None
            or self._captions.is_comparable(result.scores))


def read_results(eval_dir: str) -> list[Result]:
  """Reads what was evaluated before.

  Raises:
    ValueError: a line of `metrics.jsonl` cannot be read.
  """
  path = os.path.join(eval_dir, METRICS_FILE)
  if not file_system.exists(path):
    return []
  results = []
  # Decoded line by line, to name the bad one.
  with file_system.open(path, 'rb') as f:
    for number, line in enumerate(f, 1):
      try:
        results.append(Result(**json_files.parse(line, constants=True)))
        results[-1].check()
      except (TypeError, ValueError) as error:
        raise ValueError(f'{path}:{number}: {error}; remove the line') from None
  return results


def write_result(result: Result, eval_dir: str) -> None:
  """Appends to `metrics.jsonl` and to TensorBoard's events."""
  file_system.makedirs(eval_dir)
  with file_system.open(os.path.join(eval_dir, METRICS_FILE), 'a',
                        encoding='utf-8') as f:
    f.write(json.dumps(result._asdict()) + '\n')
  scalars = {'Perplexity': result.perplexity, 'Accuracy': result.accuracy}
  if result.scores:
    scalars |= result.scores['captions'] | {
        f'Diversity/{name}': value
        for name, value in result.scores['diversity'].items()
        if value is not None}
  with tf.Graph().as_default(), tf1.summary.FileWriter(eval_dir) as writer:
    writer.add_summary(
        tf1.Summary(value=[
            tf1.Summary.Value(tag=tag, simple_value=value)
            for tag, value in scalars.items()]), result.global_step)


def evaluate_new(
    evaluator: Evaluator, prefix: str, eval_dir: str, keep_best: str | None
) -> bool:
  """Evaluates a checkpoint unless that was done before; says the result.

  Args:
    evaluator: of the checkpoint's model.
    prefix: the checkpoint.
    eval_dir: where results are.
    keep_best: one of BEST_METRICS, to copy it to the folder `best` beside it
      if it is better in that than the one there.

  Returns:
    Whether it was evaluated: it may be known, or deleted meanwhile.

  Raises:
    ValueError: the checkpoint or the data cannot be used.
    OSError: the best checkpoint cannot be kept.
  """
  try:
    result, is_new = _result_of(evaluator, prefix, eval_dir)
    if not is_new:
      logging.info('Step %d was evaluated before: perplexity = %.4f%s',
                   result.global_step, result.perplexity,
                   result.scores and f'; {_describe(result.scores)}' or '')
    if keep_best:
      _keep_best(evaluator, prefix, result, eval_dir, keep_best)
  except (ValueError, OSError, tf.errors.NotFoundError):
    if any(map(file_system.exists, (prefix, f'{prefix}.index'))):
      raise
    logging.info('%s was deleted meanwhile', prefix)
    return False
  return is_new


def _result_of(
    evaluator: Evaluator, prefix: str, eval_dir: str
) -> tuple[Result, bool]:
  """A checkpoint's result, and whether it is new."""
  started = time.monotonic()
  fingerprint = evaluator.fingerprint(prefix)
  for known in comparable_results(evaluator, eval_dir):
    if known.fingerprint == fingerprint:
      return known, False
  result = evaluator.evaluate(prefix)
  write_result(result, eval_dir)
  logging.info('Step %d: perplexity = %.4f, accuracy = %.4f over %d pairs, %d '
               'words (%.0f s)', result.global_step, result.perplexity,
               result.accuracy, result.num_examples, result.num_words,
               time.monotonic() - started)
  if result.scores:
    logging.info('%s', _describe(result.scores))
  return result, True


def _describe(scores: dict[str, Any]) -> str:
  figures = ', '.join(
      f'{name} = {value:.4f}' for name, value in scores['captions'].items())
  return (f'{scores["num_images"]} images: {figures}; '
          f'{scores["diversity"]["distinct"]:.1%} of the captions distinct; '
          'constant captions reach ' + ', '.join(
              f'{name} = {constant["scores"][name]:.4f}'
              for name, constant in scores['constants'].items()))


def _keep_best(
    evaluator: Evaluator, prefix: str, result: Result, eval_dir: str,
    metric: str,
) -> None:
  """Makes the folder `best` a run folder with the better checkpoint only."""
  merit = result.merit(metric)
  folder = os.path.dirname(prefix)
  best = os.path.join(folder, BEST_FOLDER)
  kept = checkpoints.newest(best)
  if kept:
    try:
      # On the same data; of another it says nothing.
      rival, _ = _result_of(evaluator, kept, eval_dir)
      if rival.merit(metric) >= merit:
        return
    except ValueError as error:
      logging.info('%s is replaced: %s', kept, error)
  checkpoints.keep_only(prefix, best)
  config, words = (os.path.join(folder, name) for name in (
      configuration.CONFIG_FILE, vocabulary.FILE_NAME))
  if file_system.exists(config):
    atomic_files.copy(config, os.path.join(best, configuration.CONFIG_FILE))
  if file_system.exists(words):
    vocabulary.copy(words, best)
  logging.info('The best so far, kept in %s', best)


def comparable_results(evaluator: Evaluator, eval_dir: str) -> list[Result]:
  """Earlier results on the same data, in the order of their making."""
  return [result for result in read_results(eval_dir)
          if evaluator.knows(result)]


def evaluations_since_best(results: Sequence[Result], metric: str) -> int:
  """How many of the last results were no better in the metric."""
  merits = [result.merit(metric) for result in results]
  return len(merits) - 1 - merits.index(max(merits)) if merits else 0


class TrainingEvaluation:
  """Evaluates a run's newest checkpoint as it trains; keeps the best one."""

  def __init__(
      self,
      config: configuration.Config,
      file_pattern: str,
      vocab_file: str | None,
      train_dir: str,
      train_encoder: bool,
  ):
    """Builds the graph.

    Args:
      config: the system in training. It says what makes a checkpoint the best
        one, and after how many evaluations without a better one to stop,
        counted from here on.
      file_pattern: what to evaluate on.
      vocab_file: the vocabulary; without one there are no scores.
      train_dir: the run folder; results go where evaluate.py puts them.
      train_encoder: whether the encoder's weights are trained too.

    Raises:
      ValueError: the shards or earlier results cannot be used, or what shall
        be the best cannot be known.
    """
    self.config = dataclasses.replace(
        config.model, input_file_pattern=file_pattern)
    if train_encoder and shard_records.find_features(self.config):
      raise ValueError(
          f'{file_pattern} holds features of the encoder as it '
          'was before it is trained; evaluate on shards of images')
    self._metric = config.training.best_metric
    check_metric(self._metric)
    captions = None
    if self._metric != 'perplexity':
      if vocab_file is None:
        raise ValueError(f'best_metric {self._metric} needs the vocabulary; '
                         'give --vocab_file')
      captions = CaptionEvaluation(
          self.config, config.model.input_file_pattern,
          Rules(trained_model.load_vocabulary(
              self.config, train_dir, vocab_file)), beam_search.Options())
    self._train_dir = train_dir
    self._eval_dir = os.path.join(train_dir, EVAL_FOLDER)
    self._patience = config.training.early_stopping_patience
    self._evaluator = Evaluator(self.config, NUM_EVAL_EXAMPLES, captions)
    self._before = len(comparable_results(self._evaluator, self._eval_dir))

  def run(self) -> bool:
    """Evaluates the newest checkpoint; returns whether training shall end."""
    evaluate_new(self._evaluator, checkpoints.newest(self._train_dir),
                 self._eval_dir, self._metric)
    since_best = evaluations_since_best(comparable_results(
        self._evaluator, self._eval_dir)[self._before:], self._metric)
    if not self._patience or since_best < self._patience:
      return False
    logging.info('Stopping early: %d evaluations without a better %s; '
                 'the best checkpoint is in %s', since_best, self._metric,
                 os.path.join(self._train_dir, BEST_FOLDER))
    return True

  def follow(self, last_step: int, interrupted: threading.Event) -> None:
    """Evaluates the checkpoints of another process, until training ends.

    Args:
      last_step: where training ends, unless it ends early, which the other
        process is told by a file.
      interrupted: ends it, too.
    """
    told = _stop_file(self._train_dir)
    if file_system.exists(told):  # Of a run that now goes on.
      file_system.remove(told)
    last = None
    while not interrupted.wait(_FOLLOW_SECS):
      newest = checkpoints.newest(self._train_dir)
      step = checkpoints.step_of(newest) if newest else 0
      if step and newest != last:
        if self.run():
          atomic_files.write_bytes(told, b'')
          return
        if step >= last_step:
          return
        last = newest


class EvaluationElsewhere:
  """What another process of the cluster evaluates, which alone counts."""

  config = None  # Of what is evaluated here.

  def __init__(self, train_dir: str):
    """Notes the run folder."""
    self._told = _stop_file(train_dir)

  def run(self) -> bool:
    """Returns whether training shall end; once, of what it was told."""
    if not file_system.exists(self._told):
      return False
    file_system.remove(self._told)
    logging.info('Stopping early, as the evaluator says')
    return True


def _stop_file(train_dir: str) -> str:
  return os.path.join(train_dir, EVAL_FOLDER, STOP_FILE)


def check_metric(metric: str) -> None:
  """Refuses to look for the best in what will not be known.

  Raises:
    ValueError: it is none of BEST_METRICS, or cannot be computed here.
  """
  if metric not in BEST_METRICS:
    raise ValueError(f'best_metric is {metric!r}; it must be one of '
                     f'{", ".join(BEST_METRICS)}')
  if metric != 'perplexity':
    metrics.check_available(metric)
