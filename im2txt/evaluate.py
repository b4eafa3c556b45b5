r"""Measures the perplexity of a run's checkpoints as they appear.

  python -m im2txt.evaluate --checkpoint_dir=runs/coco \
    --eval_dir=runs/coco/eval --input_file_pattern='coco/val-?????-of-00004'

Perplexity = exp(sum of cross-entropies / number of words). It goes to the
log, to TensorBoard and to `metrics.jsonl` in --eval_dir, from where a later
run knows what has been evaluated. Once and no more: add --run_once.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tqdm
from absl import flags, logging

from im2txt import (
    captioner,
    checkpoints,
    command_line,
    configuration,
    inputs,
)

tf1 = tf.compat.v1

METRICS_FILE = 'metrics.jsonl'

_INPUT_FILE_PATTERN = flags.DEFINE_string(
    'input_file_pattern', None, 'Comma-separated patterns of evaluation '
    "shards; for example 'shards/val-?????-of-00004'.", required=True)
_CHECKPOINT_DIR = flags.DEFINE_string(
    'checkpoint_dir', None, 'The run folder that train.py writes.',
    required=True)
_EVAL_DIR = flags.DEFINE_string(
    'eval_dir', None, 'Where results go. Default: CHECKPOINT_DIR/eval.')
_EVAL_INTERVAL_SECS = flags.DEFINE_integer(
    'eval_interval_secs', 600, 'Seconds between looks for a new checkpoint.',
    lower_bound=0)
_NUM_EVAL_EXAMPLES = flags.DEFINE_integer(
    'num_eval_examples', 10132, 'Image-caption pairs to evaluate; all of the '
    'shards if they have fewer.', lower_bound=1)
_MIN_GLOBAL_STEP = flags.DEFINE_integer(
    'min_global_step', 0, 'Checkpoints of earlier steps are left out.')
_MAX_EVALS = flags.DEFINE_integer(
    'max_evals', 0, 'Stop after so many new checkpoints; 0: never.')
_RUN_ONCE = flags.DEFINE_bool(
    'run_once', False, 'Evaluate the newest checkpoint and stop.')


class Result(NamedTuple):
  """A line of `metrics.jsonl`."""

  global_step: int
  perplexity: float
  num_examples: int
  num_words: int
  input_file_pattern: str
  num_eval_examples: int  # as asked for
  fingerprint: str        # of the model's values in the checkpoint


class Evaluator:
  """The evaluation graph, to be run on any checkpoint of its model."""

  def __init__(self, config: configuration.ModelConfig, num_examples: int):
    """Builds the graph.

    Args:
      config: the model; `input_file_pattern` says what to evaluate on.
      num_examples: image-caption pairs to evaluate at the most.
    """
    self.pattern = config.input_file_pattern
    self.num_examples = num_examples
    self._graph = tf.Graph()
    with self._graph.as_default():
      batch = inputs.make_batch(config, training=False)
      outputs = captioner.build(config, captioner.Mode.EVAL, batch)
      shape = tf.shape(batch.input_mask)
      self._fetches = [  # Each [B, T].
          tf.reshape(outputs.caption_loss.losses, shape),
          tf.reshape(outputs.caption_loss.weights, shape)]
      self._variables = tf1.global_variables()
      self._loader = checkpoints.VariableLoader(self._variables)
      self._init = [tf1.local_variables_initializer(),
                    tf1.tables_initializer()]

  def fingerprint(self, prefix: str) -> str:
    """Tells a model from another of its step, however often it is saved.

    A run that is resumed saves its checkpoint once more.

    Raises:
      ValueError: the checkpoint cannot be read.
    """
    reader = checkpoints.Reader(prefix)
    return _digest({v.op.name: reader.value(v.op.name)
                    for v in self._variables if v.op.name in reader.shapes})

  def evaluate(self, prefix: str) -> Result:
    """Evaluates a checkpoint.

    Raises:
      ValueError: the checkpoint or the data cannot be used.
    """
    values = checkpoints.read_values(prefix, self._variables)
    total_loss = total_words = examples = 0
    with (tf1.Session(graph=self._graph) as session,
          inputs.explained_errors(self.pattern),
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
          losses, words = session.run(self._fetches)
        except tf.errors.OutOfRangeError:
          break
        wanted = self.num_examples - examples
        losses, words = losses[:wanted], words[:wanted]
        total_loss += np.sum(losses, dtype=np.float64)
        total_words += int(np.sum(words))
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
                  self.num_examples, _digest(values))


def _digest(values: Mapping[str, np.ndarray]) -> str:
  digest = hashlib.sha256()
  for name in sorted(values):
    digest.update(name.encode() + values[name].tobytes())
  return digest.hexdigest()[:16]


def read_results(eval_dir: str) -> list[Result]:
  """Reads what was evaluated before.

  Raises:
    ValueError: a line of `metrics.jsonl` cannot be read.
  """
  path = os.path.join(eval_dir, METRICS_FILE)
  if not os.path.exists(path):
    return []
  results = []
  with open(path, encoding='utf-8') as f:
    for number, line in enumerate(f, 1):
      try:
        results.append(Result(**json.loads(line)))
      except (TypeError, ValueError) as error:
        raise ValueError(f'{path}:{number}: {error}; remove the line') from None
  return results


def write_result(result: Result, eval_dir: str) -> None:
  """Appends to `metrics.jsonl` and to TensorBoard's events."""
  os.makedirs(eval_dir, exist_ok=True)
  with open(os.path.join(eval_dir, METRICS_FILE), 'a', encoding='utf-8') as f:
    f.write(json.dumps(result._asdict()) + '\n')
  with tf.Graph().as_default(), tf1.summary.FileWriter(eval_dir) as writer:
    writer.add_summary(
        tf1.Summary(value=[tf1.Summary.Value(
            tag='Perplexity', simple_value=result.perplexity)]),
        result.global_step)


