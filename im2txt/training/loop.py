"""The training loop: build the graph, open a session, step until the end."""

import contextlib
import dataclasses
import functools
import itertools
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from im2txt import configuration
from im2txt.checkpoints import folder as checkpoints
from im2txt.evaluation.during_training import (
    EvaluationElsewhere,
    TrainingEvaluation,
)
from im2txt.inputs import bad_records, pipeline
from im2txt.inputs.shards import Shards
from im2txt.models.captioner import Captioner, Mode
from im2txt.training import hooks, optimization, start
from im2txt.training.cluster.replica import Replica
from im2txt.training.sample_captions import CaptionSamples
from im2txt.training.self_critical import Critic, SelfCritical

tf1 = tf.compat.v1

# Between the seeds of two replicas; more than the steps of any run.
_SEEDS = 1_000_000_007


@dataclasses.dataclass(frozen=True)
class TrainingRun:
  """What to train, from where and how far."""

  captioner: Captioner                # the model
  config: configuration.TrainingConfig
  shards: Shards
  train_dir: str                      # the run folder
  number_of_steps: int                # last step, counted from the run's first
  train_encoder: bool = False         # phase 2
  log_every_n_steps: int = 10
  init_checkpoint: str | None = None  # initial weights of a new run
  # Initial values of a new run by variable name, beside the encoder's.
  first_values: Mapping[str, np.ndarray] = dataclasses.field(
      default_factory=dict)
  # Called when the variables have their values, which shows that they fit.
  on_start: Callable[[], None] = lambda: None
  # Run after each checkpoint; may end training early.
  evaluation: TrainingEvaluation | EvaluationElsewhere | None = None
  samples: CaptionSamples | None = None  # captioned after each checkpoint
  critic: Critic | None = None           # None: train on written captions
  replica: Replica = dataclasses.field(default_factory=Replica)


class TrainingGraph(NamedTuple):
  """What a session of training runs."""

  train_op: tf.Operation | tf.Tensor
  statistics: hooks.StepStatistics
  scalar_summaries: tf.Tensor        # string []
  image_summary: tf.Tensor | None    # string []; None: no pixels are read
  self_critical: SelfCritical | None


def train(run: TrainingRun) -> None:
  """Train up to a step.

  Raises:
    ValueError: a configuration that cannot be built, or a loss that is not
      finite.
    OSError: a file that is not there.
  """
  logging.info('%s', run.replica.describe())
  with tf.Graph().as_default(), run.replica.place():
    _set_seed(run)
    graph = build_graph(run)
    if run.replica.is_chief:
      logging.info('%s', variable_table())
    scaffold = _make_scaffold(run)
    progress = hooks.ProgressHook(
        graph.statistics, run.number_of_steps, run.log_every_n_steps,
        run.train_dir if run.replica.is_chief else None,
        {'reward': graph.self_critical.reward} if graph.self_critical else {})
    with hooks.interruption() as interrupted:
      all_hooks = make_hooks(
          run, graph, progress, scaffold.saver, interrupted)
      # One session, unless a cluster loses its parameter servers.
      while run.replica.wait_until_ready(interrupted):
        with (contextlib.closing(progress),
              checkpoints.explained_errors(run.train_dir),
              bad_records.explained_errors(run.shards, run.captioner.config),
              run.replica.session(scaffold, all_hooks) as session):
          feeds = (graph.self_critical.feeds(session, run.critic.score)
                   if graph.self_critical else itertools.repeat(None))
          while not session.should_stop():
            session.run(graph.train_op, next(feeds))
      run.replica.sign_off(interrupted)


def _set_seed(run: TrainingRun) -> None:
  """Seed the graph: a resumed run and each replica draw other numbers."""
  seed = run.config.seed
  if seed is not None:
    newest = checkpoints.newest(run.train_dir)
    tf1.set_random_seed(seed + _SEEDS * run.replica.index
                        + (checkpoints.step_of(newest) if newest else 0))


def build_graph(run: TrainingRun) -> TrainingGraph:
  """Build the training graph: batch, loss, update and summaries.

  Raises:
    ValueError: a configuration that cannot be built.
    OSError: a file that is not there.
  """
  captioner, config, replica = run.captioner, run.config, run.replica
  batch = pipeline.make_batch(
      run.shards, captioner.config, True, replica.index, replica.count)
  global_step = tf1.train.get_or_create_global_step()
  schedule = (config, captioner.config.batch_size * replica.batches_a_step)
  self_critical = run.critic and SelfCritical(
      captioner, config, batch, run.critic)
  if self_critical:
    batch = self_critical.batch
  outputs = captioner.build(
      # The model that is trained is the one that draws: without dropout.
      Mode.EVAL if self_critical else Mode.TRAIN,
      batch, run.train_encoder, config.label_smoothing,
      optimization.sampling_rate(*schedule, global_step),
      self_critical and self_critical.caption_weights)
  rate = optimization.learning_rate(*schedule, run.train_encoder, global_step)
  train_op, gradient_norm = optimization.train_op(
      config, outputs.total_loss, rate,
      functools.partial(
          replica.wrap_optimizer,
          weight=tf.reduce_sum(outputs.caption_loss.weights)))
  with tf.control_dependencies([train_op]):
    statistics = hooks.StepStatistics(
        tf.identity(global_step), outputs.total_loss, gradient_norm, rate,
        tf.shape(batch.input_mask)[0], tf.reduce_sum(batch.input_mask),
        tf.size(batch.input_mask))
  scalars = tf1.summary.merge_all()
  images = (tf1.summary.image('images', batch.images, max_outputs=3)
            if isinstance(batch.images, tf.Tensor) else None)
  return TrainingGraph(train_op, statistics, scalars, images, self_critical)


