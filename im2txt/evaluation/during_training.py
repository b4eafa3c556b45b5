"""Evaluation of a run while it trains, in its own process or in another."""

import os
import threading

from absl import logging

from im2txt import configuration
from im2txt.checkpoints import folder as checkpoints
from im2txt.checkpoints import trained_model
from im2txt.evaluation import best_checkpoint, checkpoint_watcher, metrics_file
from im2txt.evaluation.caption_evaluation import CaptionEvaluation
from im2txt.evaluation.evaluator import NUM_EVAL_EXAMPLES, Evaluator
from im2txt.files import atomic_files, file_system
from im2txt.inputs.shards import Shards
from im2txt.models.captioner import Captioner
from im2txt.search import beam_search
from im2txt.search.rules import Rules

# File of EVAL_FOLDER by which an evaluator tells training to end early.
STOP_FILE = 'stop'
# Between two looks for a new checkpoint of another process.
_FOLLOW_SECS = 5


class TrainingEvaluation:
  """Evaluate a run's newest checkpoint as it trains; keep the best one.

  Attributes:
    shards: the evaluation shards.
  """

  def __init__(
      self,
      captioner: Captioner,
      config: configuration.TrainingConfig,
      training_shards: Shards,
      shards: Shards,
      vocab_file: str | None,
      train_dir: str,
      train_encoder: bool,
  ):
    """Build the graph.

    Args:
      captioner: the model in training.
      config: says what makes a checkpoint the best one, and after how many
        evaluations without a better one to stop, counted from here on.
      training_shards: what the model trains on.
      shards: the evaluation shards.
      vocab_file: the vocabulary; without one there are no scores.
      train_dir: the run folder; results go where evaluate.py puts them.
      train_encoder: whether the encoder's weights are trained too.

    Raises:
      ValueError: the shards or earlier results cannot be used, or the best
        metric cannot be computed.
    """
    self.shards = shards
    if train_encoder and shards.features_for(captioner.config):
      raise ValueError(
          f'{shards.pattern} holds features of the encoder as it '
          'was before it is trained; evaluate on shards of images')
    self._metric = config.best_metric
    metrics_file.check_metric(self._metric)
    captions = None
    if self._metric != 'perplexity':
      if vocab_file is None:
        raise ValueError(f'best_metric {self._metric} needs the vocabulary; '
                         'give --vocab_file')
      captions = CaptionEvaluation(
          captioner, shards, training_shards,
          Rules(trained_model.load_vocabulary(
              captioner.config, train_dir, vocab_file)), beam_search.Options())
    self._train_dir = train_dir
    self._eval_dir = os.path.join(train_dir, metrics_file.EVAL_FOLDER)
    self._patience = config.early_stopping_patience
    self._evaluator = Evaluator(
        captioner, shards, NUM_EVAL_EXAMPLES, captions)
    self._num_earlier = len(best_checkpoint.comparable_results(
        self._evaluator, self._eval_dir))

  def run(self) -> bool:
    """Evaluate the newest checkpoint; return whether training shall end."""
    best_checkpoint.evaluate_new(
        self._evaluator, checkpoints.newest(self._train_dir), self._eval_dir,
        self._metric)
    results = best_checkpoint.comparable_results(
        self._evaluator, self._eval_dir)[self._num_earlier:]
    since_best = best_checkpoint.evaluations_since_best(results, self._metric)
    if not self._patience or since_best < self._patience:
      return False
    logging.info('Stopping early: %d evaluations without a better %s; '
                 'the best checkpoint is in %s', since_best, self._metric,
                 os.path.join(self._train_dir, best_checkpoint.BEST_FOLDER))
    return True

  def follow(self, last_step: int, interrupted: threading.Event) -> None:
    """Evaluate the checkpoints of another process until training ends.

    Where training shall end early, a file tells the other process so.

    Args:
      last_step: step at which training ends.
      interrupted: ends it, too.
    """
    stop_file = _stop_file(self._train_dir)
    if file_system.exists(stop_file):  # Of a run that now goes on.
      file_system.remove(stop_file)
    for prefix in checkpoint_watcher.watch(
        self._train_dir, _FOLLOW_SECS, interrupted):
      step = checkpoints.step_of(prefix)
      if step and self.run():
        atomic_files.write_bytes(stop_file, b'')
        return
      if step >= last_step:
        return


class EvaluationElsewhere:
  """In the process that trains: the evaluator is another one of the cluster.

  Attributes:
    shards: None: nothing is evaluated here.
  """

  shards = None

  def __init__(self, train_dir: str):
    """Set the run folder, in which the evaluator leaves its file."""
    self._stop_file = _stop_file(train_dir)

  def run(self) -> bool:
    """Return whether the evaluator wants training to end; True only once."""
    if not file_system.exists(self._stop_file):
      return False
    file_system.remove(self._stop_file)
    logging.info('Stopping early, as the evaluator says')
    return True


def _stop_file(train_dir: str) -> str:
  return os.path.join(train_dir, metrics_file.EVAL_FOLDER, STOP_FILE)
