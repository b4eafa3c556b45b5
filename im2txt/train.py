r"""Trains a captioner, or trains it on.

Phase 1, the encoder frozen:

  python -m im2txt.train --config=configs/show_and_tell.py \
    --input_file_pattern='coco/train-?????-of-00256' \
    --inception_checkpoint_file=inception_v3.ckpt --train_dir=runs/coco \
    --number_of_steps=1000000

Phase 2, the encoder trained too, goes on in the same folder, which keeps the
configuration:

  python -m im2txt.train --train_dir=runs/coco --train_inception \
    --number_of_steps=3000000

(with the images' --input_file_pattern, if phase 1 read features).

Phase 3, self-critical: captions that the model draws are weighed by their
CIDEr-D; begins with the best checkpoint of another run, with its configuration:

  python -m im2txt.train --self_critical --init_checkpoint=runs/coco/best \
    --input_file_pattern='coco/train-?????-of-00256' \
    --train_dir=runs/coco_critical --number_of_steps=50000

On many machines: the same command on each, with TF_CONFIG (see README); on
several GPUs of one machine: python -m im2txt.local_cluster.

Any field of the configuration can be set behind the file's name:
--config=configs/show_and_tell.py --config.model.batch_size=16.
Ctrl-C or SIGTERM saves and stops; the same command goes on from there.
"""

import contextlib
import functools
import itertools
import os
import types
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
from absl import flags, logging

from im2txt import command_line, configuration, encoders
from im2txt.checkpoints import folder as checkpoints
from im2txt.checkpoints import trained_model
from im2txt.evaluation import evaluator as evaluation
from im2txt.files import file_system, locks
from im2txt.flags.bad_records import BadRecordsFlag
from im2txt.flags.config import ConfigFlag
from im2txt.inputs import bad_records
from im2txt.inputs import pipeline as inputs
from im2txt.models import captioner
from im2txt.text import vocabulary
from im2txt.training import hooks as training_hooks
from im2txt.training import (
  optimization,
  sample_captions,
  self_critical,
  word_initialization,
)
from im2txt.training import start as run_start
from im2txt.training.cluster import signals as cluster_signals
from im2txt.training.cluster import task as cluster
from im2txt.training.cluster.replica import ClusterReplica, Replica

tf1 = tf.compat.v1

# Between the seeds of replicas; more than the steps of any run.
_SEEDS = 1_000_000_007


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.bad_records = BadRecordsFlag(values)
    self.config = ConfigFlag(values)
    self.input_file_pattern = flags.DEFINE_string(
        'input_file_pattern', None, 'Comma-separated patterns of training '
        "shards; for example 'shards/train-?????-of-00256'.",
        flag_values=values)
    self.inception_checkpoint_file = flags.DEFINE_string(
        'inception_checkpoint_file', None, "The encoder's pretrained weights: "
        'inception_v3.ckpt (python -m data_prep.download inception_v3) or '
        "Keras's .h5. EfficientNet-Lite0 brings its own.", flag_values=values)
    self.eval_file_pattern = flags.DEFINE_string(
        'eval_file_pattern', None, 'Also evaluate on these shards at each '
        'checkpoint, keep the best one in TRAIN_DIR/best (best in the '
        "configuration's best_metric: perplexity, or a score such as CIDEr, "
        'for which the images are captioned), and stop early if it has an '
        'early_stopping_patience.', flag_values=values)
    self.train_dir = flags.DEFINE_string(
        'train_dir', None, 'The run folder: checkpoints, configuration, '
        'vocabulary and TensorBoard events.', required=True, flag_values=values)
    self.train_inception = flags.DEFINE_bool(
        'train_inception', False, "Train the encoder's weights too (phase 2).",
        flag_values=values)
    self.self_critical = flags.DEFINE_bool(
        'self_critical', False, 'Train on captions that the model draws, '
        'weighed by their CIDEr-D (phase 3); for a model that has been trained '
        "before. Its numbers are the configuration's self_critical_...",
        flag_values=values)
    self.number_of_steps = flags.DEFINE_integer(
        'number_of_steps', 1000000, 'Step at which training ends, counted from '
        "the run's first.", lower_bound=1, flag_values=values)
    self.log_every_n_steps = flags.DEFINE_integer(
        'log_every_n_steps', 10, 'Steps between reports.', lower_bound=1,
        flag_values=values)
    self.vocab_file = flags.DEFINE_string(
        'vocab_file', None, 'Vocabulary of the shards; copied to --train_dir. '
        f'Default: {vocabulary.FILE_NAME} beside the shards, or that of the '
        'run.', flag_values=values)
    self.init_checkpoint = flags.DEFINE_string(
        'init_checkpoint', None, 'Begin with the weights of this checkpoint '
        '(of this project or im2txt) at step 0, if --train_dir has none yet.',
        flag_values=values)
    self.sample_image = flags.DEFINE_string(
        'sample_image', None, 'An image that is captioned at each checkpoint: '
        'by the most probable words (temperature 0) and by words drawn at '
        'temperatures 0.5 and 1.', flag_values=values)
    self.allow_random_encoder = flags.DEFINE_bool(
        'allow_random_encoder', False, 'Train on a frozen encoder without '
        'pretrained weights; good for tests only.', flag_values=values)


