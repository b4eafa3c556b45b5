"""The file `metrics.jsonl`: the results of evaluations, one a line."""

import os
from typing import Any, NamedTuple

import tensorflow as tf

from im2txt.files import file_system, json_files, json_lines
from im2txt.scoring import metrics

tf1 = tf.compat.v1

METRICS_FILE = 'metrics.jsonl'
# Folder of a run folder.
EVAL_FOLDER = 'eval'
# What a checkpoint can be the best in.
BEST_METRICS = ('perplexity', *metrics.NAMES)

# Types of a Result's fields as JSON has them; all others are int.
_KINDS = {'perplexity': int | float, 'input_file_pattern': str,
          'fingerprint': str, 'scores': dict | None,
          'accuracy': int | float | None, 'unknown': int | float | None}


class Result(NamedTuple):
  """A line of `metrics.jsonl`."""

  global_step: int
  perplexity: float
  num_examples: int
  num_words: int
  input_file_pattern: str
  num_eval_examples: int  # as asked for
  fingerprint: str        # digest of the model's values in the checkpoint
  # See CaptionEvaluation.evaluate; None: nothing was captioned.
  scores: dict[str, Any] | None = None
  # Share of the words that were the most probable ones; None: not counted.
  accuracy: float | None = None
  # Share of the words that are the unknown word; None: not known.
  unknown: float | None = None

  def merit(self, metric: str) -> float:
    """Return one of BEST_METRICS as a number that is higher when better.

    Raises:
      ValueError: it is unknown, as METEOR is where Java failed.
    """
    if metric == 'perplexity':
      return -self.perplexity
    try:
      return float(self.scores['captions'][metric])
    except (LookupError, TypeError, ValueError):
      raise ValueError(f'{metric} of step {self.global_step} is unknown'
                       ) from None

  def check(self) -> None:
    """Raise TypeError where a field is not of its type."""
    for name, value in self._asdict().items():
      kind = _KINDS.get(name, int)
      if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f'{name} is {value!r}')


def read_results(eval_dir: str) -> list[Result]:
  """Read the results of earlier evaluations, in the order they were made.

  Raises:
    ValueError: a line of `metrics.jsonl` cannot be read.
  """
  path = os.path.join(eval_dir, METRICS_FILE)
  if not file_system.exists(path):
    return []
  return json_lines.read(path, _parse, 'evaluation result', 'remove the line')


def _parse(line: bytes) -> Result:
  result = Result(**json_files.parse(line, constants=True))
  result.check()
  return result


def write_result(result: Result, eval_dir: str) -> None:
  """Append a result to `metrics.jsonl` and to TensorBoard's events."""
  file_system.makedirs(eval_dir)
  json_lines.append(os.path.join(eval_dir, METRICS_FILE), result._asdict())
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


def check_metric(metric: str) -> None:
  """Refuse a metric that no result will have.

  Raises:
    ValueError: it is none of BEST_METRICS, or cannot be computed here.
  """
  if metric not in BEST_METRICS:
    raise ValueError(f'best_metric is {metric!r}; it must be one of '
                     f'{", ".join(BEST_METRICS)}')
  if metric != 'perplexity':
    metrics.check_available(metric)
