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
import dataclasses
import functools
import os
from typing import NamedTuple

import numpy as np
from absl import flags, logging

from im2txt import command_line, configuration
from im2txt.checkpoints import folder as checkpoints
from im2txt.checkpoints import trained_model
from im2txt.evaluation.during_training import (
  EvaluationElsewhere,
  TrainingEvaluation,
)
from im2txt.files import file_system, locks
from im2txt.flags.bad_records import BadRecordsFlag
from im2txt.flags.config import ConfigFlag
from im2txt.inputs.shards import Shards
from im2txt.models import captioner
from im2txt.text import vocabulary
from im2txt.training import hooks as training_hooks
from im2txt.training import (
  loop,
  sample_captions,
  self_critical,
  word_initialization,
)
from im2txt.training import start as run_start
from im2txt.training.cluster import signals as cluster_signals
from im2txt.training.cluster import task as cluster
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
    self.allow_random_encoder = flags.DEFINE_bool(
        'allow_random_encoder', False, 'Train on a frozen encoder without '
        'pretrained weights; good for tests only.', flag_values=values)


def read_config(flags_: Flags) -> configuration.Config:
  """Return the configuration of the flags, or else of the run folder.

  What it leaves to the encoder, the vocabulary and the word vectors is still
  0; see `run_start.resolve`.

  Raises:
    ValueError: there is none, or it has a mistake.
  """
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


class Prepared(NamedTuple):
  """What is known before the graph is built."""

  config: configuration.Config  # final; what the run folder keeps
  phase: configuration.Config   # what this phase of training reads
  shards: Shards
  vocab_file: str | None
  # Of captions that self-critical training draws; None: it is another phase.
  critical_vocab: vocabulary.Vocabulary | None
  first_values: dict[str, np.ndarray]  # of a new run, by variable name


def needed_vocabulary(
    config: configuration.ModelConfig, train_dir: str, vocab_file: str | None,
    flag: str,
) -> vocabulary.Vocabulary:
  """Read the vocabulary, which a flag asks for.

  Raises:
    ValueError: there is none.
  """
  if vocab_file is None:
    raise ValueError(f'{flag} needs the vocabulary; give --vocab_file')
  return trained_model.load_vocabulary(config, train_dir, vocab_file)


def is_finished(flags_: Flags) -> bool:
  """Return whether the run has reached its last step; log it if so."""
  found = checkpoints.newest(flags_.train_dir.value)
  if found is None or (
      checkpoints.step_of(found) < flags_.number_of_steps.value):
    return False
  logging.info('%s has already reached step %d of --number_of_steps=%d',
               flags_.train_dir.value, checkpoints.step_of(found),
               flags_.number_of_steps.value)
  return True


def check_flags(flags_: Flags, config: configuration.Config) -> None:
  """Refuse flags that lack others, or a frozen encoder of random weights.

  Raises:
    ValueError: they do.
  """
  if not flags_.eval_file_pattern.value:
    if config.training.early_stopping_patience:
      raise ValueError('early_stopping_patience needs --eval_file_pattern')
    if config.training.best_metric != 'perplexity':
      raise ValueError('best_metric needs --eval_file_pattern')
  if not (flags_.train_inception.value or flags_.allow_random_encoder.value):
    run_start.check_encoder(
        config.model, flags_.train_dir.value, flags_.init_checkpoint.value)