def resolve_config(flags_: Flags) -> configuration.Config:
  """Return the configuration of the flags, or else of the run folder."""
  config = flags_.config.value()
  train_dir = flags_.train_dir.value
  if config is None and file_system.exists(
      os.path.join(train_dir, configuration.CONFIG_FILE)):
    config = captioner.load_config(train_dir)
  if config is None and flags_.init_checkpoint.value:
    config = run_start.initial_config(
        checkpoints.latest(flags_.init_checkpoint.value))
  if config is None:
    raise ValueError(f'{train_dir} has no {configuration.CONFIG_FILE} yet; name'
                     '  one with --config=configs/show_and_tell.py')
  if flags_.input_file_pattern.value:
    config.model.input_file_pattern = flags_.input_file_pattern.value
  if flags_.inception_checkpoint_file.value:
    config.model.inception_checkpoint_file = (
        flags_.inception_checkpoint_file.value)
  flags_.bad_records.apply(config.model)
  encoders.resolve_sides(config.model)
  configuration.check(config)
  if not config.model.input_file_pattern:
    raise ValueError('no training data; give --input_file_pattern')
  return config


def critical_vocabulary(
    config: configuration.ModelConfig, train_dir: str, vocab_file: str | None,
    begins_with: str | None,
) -> vocabulary.Vocabulary:
  """The vocabulary of the captions that self-critical training draws.

  Args:
    config: the model.
    train_dir: the run folder.
    vocab_file: its vocabulary, if there is one.
    begins_with: the checkpoint that training begins with, if any.

  Raises:
    ValueError: the flags ask for what cannot be.
  """
  if begins_with is None:
    raise ValueError('--self_critical improves a model that has been trained; '
                     'give its checkpoint as --init_checkpoint')
  return needed_vocabulary(config, train_dir, vocab_file, '--self_critical')


def needed_vocabulary(
    config: configuration.ModelConfig, train_dir: str, vocab_file: str | None,
    flag: str,
) -> vocabulary.Vocabulary:
  """Reads the vocabulary, which a flag asks for.

  Raises:
    ValueError: there is none.
  """
  if vocab_file is None:
    raise ValueError(f'{flag} needs the vocabulary; give --vocab_file')
  return trained_model.load_vocabulary(config, train_dir, vocab_file)


def variable_table() -> str:
  """Name, shape and whether trained of every variable, a line each."""
  trained = {v.op.name for v in tf1.trainable_variables()}
  lines = [f'{v.op.name}  {v.shape.as_list()}'
           f'{"  trained" if v.op.name in trained else ""}'
           for v in tf1.global_variables()]
  total = sum(v.shape.num_elements() for v in tf1.global_variables())
  return '\n  '.join(
      [f'{len(lines)} variables, {total:,} values:', *lines])


def save_interval(config: configuration.TrainingConfig) -> dict[str, int]:
  """When to save, as `CheckpointSaverHook` is told."""
  if config.save_interval_steps:
    return {'save_steps': config.save_interval_steps}
  return {'save_secs': config.save_interval_secs}


