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
import os

from absl import flags, logging

from im2txt import command_line, configuration, encoders
from im2txt.checkpoints import folder as checkpoints
from im2txt.checkpoints import trained_model
from im2txt.evaluation.during_training import (
  EvaluationElsewhere,
  TrainingEvaluation,
)
from im2txt.files import file_system, locks
from im2txt.flags import bad_records as bad_records_flag
from im2txt.flags import config as config_flag
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

flags.adopt_module_key_flags(bad_records_flag)
flags.adopt_module_key_flags(config_flag)
_INPUT_FILE_PATTERN = flags.DEFINE_string(
    'input_file_pattern', None, 'Comma-separated patterns of training shards; '
    "for example 'shards/train-?????-of-00256'.")
_INCEPTION_CHECKPOINT_FILE = flags.DEFINE_string(
    'inception_checkpoint_file', None, "The encoder's pretrained weights: "
    'inception_v3.ckpt (python -m data_prep.download inception_v3) or '
    "Keras's .h5. EfficientNet-Lite0 brings its own.")
_EVAL_FILE_PATTERN = flags.DEFINE_string(
    'eval_file_pattern', None, 'Also evaluate on these shards at each '
    'checkpoint, keep the best one in TRAIN_DIR/best (best in the '
    "configuration's best_metric: perplexity, or a score such as CIDEr, for "
    'which the images are captioned), and stop early if it has an '
    'early_stopping_patience.')
_TRAIN_DIR = flags.DEFINE_string(
    'train_dir', None, 'The run folder: checkpoints, configuration, '
    'vocabulary and TensorBoard events.', required=True)
_TRAIN_INCEPTION = flags.DEFINE_bool(
    'train_inception', False, "Train the encoder's weights too (phase 2).")
_SELF_CRITICAL = flags.DEFINE_bool(
    'self_critical', False, 'Train on captions that the model draws, weighed '
    'by their CIDEr-D (phase 3); for a model that has been trained before. Its '
    "numbers are the configuration's self_critical_...")
_NUMBER_OF_STEPS = flags.DEFINE_integer(
    'number_of_steps', 1000000, 'Step at which training ends, counted from '
    "the run's first.", lower_bound=1)
_LOG_EVERY_N_STEPS = flags.DEFINE_integer(
    'log_every_n_steps', 10, 'Steps between reports.', lower_bound=1)
_VOCAB_FILE = flags.DEFINE_string(
    'vocab_file', None, f'Vocabulary of the shards; copied to --train_dir. '
    f'Default: {vocabulary.FILE_NAME} beside the shards, or that of the run.')
_INIT_CHECKPOINT = flags.DEFINE_string(
    'init_checkpoint', None, 'Begin with the weights of this checkpoint (of '
    'this project or im2txt) at step 0, if --train_dir has none yet.')
_SAMPLE_IMAGE = flags.DEFINE_string(
    'sample_image', None, 'An image that is captioned at each checkpoint: by '
    'the most probable words (temperature 0) and by words drawn at '
    'temperatures 0.5 and 1.')
_ALLOW_RANDOM_ENCODER = flags.DEFINE_bool(
    'allow_random_encoder', False, 'Train on a frozen encoder without '
    'pretrained weights; good for tests only.')


def resolve_config() -> configuration.Config:
  """The configuration of the flags, or else of the run folder."""
  config = config_flag.value()
  if config is None and file_system.exists(
      os.path.join(_TRAIN_DIR.value, configuration.CONFIG_FILE)):
    config = captioner.load_config(_TRAIN_DIR.value)
  if config is None and _INIT_CHECKPOINT.value:
    config = run_start.initial_config(
        checkpoints.latest(_INIT_CHECKPOINT.value))
  if config is None:
    raise ValueError(f'{_TRAIN_DIR.value} has no {configuration.CONFIG_FILE} '
                     'yet; name one with --config=configs/show_and_tell.py')
  if _INPUT_FILE_PATTERN.value:
    config.model.input_file_pattern = _INPUT_FILE_PATTERN.value
  if _INCEPTION_CHECKPOINT_FILE.value:
    config.model.inception_checkpoint_file = _INCEPTION_CHECKPOINT_FILE.value
  bad_records_flag.apply(config.model)
  encoders.resolve_sides(config.model)
  configuration.check(config)
  if not config.model.input_file_pattern:
    raise ValueError('no training data; give --input_file_pattern')
  return config


def critical_vocabulary(
    config: configuration.ModelConfig, vocab_file: str | None,
    begins_with: str | None,
) -> vocabulary.Vocabulary:
  """The vocabulary of the captions that self-critical training draws.

  Args:
    config: the model.
    vocab_file: its vocabulary, if there is one.
    begins_with: the checkpoint that training begins with, if any.

  Raises:
    ValueError: the flags ask for what cannot be.
  """
  if _TRAIN_INCEPTION.value:
    raise ValueError('--self_critical and --train_inception are two phases; '
                     'give one of them')
  if begins_with is None:
    raise ValueError('--self_critical improves a model that has been trained; '
                     'give its checkpoint as --init_checkpoint')
  return needed_vocabulary(config, vocab_file, '--self_critical')