def evaluate_new(evaluator: Evaluator, prefix: str, eval_dir: str) -> bool:
  """Evaluates a checkpoint unless that was done before; says the result.

  Args:
    evaluator: of the checkpoint's model.
    prefix: the checkpoint.
    eval_dir: where results are.

  Returns:
    Whether it was evaluated: it may be known, or deleted meanwhile.

  Raises:
    ValueError: the checkpoint or the data cannot be used.
  """
  started = time.monotonic()
  try:
    asked = (evaluator.fingerprint(prefix), evaluator.pattern,
             evaluator.num_examples)
    for known in read_results(eval_dir):
      if asked == (known.fingerprint, known.input_file_pattern,
                   known.num_eval_examples):
        logging.info('Step %d was evaluated before: perplexity = %.4f',
                     known.global_step, known.perplexity)
        return False
    result = evaluator.evaluate(prefix)
  except (ValueError, tf.errors.NotFoundError):
    if tf.io.gfile.exists(f'{prefix}.index'):
      raise
    logging.info('%s was deleted meanwhile', prefix)
    return False
  write_result(result, eval_dir)
  logging.info('Step %d: perplexity = %.4f over %d pairs, %d words (%.0f s)',
               result.global_step, result.perplexity, result.num_examples,
               result.num_words, time.monotonic() - started)
  return True


def find_due(folder: str, min_global_step: int) -> str | None:
  """Finds a folder's newest checkpoint; says so if it is none to evaluate."""
  prefix = checkpoints.newest(folder)
  if prefix is None:
    logging.info('%s has no checkpoint yet', folder)
  elif checkpoints.step_of(prefix) < min_global_step:
    logging.info('%s is before --min_global_step=%d', prefix, min_global_step)
    return None
  return prefix


def main() -> None:
  """Reads the flags and evaluates."""
  folder = _CHECKPOINT_DIR.value
  while not (_RUN_ONCE.value or os.path.exists(
      os.path.join(folder, configuration.CONFIG_FILE))):
    logging.info('%s has no configuration yet', folder)
    time.sleep(_EVAL_INTERVAL_SECS.value)
  config = captioner.load_config(folder).model
  config.input_file_pattern = _INPUT_FILE_PATTERN.value
  eval_dir = _EVAL_DIR.value or os.path.join(folder, 'eval')
  evaluator = Evaluator(config, _NUM_EVAL_EXAMPLES.value)
  evaluations = 0
  last = None
  while True:
    due = find_due(folder, _MIN_GLOBAL_STEP.value)
    if due and due != last:
      evaluations += evaluate_new(evaluator, due, eval_dir)
      last = due
    if _RUN_ONCE.value:
      if due is None:
        raise ValueError(f'{folder}: no checkpoint to evaluate that has '
                         f'reached --min_global_step={_MIN_GLOBAL_STEP.value}')
      return
    if _MAX_EVALS.value and evaluations >= _MAX_EVALS.value:
      return
    time.sleep(_EVAL_INTERVAL_SECS.value)


if __name__ == '__main__':
  command_line.run(main)