def train(
    config: configuration.Config,
    train_dir: str,
    train_encoder: bool,
    number_of_steps: int,
    log_every_n_steps: int,
    init_checkpoint: str | None,
    on_start: Callable[[], None] = lambda: None,
    eval_during: evaluation.TrainingEvaluation
    | evaluation.EvaluationElsewhere | None = None,
    first_values: Mapping[str, np.ndarray] = types.MappingProxyType({}),
    samples: sample_captions.CaptionSamples | None = None,
    critic: self_critical.Critic | None = None,
    replica: Replica | None = None,
) -> None:
  """Trains to a step.

  Args:
    config: the system.
    train_dir: the run folder.
    train_encoder: whether this is phase 2.
    number_of_steps: where to end, counted from the run's first step.
    log_every_n_steps: steps between reports.
    init_checkpoint: where to start warm from, if the folder is new.
    on_start: called when the variables have their values, and so fit.
    eval_during: run after each checkpoint; may end training early.
    first_values: by variable name, what a new run begins with.
    samples: captioned after each checkpoint.
    critic: of the captions that self-critical training draws; None: trains on
      people's.
    replica: this process's part of it; None: all.

  Raises:
    ValueError: a configuration that cannot be built, or a loss that is not
      finite.
    OSError: a file that is not there.
  """
  replica = replica or Replica()
  logging.info('%s', replica.describe())
  with tf.Graph().as_default(), replica.place():
    if config.training.seed is not None:
      # A resumed run shall not see again what it saw at its start, and no
      # replica what another sees.
      found = checkpoints.newest(train_dir)
      tf1.set_random_seed(config.training.seed + _SEEDS * replica.index
                          + (checkpoints.step_of(found) if found else 0))

    # Graph.
    batch = inputs.make_batch(
        config.model, True, replica.index, replica.count)
    global_step = tf1.train.get_or_create_global_step()
    schedule = (config.training,
                config.model.batch_size * replica.batches_a_step)
    critical = critic and self_critical.SelfCritical(config, batch, critic)
    if critical:
      batch = critical.batch
    outputs = captioner.build(
        config.model,
        # What is trained is what draws: without dropout.
        captioner.Mode.EVAL if critical else captioner.Mode.TRAIN,
        batch, train_encoder,
        config.training.label_smoothing,
        optimization.sampling_rate(*schedule, global_step),
        critical and critical.caption_weights)
    rate = optimization.learning_rate(*schedule, train_encoder, global_step)
    train_op, gradient_norm = optimization.train_op(
        config.training, outputs.total_loss, rate,
        replica.together(tf.reduce_sum(outputs.caption_loss.weights)))
    with tf.control_dependencies([train_op]):
      statistics = training_hooks.StepStatistics(
          tf.identity(global_step), outputs.total_loss, gradient_norm, rate,
          tf.shape(batch.input_mask)[0], tf.reduce_sum(batch.input_mask),
          tf.size(batch.input_mask))
    scalars = tf1.summary.merge_all()
    images = (tf1.summary.image('images', batch.images, max_outputs=3)
                if isinstance(batch.images, tf.Tensor) else None)
    if replica.is_chief:
      logging.info('%s', variable_table())

    # Session.
    saver = tf1.train.Saver(
        max_to_keep=config.training.max_checkpoints_to_keep)
    saver.recover_last_checkpoints(checkpoints.all_in(train_dir))
    load = run_start.make_init_fn(
        config.model, train_dir, init_checkpoint,
        eval_during and eval_during.config, first_values)

    def init(_, session):
      load(session)
      on_start()

    scaffold = tf1.train.Scaffold(tf.no_op(), init_fn=init, saver=saver)
    progress = training_hooks.ProgressHook(
        statistics, number_of_steps, log_every_n_steps,
        train_dir if replica.is_chief else None,
        {'reward': critical.reward} if critical else {})
    with training_hooks.interruption() as interrupted:
      after_save = [eval_during.run] if eval_during else []
      if samples:
        after_save.append(
            lambda: samples.log(checkpoints.newest(train_dir)))
      listeners = [
          training_hooks.AfterSaveListener(call, interrupted, progress)
          for call in after_save]
      listeners += [training_hooks.FlushListener(train_dir),
                    training_hooks.FiniteListener(
                        lambda: checkpoints.newest(train_dir))]
      hooks = [
          training_hooks.CheckFiniteHook(
              statistics, lambda: checkpoints.newest(train_dir)),
          tf1.train.StopAtStepHook(last_step=number_of_steps),
          training_hooks.StopOnEventHook(interrupted),
          progress,
      ]
      if replica.is_chief:
        hooks += [
            # Before the next, whose checkpoints it must not fall behind.
            tf1.train.SummarySaverHook(
                save_steps=config.training.save_summaries_steps,
                output_dir=train_dir, summary_op=scalars),
            tf1.train.CheckpointSaverHook(
                train_dir, saver=saver,
                checkpoint_basename=checkpoints.CHECKPOINT_NAME,
                listeners=listeners,
                **save_interval(config.training)),
        ]
        if images is not None:
          hooks.append(tf1.train.SummarySaverHook(
              save_steps=config.training.save_images_steps,
              output_dir=train_dir, summary_op=images))
      hooks += replica.hooks(train_op, interrupted)
      while replica.joins(interrupted):
        with (contextlib.closing(progress),
              checkpoints.explained_errors(train_dir),
              bad_records.explained_errors(config.model),
              replica.session(scaffold, hooks) as session):
          feeds = (critical.feeds(session, critic.score) if critical
                   else itertools.repeat(None))
          while not session.should_stop():
            session.run(train_op, next(feeds))
      replica.leave(interrupted)


