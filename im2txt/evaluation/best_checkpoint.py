"""Evaluate a checkpoint once, and keep a copy of the best one."""

import os
import time
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from im2txt import configuration
from im2txt.checkpoints import folder as checkpoints
from im2txt.evaluation.evaluator import Evaluator
from im2txt.evaluation.metrics_file import Result, read_results, write_result
from im2txt.files import atomic_files, file_system
from im2txt.text import vocabulary

# Folder of a run folder; it is a run folder itself.
BEST_FOLDER = 'best'


def evaluate_new(
    evaluator: Evaluator, prefix: str, eval_dir: str, keep_best: str | None
) -> bool:
  """Evaluate a checkpoint unless that was done before, and log the result.

  Args:
    evaluator: of the checkpoint's model.
    prefix: the checkpoint.
    eval_dir: folder of the results.
    keep_best: one of BEST_METRICS: copy the checkpoint to the folder `best`
      beside it if it is better in that than the one there.

  Returns:
    Whether it was evaluated now: the result may be known, or the checkpoint
    deleted meanwhile.

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
  """Return a checkpoint's result, and whether it is new."""
  started = time.monotonic()
  fingerprint = evaluator.fingerprint(prefix)
  for known in comparable_results(evaluator, eval_dir):
    if known.fingerprint == fingerprint:
      return known, False
  result = evaluator.evaluate(prefix)
  write_result(result, eval_dir)
  logging.info('Step %d: perplexity = %.4f, accuracy = %.4f over %d pairs, %d '
               'words%s (%.0f s)', result.global_step, result.perplexity,
               result.accuracy, result.num_examples, result.num_words,
               '' if result.unknown is None else
               f', {result.unknown:.1%} of them unknown ones',
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
  """Copy a checkpoint to the folder `best` if it beats the one there."""
  merit = result.merit(metric)
  folder = os.path.dirname(prefix)
  best = os.path.join(folder, BEST_FOLDER)
  kept = checkpoints.newest(best)
  if kept:
    try:
      # Its known result may be of other data, which is not comparable.
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
  """Return earlier results on the same data, in the order they were made."""
  return [result for result in read_results(eval_dir)
          if evaluator.is_comparable(result)]


def evaluations_since_best(results: Sequence[Result], metric: str) -> int:
  """Return how many results came after the best one in a metric."""
  merits = [result.merit(metric) for result in results]
  return len(merits) - 1 - merits.index(max(merits)) if merits else 0