def prepare(flags_: Flags, config: configuration.Config) -> Prepared:
  """Find the shards and the vocabulary, and make the configuration final.

  Args:
    flags_: of this command.
    config: as of `read_config`.

  Raises:
    ValueError: they do not fit each other, or the flags ask for what cannot
      be.
    OSError: a file cannot be read.
  """
  train_dir = flags_.train_dir.value
  found = checkpoints.newest(train_dir)
  begins_with = found or (flags_.init_checkpoint.value
                          and checkpoints.latest(flags_.init_checkpoint.value))
  shards = Shards.find(
      config.model.input_file_pattern, config.model.bad_records)
  vocab_file = run_start.find_vocabulary(
      shards, flags_.vocab_file.value, begins_with)
  config = run_start.resolve(config, vocab_file, resumes=found is not None)
  if vocab_file and begins_with:
    run_start.check_vocabulary(vocab_file, begins_with)
  first_values = {}
  if flags_.init_checkpoint.value:
    run_start.check_first_values(config.model)
  elif not found:
    first_values = word_initialization.first_values(config.model, vocab_file)
  if not flags_.self_critical.value:
    return Prepared(config, config, shards, vocab_file, None, first_values)
  if flags_.train_inception.value:
    raise ValueError('--self_critical and --train_inception are two phases; '
                     'give one of them')
  if begins_with is None:
    raise ValueError('--self_critical improves a model that has been trained; '
                     'give its checkpoint as --init_checkpoint')
  return Prepared(
      config, self_critical.phase(config), shards, vocab_file,
      needed_vocabulary(
          config.model, train_dir, vocab_file, '--self_critical'),
      first_values)


def make_evaluation(
    flags_: Flags, prepared: Prepared, task: cluster.Task | None
) -> TrainingEvaluation | EvaluationElsewhere | None:
  """Make what evaluates the checkpoints; None: nothing does.

  Raises:
    ValueError: the shards cannot be used.
  """
  pattern = flags_.eval_file_pattern.value
  if not pattern:
    return None
  if task and not task.is_evaluator:
    return EvaluationElsewhere(flags_.train_dir.value)
  return TrainingEvaluation(
      prepared.phase, prepared.shards,
      Shards.find(pattern, prepared.shards.bad_records), prepared.vocab_file,
      flags_.train_dir.value, flags_.train_inception.value)


def train(
    flags_: Flags, prepared: Prepared, replica: Replica,
    evaluation: TrainingEvaluation | EvaluationElsewhere | None,
) -> None:
  """Train, alone in the run folder.

  Raises:
    ValueError: as of `loop.train`.
    OSError: another process trains there, or a file is not there.
  """
  train_dir = flags_.train_dir.value
  config, vocab_file = prepared.config, prepared.vocab_file
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
    # It reads all shards: last, when there is no mistake left to be found.
    critic = prepared.critical_vocab and self_critical.make_critic(
        prepared.shards, config.model, prepared.critical_vocab)
    loop.train(loop.TrainingRun(
        prepared.phase, prepared.shards, train_dir,
        flags_.number_of_steps.value,
        train_encoder=flags_.train_inception.value,
        log_every_n_steps=flags_.log_every_n_steps.value,
        init_checkpoint=flags_.init_checkpoint.value,
        first_values=prepared.first_values,
        on_start=functools.partial(
            run_start.save_run_files, config, vocab_file, train_dir),
        evaluation=evaluation, samples=samples, critic=critic,
        replica=replica))


def main(flags_: Flags) -> None:
  """Read the flags and train, or do another task of a cluster."""
  task = cluster.read(os.environ)
  if task and task.is_ps:
    with training_hooks.interruption() as interrupted:
      cluster_signals.keep_variables(task, interrupted)
    return
  config = read_config(flags_)
  if config.training.seed is not None:
    loop.be_deterministic(config.model)
  if not task and is_finished(flags_):
    return
  check_flags(flags_, config)
  prepared = prepare(flags_, config)
  file_system.makedirs(flags_.train_dir.value)
  replica = Replica()
  if task and not task.is_evaluator:
    replica = ClusterReplica(
        task, config.training.sync_replicas, flags_.number_of_steps.value,
        config.training.replica_timeout_secs, command_line.end_at_once)
  evaluation = make_evaluation(flags_, prepared, task)
  if not (task and task.is_evaluator):
    train(flags_, prepared, replica, evaluation)
    return
  if evaluation is None:
    raise ValueError('an evaluator needs --eval_file_pattern')
  with training_hooks.interruption() as interrupted:
    evaluation.follow(flags_.number_of_steps.value, interrupted)


if __name__ == '__main__':
  command_line.run(main, Flags)