def variable_table() -> str:
  """Return the name and shape of every variable, and which are trained."""
  trained = {v.op.name for v in tf1.trainable_variables()}
  lines = [f'{v.op.name}  {v.shape.as_list()}'
           f'{"  trained" if v.op.name in trained else ""}'
           for v in tf1.global_variables()]
  total = sum(v.shape.num_elements() for v in tf1.global_variables())
  return '\n  '.join(
      [f'{len(lines)} variables, {total:,} values:', *lines])


def _make_scaffold(run: TrainingRun) -> tf1.train.Scaffold:
  """Make what gives the variables their values and what saves them."""
  saver = tf1.train.Saver(max_to_keep=run.config.max_checkpoints_to_keep)
  saver.recover_last_checkpoints(checkpoints.all_in(run.train_dir))
  load = start.make_init_fn(
      run.captioner, run.train_dir, run.init_checkpoint,
      [run.shards, run.evaluation and run.evaluation.shards],
      run.first_values)

  def init(_, session: tf1.Session) -> None:
    load(session)
    run.on_start()

  return tf1.train.Scaffold(tf.no_op(), init_fn=init, saver=saver)


def make_hooks(
    run: TrainingRun,
    graph: TrainingGraph,
    progress: hooks.ProgressHook,
    saver: tf1.train.Saver,
    interrupted: threading.Event,
) -> list[tf1.train.SessionRunHook]:
  """Make all hooks, in the order in which they are called.

  Args:
    run: what is trained.
    graph: its graph, to which some hooks add.
    progress: the hook that reports.
    saver: writes the checkpoints.
    interrupted: ends training once it is set.
  """
  newest = functools.partial(checkpoints.newest, run.train_dir)
  listeners = [
      hooks.AfterSaveListener(call, interrupted, progress)
      for call in _after_each_checkpoint(run, newest)]
  listeners += [hooks.FlushListener(run.train_dir),
                hooks.FiniteListener(newest)]
  made = [hooks.CheckFiniteHook(graph.statistics, newest),
          tf1.train.StopAtStepHook(last_step=run.number_of_steps),
          hooks.StopOnEventHook(interrupted),
          progress]
  if run.replica.is_chief:
    made += [
        # Before the saver's: curves must reach as far as the checkpoints.
        tf1.train.SummarySaverHook(
            save_steps=run.config.save_summaries_steps,
            output_dir=run.train_dir, summary_op=graph.scalar_summaries),
        tf1.train.CheckpointSaverHook(
            run.train_dir, saver=saver,
            checkpoint_basename=checkpoints.CHECKPOINT_NAME,
            # The events have the graph; no file beside each checkpoint.
            listeners=listeners, save_graph_def=False,
            **save_interval(run.config))]
    if graph.image_summary is not None:
      made.append(tf1.train.SummarySaverHook(
          save_steps=run.config.save_images_steps,
          output_dir=run.train_dir, summary_op=graph.image_summary))
  return made + run.replica.hooks(graph.train_op, interrupted)


def _after_each_checkpoint(
    run: TrainingRun, newest: Callable[[], str | None]
) -> list[Callable[[], bool | None]]:
  """Return what to call; a call that returns True ends training."""
  calls = []
  if run.evaluation:
    calls.append(run.evaluation.run)
  if run.samples:
    calls.append(lambda: run.samples.log(newest()))
  return calls


def save_interval(config: configuration.TrainingConfig) -> dict[str, int]:
  """Return when to save, as an argument of `CheckpointSaverHook`."""
  if config.save_interval_steps:
    return {'save_steps': config.save_interval_steps}
  return {'save_secs': config.save_interval_secs}


def be_deterministic(config: configuration.ModelConfig) -> None:
  """Make this process compute the same from the same seed, bit by bit.

  From here on operations whose threads would add up in any order do so in one,
  and every graph with something random in it needs a seed.
  """
  tf.config.experimental.enable_op_determinism()
  if config.input_pipeline == 'queue':
    logging.warning(
        'The threads of input_pipeline queue race: the seed does not give the '
        'same run again; input_pipeline tf_data does')