def be_deterministic(config: configuration.ModelConfig) -> None:
  """Makes this process compute the same from the same seed, bit by bit.

  From here on operations whose threads would add up in any order do so in one,
  and every graph with something random in it needs a seed.
  """
  tf.config.experimental.enable_op_determinism()
  if config.input_pipeline == 'queue':
    logging.warning(
        'The threads of input_pipeline queue race: the seed does not give the '
        'same run again; input_pipeline tf_data does')


def main(flags_: Flags) -> None:
  """Reads the flags and trains, or does another task of a cluster."""
  task = cluster.read(os.environ)
  if task and task.is_ps:
    with training_hooks.interruption() as interrupted:
      cluster_signals.keep_variables(task, interrupted)
    return
  config = resolve_config(flags_)
  if config.training.seed is not None:
    be_deterministic(config.model)
  train_dir = flags_.train_dir.value
  found = checkpoints.newest(train_dir)
  if not task and found and (
      checkpoints.step_of(found) >= flags_.number_of_steps.value):
    logging.info('%s has already reached step %d of --number_of_steps=%d',
                 train_dir, checkpoints.step_of(found),
                 flags_.number_of_steps.value)
    return
  if not flags_.eval_file_pattern.value:
    if config.training.early_stopping_patience:
      raise ValueError('early_stopping_patience needs --eval_file_pattern')
    if config.training.best_metric != 'perplexity':
      raise ValueError('best_metric needs --eval_file_pattern')
  if not (flags_.train_inception.value or flags_.allow_random_encoder.value):
    run_start.check_encoder(
        config.model, train_dir, flags_.init_checkpoint.value)
  begins_with = found or (flags_.init_checkpoint.value
                          and checkpoints.latest(flags_.init_checkpoint.value))
  vocab_file = run_start.find_vocabulary(
      config.model, flags_.vocab_file.value, begins_with)
  if vocab_file and begins_with:
    run_start.check_vocabulary(vocab_file, begins_with)
  if not (found and config.model.embedding_size):
    word_initialization.resolve_width(config.model)
  first_values = {}
  if flags_.init_checkpoint.value:
    run_start.check_first_values(config.model)
  elif not found:
    first_values = word_initialization.first_values(config.model, vocab_file)

  phase = config
  if flags_.self_critical.value:
    if flags_.train_inception.value:
      raise ValueError('--self_critical and --train_inception are two phases; '
                       'give one of them')
    critical_vocab = critical_vocabulary(
        config.model, train_dir, vocab_file, begins_with)
    phase = self_critical.phase(config)
  file_system.makedirs(train_dir)
  replica = Replica()
  if task and not task.is_evaluator:
    replica = ClusterReplica(
        task, config.training.sync_replicas, flags_.number_of_steps.value,
        config.training.replica_timeout_secs)
  eval_during = None
  if flags_.eval_file_pattern.value and task and not task.is_evaluator:
    eval_during = evaluation.EvaluationElsewhere(train_dir)
  elif flags_.eval_file_pattern.value:
    eval_during = evaluation.TrainingEvaluation(
        phase, flags_.eval_file_pattern.value, vocab_file, train_dir,
        flags_.train_inception.value)
  if task and task.is_evaluator:
    if eval_during is None:
      raise ValueError('an evaluator needs --eval_file_pattern')
    with training_hooks.interruption() as interrupted:
      eval_during.follow(flags_.number_of_steps.value, interrupted)
    return
  with contextlib.ExitStack() as stack:
    if replica.is_chief:
      stack.enter_context(locks.folder(train_dir))
      checkpoints.remove_leftovers(train_dir)
    samples = None
    if flags_.sample_image.value:
      samples = sample_captions.CaptionSamples(
          config.model,
          needed_vocabulary(
              config.model, train_dir, vocab_file, '--sample_image'),
          flags_.sample_image.value, config.training.seed)
    critic = None
    if flags_.self_critical.value:
      # It reads all shards: last, when there is no mistake left to be found.
      critic = self_critical.make_critic(config.model, critical_vocab)
    train(phase, train_dir, flags_.train_inception.value,
          flags_.number_of_steps.value,
          flags_.log_every_n_steps.value, flags_.init_checkpoint.value,
          functools.partial(run_start.keep, config, vocab_file, train_dir),
          eval_during, first_values, samples, critic, replica)


if __name__ == '__main__':
  command_line.run(main, Flags)