def needed_vocabulary(
    config: configuration.ModelConfig, vocab_file: str | None, flag: str
) -> vocabulary.Vocabulary:
  """Reads the vocabulary, which a flag asks for.

  Raises:
    ValueError: there is none.
  """
  if vocab_file is None:
    raise ValueError(f'{flag} needs the vocabulary; give --vocab_file')
  return trained_model.load_vocabulary(config, _TRAIN_DIR.value, vocab_file)


def main() -> None:
  """Reads the flags and trains, or does another task of a cluster."""
  task = cluster.read(os.environ)
  if task and task.is_ps:
    with training_hooks.interruption() as interrupted:
      cluster_signals.keep_variables(task, interrupted)
    return
  config = resolve_config()
  if config.training.seed is not None:
    loop.be_deterministic(config.model)
  train_dir = _TRAIN_DIR.value
  found = checkpoints.newest(train_dir)
  if not task and found and (
      checkpoints.step_of(found) >= _NUMBER_OF_STEPS.value):
    logging.info('%s has already reached step %d of --number_of_steps=%d',
                 train_dir, checkpoints.step_of(found),
                 _NUMBER_OF_STEPS.value)
    return
  if not _EVAL_FILE_PATTERN.value:
    if config.training.early_stopping_patience:
      raise ValueError('early_stopping_patience needs --eval_file_pattern')
    if config.training.best_metric != 'perplexity':
      raise ValueError('best_metric needs --eval_file_pattern')
  if not (_TRAIN_INCEPTION.value or _ALLOW_RANDOM_ENCODER.value):
    run_start.check_encoder(config.model, train_dir, _INIT_CHECKPOINT.value)
  begins_with = found or (_INIT_CHECKPOINT.value
                          and checkpoints.latest(_INIT_CHECKPOINT.value))
  vocab_file = run_start.find_vocabulary(
      config.model, _VOCAB_FILE.value, begins_with)
  if vocab_file and begins_with:
    run_start.check_vocabulary(vocab_file, begins_with)
  if not (found and config.model.embedding_size):
    word_initialization.resolve_width(config.model)
  first_values = {}
  if _INIT_CHECKPOINT.value:
    run_start.check_first_values(config.model)
  elif not found:
    first_values = word_initialization.first_values(config.model, vocab_file)

  phase = config
  if _SELF_CRITICAL.value:
    critical_vocab = critical_vocabulary(config.model, vocab_file, begins_with)
    phase = self_critical.phase(config)
  file_system.makedirs(train_dir)
  replica = Replica()
  if task and not task.is_evaluator:
    replica = ClusterReplica(
        task, config.training.sync_replicas, _NUMBER_OF_STEPS.value,
        config.training.replica_timeout_secs, command_line.end_at_once)
  eval_during = None
  if _EVAL_FILE_PATTERN.value and task and not task.is_evaluator:
    eval_during = EvaluationElsewhere(train_dir)
  elif _EVAL_FILE_PATTERN.value:
    eval_during = TrainingEvaluation(
        phase, _EVAL_FILE_PATTERN.value, vocab_file, train_dir,
        _TRAIN_INCEPTION.value)
  if task and task.is_evaluator:
    if eval_during is None:
      raise ValueError('an evaluator needs --eval_file_pattern')
    with training_hooks.interruption() as interrupted:
      eval_during.follow(_NUMBER_OF_STEPS.value, interrupted)
    return
  with contextlib.ExitStack() as stack:
    if replica.is_chief:
      stack.enter_context(locks.folder(train_dir))
      checkpoints.remove_leftovers(train_dir)
    samples = None
    if _SAMPLE_IMAGE.value:
      samples = sample_captions.CaptionSamples(
          config.model,
          needed_vocabulary(config.model, vocab_file, '--sample_image'),
          _SAMPLE_IMAGE.value, config.training.seed)
    critic = None
    if _SELF_CRITICAL.value:
      # It reads all shards: last, when there is no mistake left to be found.
      critic = self_critical.make_critic(config.model, critical_vocab)
    loop.train(loop.TrainingRun(
        phase, train_dir, _NUMBER_OF_STEPS.value,
        train_encoder=_TRAIN_INCEPTION.value,
        log_every_n_steps=_LOG_EVERY_N_STEPS.value,
        init_checkpoint=_INIT_CHECKPOINT.value, first_values=first_values,
        on_start=functools.partial(
            run_start.save_run_files, config, vocab_file, train_dir),
        evaluation=eval_during, samples=samples, critic=critic,
        replica=replica))


if __name__ == '__main__':
  command_line.run(main)
