"""The history of a training run, read from its folder: losses, evaluations."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from im2txt import configuration
from im2txt.checkpoints import run_folder
from im2txt.evaluation import metrics_file
from im2txt.files import file_system
from im2txt.inputs import graph_errors

tf1 = tf.compat.v1

_EVENTS_PREFIX = 'events.out.tfevents.'
_LOSS_TAG = 'losses/batch_loss'  # Nats a word, nothing added.

Curve = list[tuple[int, float]]  # (step, value) in order of steps


class Conditions(NamedTuple):
  """What evaluations must have in common to be compared."""

  num_pairs: int
  num_words: int          # of these pairs' captions
  num_images: int | None  # captioned; None: none was
  settings: str           # of the search, JSON
  beam_size: int | None   # one of them
  images: str | None      # digest, with their references; None: not known
  vocabulary: str | None  # digest; None: not known

  @property
  def of_scores(self) -> tuple[Any, ...]:
    """Return what the scores of captions depend on: not the vocabulary."""
    return (self.num_pairs, self.num_images, self.settings,
            self.images or self.num_words)


class Evaluation(NamedTuple):
  """The reported part of a line of `metrics.jsonl`."""

  step: int
  pattern: str                   # of the shards
  conditions: Conditions
  figures: Mapping[str, float]   # known values, by their names there
  # Constant captions and their scores.
  constants: Sequence[tuple[str, Mapping[str, float]]]


class Run(NamedTuple):
  """A training run."""

  folder: str
  config_name: str
  seconds: float | None          # of training; None: without events
  losses: Curve                  # of training batches, nats a word
  evaluations: list[Evaluation]  # in the order of their making

  @property
  def comparable(self) -> list[Evaluation]:
    """Return the evaluations under the most frequent conditions.

    Of several as frequent ones the latest count.
    """
    # Evaluations without scores do not count where others have scores.
    scored = [e for e in self.evaluations if 'CIDEr' in e.figures]
    conditions = [e.conditions for e in (scored or self.evaluations)[::-1]]
    if not conditions:
      return []
    chosen = max(conditions, key=conditions.count)
    return [e for e in self.evaluations if e.conditions == chosen]

  @property
  def best(self) -> Evaluation | None:
    """Return the best one: by CIDEr, or by perplexity if none has scores."""
    scored = [e for e in self.comparable if 'CIDEr' in e.figures]
    if scored:
      return max(scored, key=lambda e: e.figures['CIDEr'])

    def perplexity(e: Evaluation) -> tuple[bool, float]:
      value = e.figures['perplexity']
      return math.isnan(value), value  # min() would return a leading nan.

    return min(self.comparable, key=perplexity, default=None)


def read_run(folder: str) -> Run:
  """Read the history of a run.

  Raises:
    OSError: a file cannot be read.
    ValueError: it is no run folder, or a file in it is damaged.
  """
  if not file_system.isfile(os.path.join(folder, configuration.CONFIG_FILE)):
    raise ValueError(f'{folder} is no run folder: it has no '
                     f'{configuration.CONFIG_FILE}')
  config = run_folder.load_config(folder)
  seconds, losses = _read_events(folder)
  eval_dir = os.path.join(folder, metrics_file.EVAL_FOLDER)
  evaluations = []
  for number, result in enumerate(metrics_file.read_results(eval_dir), 1):
    try:
      evaluations.append(_parse(result))
    except (AttributeError, LookupError, OverflowError, TypeError,
            ValueError) as error:
      path = os.path.join(eval_dir, metrics_file.METRICS_FILE)
      raise ValueError(f'{path}:{number}: no result of evaluate.py '
                       f'({error!r}); remove the line') from None
  return Run(
      folder.rstrip('/') or folder,
      config.name or f'{config.model.encoder} + {config.model.decoder}',
      seconds, losses, evaluations)


def _read_events(folder: str) -> tuple[float | None, Curve]:
  """Read the seconds of training, summed over processes, and the losses."""
  logs = []
  for name in file_system.listdir(folder):
    if not name.startswith(_EVENTS_PREFIX):
      continue
    path = os.path.join(folder, name)
    times, losses = [], []
    try:
      for event in tf1.train.summary_iterator(path):
        times.append(event.wall_time)
        losses += [(event.step, value.simple_value)
                   for value in event.summary.value if value.tag == _LOSS_TAG]
    except tf.errors.DataLossError:
      pass  # Half a record at the end: training was killed, or still runs.
    except tf.errors.OpError as error:
      raise OSError(f'{path}: {graph_errors.reason(error)}') from None
    if times:
      logs.append((times, losses))
  logs.sort()
  curve = []
  for _, losses in logs:
    if losses:
      # Steps after a process's last checkpoint are repeated by the next one.
      curve = [point for point in curve if point[0] < losses[0][0]] + losses
  if not logs:
    return None, curve
  return sum(times[-1] - times[0] for times, _ in logs), curve


def _parse(result: metrics_file.Result) -> Evaluation:
  figures = {'perplexity': float(result.perplexity)}
  num_images, images, vocabulary = None, None, None
  constants, settings = [], {}
  scores = result.scores
  if scores is not None:
    num_images = int(scores['num_images'])
    figures |= _known(scores['captions'])
    figures |= _known(scores['diversity'])
    settings = dict(scores['settings'])
    # Not of the search: conditions of their own, or none.
    images = settings.pop('pictures', None)
    vocabulary = settings.pop('vocabulary', None)
    settings.pop('training_captions', None)
    constants = [(str(constant['caption']), _known(constant['scores']))
                 for constant in scores['constants'].values()]
  return Evaluation(
      int(result.global_step), str(result.input_file_pattern),
      Conditions(int(result.num_examples), int(result.num_words), num_images,
                 json.dumps(settings, sort_keys=True),
                 settings.get('beam_size'), images, vocabulary),
      figures, constants)


def _known(fields: Mapping[str, Any]) -> dict[str, float]:
  """Return the known values."""
  return {name: float(value) for name, value in fields.items()
          if value is not None}
