r"""Measures the perplexity and scores of a run's checkpoints as they appear.

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
from im2txt.checkpoints import run_folder, trained_model
from im2txt.evaluation import evaluator as evaluation
from im2txt.evaluation.caption_evaluation import CaptionEvaluation
from im2txt.files import file_system
from im2txt.flags import bad_records as bad_records_flag
from im2txt.flags import consensus as consensus_flags
from im2txt.flags import search as search_flags

flags.adopt_module_key_flags(bad_records_flag)
flags.adopt_module_key_flags(consensus_flags)
flags.adopt_module_key_flags(search_flags)

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
    'num_eval_examples', evaluation.NUM_EVAL_EXAMPLES, 'Image-caption pairs '
    'of which to take the perplexity; all of the shards if they have fewer. '
    '(--metrics captions all images.)', lower_bound=1)
_MIN_GLOBAL_STEP = flags.DEFINE_integer(
    'min_global_step', 0, 'Checkpoints of earlier steps are left out.')
_MAX_EVALS = flags.DEFINE_integer(
    'max_evals', 0, 'Stop after so many new checkpoints; 0: never.')
_RUN_ONCE = flags.DEFINE_bool(
    'run_once', False, 'Evaluate the newest checkpoint and stop.')
_METRICS = flags.DEFINE_bool(
    'metrics', False, 'Also caption the images, by the flags of the search, '
    'and score the captions. METEOR needs Java.')
_TRAIN_FILE_PATTERN = flags.DEFINE_string(
    'train_file_pattern', None, 'With --metrics: the training shards, for '
    'which captions are new and which constant ones are best. Default: '
    "those of the run's configuration.")
_VOCAB_FILE = flags.DEFINE_string(
    'vocab_file', None, 'With --metrics: the vocabulary. Default: the one in '
    'the run folder.')
_KEEP_BEST = flags.DEFINE_enum(
    'keep_best', None, evaluation.BEST_METRICS, 'Keep a copy of the checkpoint '
    'that is the best so far in this in CHECKPOINT_DIR/best; all but '
    'perplexity need --metrics.')


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
  while not (_RUN_ONCE.value or file_system.exists(
      os.path.join(folder, configuration.CONFIG_FILE))):
    logging.info('%s has no configuration yet', folder)
    time.sleep(_EVAL_INTERVAL_SECS.value)
  config = run_folder.load_config(folder).model
  training_pattern = _TRAIN_FILE_PATTERN.value or config.input_file_pattern
  config.input_file_pattern = _INPUT_FILE_PATTERN.value
  bad_records_flag.apply(config)
  eval_dir = _EVAL_DIR.value or os.path.join(
      folder, evaluation.EVAL_FOLDER)
  captions = None
  if _KEEP_BEST.value:
    evaluation.check_metric(_KEEP_BEST.value)
    if _KEEP_BEST.value != 'perplexity' and not _METRICS.value:
      raise ValueError(f'--keep_best={_KEEP_BEST.value} needs --metrics')
  consensus_config = consensus_flags.shards(config)
  if consensus_config and not _METRICS.value:
    raise ValueError('--consensus_file_pattern needs --metrics')
  if _METRICS.value:
    rules = search_flags.rules(
        trained_model.load_vocabulary(config, folder, _VOCAB_FILE.value))
    captions = CaptionEvaluation(
        config, training_pattern, rules, search_flags.options(),
        consensus_config)
  evaluator = evaluation.Evaluator(
      config, _NUM_EVAL_EXAMPLES.value, captions)
  evaluations = 0
  last = None
  while True:
    due = find_due(folder, _MIN_GLOBAL_STEP.value)
    if due and due != last:
      evaluations += evaluation.evaluate_new(
          evaluator, due, eval_dir, _KEEP_BEST.value)
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
