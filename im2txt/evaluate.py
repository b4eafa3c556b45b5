r"""Measure the perplexity and scores of a run's checkpoints as they appear.

  python -m im2txt.evaluate --checkpoint_dir=runs/coco \
    --eval_dir=runs/coco/eval --input_file_pattern='coco/val-?????-of-00004'

Perplexity = exp(sum of cross-entropies / number of words). It goes to the
log, to TensorBoard and to `metrics.jsonl` in --eval_dir, from where a later
run knows what has been evaluated. Once and no more: add --run_once.

With --metrics the images are captioned as well, and the captions scored
(BLEU, METEOR, ROUGE_L, CIDEr; see im2txt.score_captions) beside what the best
constant captions score; --keep_best=CIDEr then keeps the best checkpoint.
"""

import os
import time

from absl import flags, logging

from im2txt import command_line, configuration
from im2txt.checkpoints import folder as checkpoints
from im2txt.checkpoints import packed_model, run_folder, trained_model
from im2txt.evaluation import (
    best_checkpoint,
    checkpoint_watcher,
    evaluator,
    metrics_file,
)
from im2txt.evaluation.caption_evaluation import (
    CaptionEvaluation,
    find_training_shards,
)
from im2txt.files import file_system
from im2txt.flags.bad_records import BadRecordsFlag
from im2txt.flags.consensus import ConsensusFlags
from im2txt.flags.search import SearchFlags
from im2txt.inputs.shards import Shards
from im2txt.models.captioner import Captioner


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.bad_records = BadRecordsFlag(values)
    self.consensus = ConsensusFlags(values)
    self.search = SearchFlags(values)
    self.input_file_pattern = flags.DEFINE_string(
        'input_file_pattern', None, 'Comma-separated patterns of evaluation '
        "shards; for example 'shards/val-?????-of-00004'.", required=True,
        flag_values=values)
    self.checkpoint_dir = flags.DEFINE_string(
        'checkpoint_dir', None, 'The run folder that train.py writes.',
        required=True, flag_values=values)
    self.eval_dir = flags.DEFINE_string(
        'eval_dir', None, 'Where results go. Default: CHECKPOINT_DIR/eval.',
        flag_values=values)
    self.eval_interval_secs = flags.DEFINE_integer(
        'eval_interval_secs', 600, 'Seconds between looks for a new '
        'checkpoint.', lower_bound=0, flag_values=values)
    self.num_eval_examples = flags.DEFINE_integer(
        'num_eval_examples', evaluator.NUM_EVAL_EXAMPLES, 'Image-caption '
        'pairs of which to take the perplexity; all of the shards if they have '
        'fewer. (--metrics captions all images.)', lower_bound=1,
        flag_values=values)
    self.min_global_step = flags.DEFINE_integer(
        'min_global_step', 0, 'Checkpoints of earlier steps are left out.',
        flag_values=values)
    self.max_evals = flags.DEFINE_integer(
        'max_evals', 0, 'Stop after so many new checkpoints; 0: never.',
        flag_values=values)
    self.run_once = flags.DEFINE_bool(
        'run_once', False, 'Evaluate the newest checkpoint and stop.',
        flag_values=values)
    self.metrics = flags.DEFINE_bool(
        'metrics', False, 'Also caption the images, by the flags of the '
        'search, and score the captions. METEOR needs Java.',
        flag_values=values)
    self.train_file_pattern = flags.DEFINE_string(
        'train_file_pattern', None, 'With --metrics: the training shards, for '
        'which captions are new and which constant ones are best. Default: '
        "those of the run's configuration.", flag_values=values)
    self.vocab_file = flags.DEFINE_string(
        'vocab_file', None, 'With --metrics: the vocabulary. Default: the one '
        'in the run folder.', flag_values=values)
    self.keep_best = flags.DEFINE_enum(
        'keep_best', None, metrics_file.BEST_METRICS, 'Keep a copy of the '
        'checkpoint that is the best so far in this in CHECKPOINT_DIR/best; '
        'all but perplexity need --metrics.', flag_values=values)


