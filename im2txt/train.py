r"""Train a captioner, or continue to train one.

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

On many machines: the same command on each, with TF_CONFIG; on several GPUs of
one machine: python -m im2txt.local_cluster. See docs/distributed.md.

Any field of the configuration can be set behind the file's name:
--config=configs/show_and_tell.py --config.model.batch_size=16.
Ctrl-C or SIGTERM saves and stops; the same command goes on from there.
"""

import contextlib
import dataclasses
import functools
import os

from absl import flags, logging

from im2txt import command_line, configuration
from im2txt.checkpoints import folder as checkpoints
from im2txt.checkpoints import run_folder
from im2txt.evaluation.during_training import (
    EvaluationElsewhere,
    TrainingEvaluation,
)
from im2txt.files import file_system, locks
from im2txt.flags.bad_records import BadRecordsFlag
from im2txt.flags.config import ConfigFlag, name_config_of_run
from im2txt.inputs.shards import Shards
from im2txt.models.captioner import Captioner
from im2txt.text import vocabulary
from im2txt.training import hooks, loop, sample_captions, self_critical, start
from im2txt.training.cluster import signals, task
from im2txt.training.cluster.cluster_replica import ClusterReplica
from im2txt.training.cluster.replica import Replica


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
    self.change_config = flags.DEFINE_bool(
        'change_config', False, 'Go on with the file of --config, though it '
        'has other numbers than the run began with.', flag_values=values)
    self.allow_random_encoder = flags.DEFINE_bool(
        'allow_random_encoder', False, 'Train on a frozen encoder without '
        'pretrained weights; good for tests only.', flag_values=values)


def read_config(flags_: Flags) -> configuration.Config:
  """Return the configuration of the flags, or else of the run folder.

  Sizes that follow from the encoder, the vocabulary or the word vectors may
  still be 0; see `start.resolve`.

  Raises:
    ValueError: there is none, or it has a mistake.
  """
  config = flags_.config.value()
  train_dir = flags_.train_dir.value
  if config is None and file_system.exists(
      os.path.join(train_dir, configuration.CONFIG_FILE)):
    config = run_folder.load_config(train_dir)
  if config is None and flags_.init_checkpoint.value:
    config = start.initial_config(
        checkpoints.latest(flags_.init_checkpoint.value))
  if config is None:
    raise ValueError(f'{train_dir} has no {configuration.CONFIG_FILE} yet; name'
                     ' one with --config=configs/show_and_tell.py')
  given = {
      'input_file_pattern': flags_.input_file_pattern.value,
      'inception_checkpoint_file': flags_.inception_checkpoint_file.value,
      'bad_records': flags_.bad_records.value()}
  config = dataclasses.replace(config, model=dataclasses.replace(
      config.model, **{name: value for name, value in given.items() if value}))
  configuration.check(config)
  if not config.model.input_file_pattern:
    raise ValueError('no training data; give --input_file_pattern')
  return config


def check_change(
    flags_: Flags, config: configuration.Config, is_resumed: bool
) -> None:
  """Refuse to go on with other numbers than a run began with, unless asked to.

  Fields that flags name are asked for.

  Args:
    flags_: of this command.
    config: the final configuration.
    is_resumed: whether the run has a checkpoint.

  Raises:
    ValueError: a file of --config changes the configuration of the run.
  """
  train_dir = flags_.train_dir.value
  if (flags_.change_config.value or not is_resumed or not file_system.exists(
      os.path.join(train_dir, configuration.CONFIG_FILE))):
    return
  asked = flags_.config.overrides()
  if flags_.bad_records.value():
    asked.add('model.bad_records')
  changes = [
      change for change in configuration.changes(
          run_folder.load_config(train_dir), config)
      if change.field not in asked]
  if changes:
    raise ValueError(
        f'--config changes the configuration of {train_dir}: '
        f'{", ".join(map(str, changes))}; leave out --config to go on as '
        'before, or give --change_config')


def check_flags(flags_: Flags, config: configuration.TrainingConfig) -> None:
  """Refuse flags that contradict each other, and say what has no effect.

  Raises:
    ValueError: two flags contradict each other.
  """
  without_effect = [name for name, used in (
      ('early_stopping_patience', config.early_stopping_patience > 0),
      ('best_metric', config.best_metric != 'perplexity')) if used]
  if without_effect and not flags_.eval_file_pattern.value:
    logging.warning('without --eval_file_pattern no checkpoint is evaluated, '
                    'and %s of the configuration %s no effect',
                    ' and '.join(without_effect),
                    'have' if len(without_effect) > 1 else 'has')
  if flags_.self_critical.value and flags_.train_inception.value:
    raise ValueError('--self_critical and --train_inception are two phases; '
                     'give one of them')