def is_due(prefix: str, min_global_step: int) -> bool:
  """Return whether a checkpoint is to be evaluated; log it if it is not."""
  if checkpoints.step_of(prefix) < min_global_step:
    logging.info('%s is before --min_global_step=%d', prefix, min_global_step)
    return False
  return True


def wait_for_config(folder: str, interval_secs: float) -> None:
  """Wait until training has begun in a folder."""
  while not file_system.exists(
      os.path.join(folder, configuration.CONFIG_FILE)):
    logging.info('%s has no configuration yet', folder)
    time.sleep(interval_secs)


def find_model(
    path: str, run_once: bool, interval_secs: float
) -> tuple[str, str | None]:
  """Find what is to be evaluated.

  Args:
    path: a run folder, or a folder with a checkpoint of im2txt; or, to
      evaluate once, a checkpoint.
    run_once: whether there must be a checkpoint already.
    interval_secs: how often to look for the configuration of a run.

  Returns:
    The folder, and the checkpoint that is there, if any.

  Raises:
    OSError: there is no checkpoint to evaluate once.
    ValueError: it is a packed model.
  """
  if run_once:
    prefix = checkpoints.latest(path)
    if packed_model.is_packed(prefix):
      raise ValueError(f'{prefix} is a packed model; a checkpoint is evaluated')
    return os.path.dirname(prefix), prefix
  if not checkpoints.newest(path):
    wait_for_config(path, interval_secs)
  return path, checkpoints.newest(path)


def make_evaluator(
    flags_: Flags, captioner: Captioner, folder: str
) -> evaluator.Evaluator:
  """Make what evaluates checkpoints of a model by the flags.

  Args:
    flags_: of this command.
    captioner: the model; its configuration's `input_file_pattern` names the
      training shards.
    folder: of its checkpoints.

  Raises:
    ValueError: flags that contradict each other, or shards that cannot be
      used.
  """
  config = captioner.config
  keep_best = flags_.keep_best.value
  if keep_best:
    metrics_file.check_metric(keep_best)
    if keep_best != 'perplexity' and not flags_.metrics.value:
      raise ValueError(f'--keep_best={keep_best} needs --metrics')
  bad_records = flags_.bad_records.value() or config.bad_records
  shards = Shards.find(flags_.input_file_pattern.value, bad_records)
  consensus_shards = flags_.consensus.shards(bad_records)
  if consensus_shards and not flags_.metrics.value:
    raise ValueError('--consensus_file_pattern needs --metrics')
  captions = None
  if flags_.metrics.value:
    vocab = trained_model.load_vocabulary(
        config, folder, flags_.vocab_file.value)
    training = flags_.train_file_pattern.value or config.input_file_pattern
    captions = CaptionEvaluation(
        captioner, shards, training and find_training_shards(training),
        flags_.search.rules(vocab), flags_.search.options(), consensus_shards)
  return evaluator.Evaluator(
      captioner, shards, flags_.num_eval_examples.value, captions)


def main(flags_: Flags) -> None:
  """Evaluate."""
  interval_secs = flags_.eval_interval_secs.value
  folder, prefix = find_model(
      flags_.checkpoint_dir.value, flags_.run_once.value, interval_secs)
  captioner = Captioner(
      (trained_model.load_config(prefix) if prefix
       else run_folder.load_config(folder)).model)
  eval_dir = flags_.eval_dir.value or os.path.join(
      folder, metrics_file.EVAL_FOLDER)
  keep_best = flags_.keep_best.value
  model = make_evaluator(flags_, captioner, folder)
  least = flags_.min_global_step.value
  if flags_.run_once.value:
    if not is_due(prefix, least):
      raise ValueError(f'{folder}: no checkpoint to evaluate that has '
                       f'reached --min_global_step={least}')
    best_checkpoint.evaluate_new(model, prefix, eval_dir, keep_best)
    return
  evaluations = 0
  for prefix in checkpoint_watcher.watch(folder, interval_secs):
    evaluations += is_due(prefix, least) and best_checkpoint.evaluate_new(
        model, prefix, eval_dir, keep_best)
    if flags_.max_evals.value and evaluations >= flags_.max_evals.value:
      return


if __name__ == '__main__':
  command_line.run(main, Flags)