def make_replica(
    flags_: Flags, config: configuration.TrainingConfig,
    cluster_task: task.Task | None,
) -> Replica:
  """Make this process's part of the training."""
  if cluster_task is None or cluster_task.is_evaluator:
    return Replica()
  return ClusterReplica(
      cluster_task, config.sync_replicas, flags_.number_of_steps.value,
      config.replica_timeout_secs, command_line.end_at_once)


def make_evaluation(
    flags_: Flags, captioner: Captioner, config: configuration.TrainingConfig,
    begin: start.Start, cluster_task: task.Task | None,
) -> TrainingEvaluation | EvaluationElsewhere | None:
  """Make what evaluates each checkpoint, if --eval_file_pattern is given."""
  train_dir = flags_.train_dir.value
  if not flags_.eval_file_pattern.value:
    return None
  if cluster_task and not cluster_task.is_evaluator:
    return EvaluationElsewhere(train_dir)
  shards = Shards.find(
      flags_.eval_file_pattern.value, begin.shards.bad_records)
  return TrainingEvaluation(
      captioner, config, begin.shards, shards, begin.vocab_file, train_dir,
      flags_.train_inception.value)


def follow(
    evaluation: TrainingEvaluation | None, number_of_steps: int
) -> None:
  """Evaluate the checkpoints of a cluster until its last step.

  Raises:
    ValueError: nothing says on what.
  """
  if evaluation is None:
    raise ValueError('an evaluator needs --eval_file_pattern')
  with hooks.interruption() as interrupted:
    evaluation.follow(number_of_steps, interrupted)


def train(
    flags_: Flags, begin: start.Start, cluster_task: task.Task | None
) -> None:
  """Train by the flags.

  Args:
    flags_: of this command.
    begin: what the run starts from.
    cluster_task: of this process; None: it trains alone.
  """
  train_dir = flags_.train_dir.value
  config = begin.config
  phase, captioner, critical_vocab = config, begin.captioner, None
  if flags_.self_critical.value:
    critical_vocab = start.critical_vocabulary(train_dir, begin)
    phase = self_critical.phase(config)
    captioner = Captioner(phase.model, captioner.encoder)
  file_system.makedirs(train_dir)
  replica = make_replica(flags_, config.training, cluster_task)
  evaluation = make_evaluation(
      flags_, captioner, phase.training, begin, cluster_task)
  if cluster_task and cluster_task.is_evaluator:
    follow(evaluation, flags_.number_of_steps.value)
    return
  with contextlib.ExitStack() as stack:
    if replica.is_chief:
      stack.enter_context(locks.folder(train_dir))
      checkpoints.remove_leftovers(train_dir)
    samples = critic = None
    if flags_.sample_image.value:
      vocab = start.needed_vocabulary(train_dir, begin, '--sample_image')
      samples = sample_captions.CaptionSamples(
          captioner, vocab, flags_.sample_image.value, config.training.seed)
    if critical_vocab is not None:
      # It reads all shards: last, when there is no mistake left to be found.
      critic = self_critical.make_critic(
          begin.shards, config.model, critical_vocab)
    loop.train(loop.TrainingRun(
        captioner, phase.training, begin.shards, train_dir,
        flags_.number_of_steps.value,
        train_encoder=flags_.train_inception.value,
        log_every_n_steps=flags_.log_every_n_steps.value,
        init_checkpoint=flags_.init_checkpoint.value,
        first_values=begin.first_values,
        on_start=functools.partial(
            start.save_run_files, config, begin.vocab_file, train_dir),
        evaluation=evaluation, samples=samples, critic=critic,
        replica=replica))


def main(flags_: Flags) -> None:
  """Train, or do another task of a cluster."""
  cluster_task = task.read(os.environ)
  if cluster_task and cluster_task.is_ps:
    with hooks.interruption() as interrupted:
      signals.keep_variables(cluster_task, interrupted)
    return
  config = read_config(flags_)
  if config.training.seed is not None:
    loop.be_deterministic(config.model)
  train_dir = flags_.train_dir.value
  number_of_steps = flags_.number_of_steps.value
  found = checkpoints.newest(train_dir)
  if not cluster_task and found and (
      checkpoints.step_of(found) >= number_of_steps):
    logging.info('%s has already reached step %d of --number_of_steps=%d',
                 train_dir, checkpoints.step_of(found), number_of_steps)
    return
  check_flags(flags_, config.training)
  begin = start.find(
      config, train_dir, flags_.vocab_file.value,
      flags_.init_checkpoint.value,
      needs_encoder_weights=not (flags_.train_inception.value
                                 or flags_.allow_random_encoder.value))
  check_change(flags_, begin.config, found is not None)
  train(flags_, begin, cluster_task)


if __name__ == '__main__':
  command_line.run(main, Flags, complete=functools.partial(
      name_config_of_run, folder_flag='train_dir'))
