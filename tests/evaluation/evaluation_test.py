"""Evaluation while training: the best checkpoint, early ends, averages."""

import json
import shutil
import threading

import numpy as np
import pytest
from command_runner import NO_JAVA

from im2txt.checkpoints import names
from im2txt.checkpoints.run_folder import load_config
from im2txt.evaluation import best_checkpoint, during_training, metrics_file
from im2txt.evaluation.evaluator import Evaluator
from im2txt.inputs.shards import Shards
from im2txt.models.captioner import Captioner

AVERAGED = ('image_embedding/weights', 'seq_embedding/map',
            'lstm/basic_lstm_cell/kernel', 'lstm/basic_lstm_cell/bias',
            'logits/weights', 'logits/biases')


def result(perplexity, **fields):
  return metrics_file.Result(**{
      'global_step': 1, 'perplexity': perplexity, 'num_examples': 5,
      'num_words': 30, 'input_file_pattern': 'val-*', 'num_eval_examples': 5,
      'fingerprint': 'x', **fields})


@pytest.mark.parametrize('perplexities, since', [
    ([], 0), ([5.0], 0), ([5.0, 4.0], 0), ([4.0, 5.0], 1),
    ([4.0, 3.0, 3.0, 7.0], 2), ([float('inf')], 0),
])
def test_evaluations_since_the_best(perplexities, since):
  assert best_checkpoint.evaluations_since_best(
      [result(perplexity) for perplexity in perplexities],
      'perplexity') == since
  # Of scores the highest is the best.
  assert best_checkpoint.evaluations_since_best(
      [result(1.0, scores={'captions': {'CIDEr': -perplexity}})
       for perplexity in perplexities], 'CIDEr') == since


@pytest.mark.parametrize('scores', [None, {'captions': {'CIDEr': 0.5}}])
def test_a_score_that_is_unknown_decides_nothing(scores):
  # As where Java failed in the middle of training.
  with pytest.raises(ValueError, match='METEOR of step 1 is unknown'):
    best_checkpoint.evaluations_since_best(
        [result(1.0, scores=scores)], 'METEOR')


@pytest.fixture(scope='module')
def evaluator(trained, task):
  config = load_config(str(trained.folder)).model
  return Evaluator(Captioner(config), Shards.find(task.val_pattern), 7)


@pytest.fixture
def run_folder(trained, tmp_path):
  """A run folder with checkpoints of steps 0 and 6."""
  folder = tmp_path / 'run'
  shutil.copytree(trained.folder, folder)
  return folder


def evaluate_new(evaluator, folder, step, keep_best='perplexity'):
  return best_checkpoint.evaluate_new(
      evaluator, str(folder / f'model.ckpt-{step}'), str(folder / 'eval'),
      keep_best)


def names_in(folder):
  return sorted(path.name for path in folder.iterdir())


def files_of(step):
  return sorted([
      'checkpoint', 'config.json', f'model.ckpt-{step}.data-00000-of-00001',
      f'model.ckpt-{step}.index', 'word_counts.txt'])


def test_the_best_checkpoint_is_a_run_folder_of_its_own(
    evaluator, run_folder, launch, task):
  best = run_folder / 'best'
  assert evaluate_new(evaluator, run_folder, 0)
  assert names_in(best) == files_of(0)
  assert evaluate_new(evaluator, run_folder, 6)  # Trained: better.
  assert names_in(best) == files_of(6)
  # It needs nothing of the folder that it comes from.
  shutil.move(best, run_folder.parent / 'elsewhere')
  shutil.rmtree(run_folder)
  finished = launch(
      'im2txt.run_inference', f'--input_files={task.images[0]}',
      f'--checkpoint_path={run_folder.parent / "elsewhere"}')
  assert finished.returncode == 0, finished.stderr
  assert '  0) ' in finished.stdout


def test_a_worse_checkpoint_does_not_take_its_place(evaluator, run_folder):
  assert evaluate_new(evaluator, run_folder, 6)
  assert evaluate_new(evaluator, run_folder, 0)
  assert names_in(run_folder / 'best') == files_of(6)


class Captions:
  """Scores of captions, made up: the untrained model is the better one."""

  names = ('CIDEr',)

  def is_comparable(self, scores):
    return scores is not None

  def evaluate(self, values):
    cider = 1.0 - values['global_step'] / 10
    return {'num_images': 7, 'captions': {'CIDEr': cider},
            'diversity': {'distinct': 0.5, 'novel': None},
            'constants': {'CIDEr': {'caption': 'a', 'scores': {'CIDEr': 0.1}}},
            'settings': {}}


@pytest.mark.parametrize('order', [(0, 6), (6, 0)])
def test_the_best_by_a_score(
    order, run_folder, trained, task, caplog):
  config = load_config(str(trained.folder)).model
  scoring = Evaluator(
      Captioner(config), Shards.find(task.val_pattern), 7, Captions())
  with caplog.at_level('INFO'):
    for step in order:
      assert evaluate_new(scoring, run_folder, step, 'CIDEr')
  assert names_in(run_folder / 'best') == files_of(0)
  assert 'CIDEr = 0.4000' in caplog.text
  assert 'constant captions reach CIDEr = 0.1000' in caplog.text
  results = metrics_file.read_results(str(run_folder / 'eval'))
  assert [r.scores['captions']['CIDEr'] for r in results] == [
      pytest.approx(1 - step / 10) for step in order]


def test_what_has_no_scores_is_evaluated_again(
    evaluator, run_folder, trained, task):
  config = load_config(str(trained.folder)).model
  scoring = Evaluator(
      Captioner(config), Shards.find(task.val_pattern), 7, Captions())
  assert evaluate_new(evaluator, run_folder, 6)
  assert evaluate_new(scoring, run_folder, 6)
  assert not evaluate_new(scoring, run_folder, 6)
  # With scores there is all that was asked for.
  assert not evaluate_new(evaluator, run_folder, 6)


@pytest.mark.parametrize('metric, reason', [
    ('accuracy', "best_metric is 'accuracy'; it must be one of perplexity, "
                 'Bleu_1'),
    ('METEOR', 'METEOR cannot be computed: it needs java')])
def test_a_best_that_will_not_be_known(metric, reason, monkeypatch):
  monkeypatch.setenv('PATH', NO_JAVA['PATH'])
  with pytest.raises(ValueError, match=reason):
    metrics_file.check_metric(metric)


def test_a_best_of_an_unknown_score_is_not_kept(
    run_folder, trained, task):
  config = load_config(str(trained.folder)).model
  scoring = Evaluator(
      Captioner(config), Shards.find(task.val_pattern), 7, Captions())
  with pytest.raises(ValueError, match='METEOR of step 6 is unknown'):
    evaluate_new(scoring, run_folder, 6, 'METEOR')
  assert not (run_folder / 'best').exists()


def test_the_best_is_kept_only_if_asked_for(evaluator, run_folder):
  assert evaluate_new(evaluator, run_folder, 6, keep_best=None)
  assert not (run_folder / 'best').exists()


def test_a_best_that_was_known_before_is_kept_all_the_same(
    evaluator, run_folder):
  assert evaluate_new(evaluator, run_folder, 6, keep_best=None)
  assert not evaluate_new(evaluator, run_folder, 6)
  assert names_in(run_folder / 'best') == files_of(6)


def test_the_best_on_other_data_is_evaluated_on_this(evaluator, run_folder):
  # As if another spelling of the shards had made it the best.
  assert evaluate_new(evaluator, run_folder, 6)
  (run_folder / 'eval' / 'metrics.jsonl').write_text(
      json.dumps(result(1.0)._asdict()) + '\n')
  assert evaluate_new(evaluator, run_folder, 0)
  assert names_in(run_folder / 'best') == files_of(6)
  results = metrics_file.read_results(str(run_folder / 'eval'))
  assert [result.global_step for result in results] == [1, 0, 6]


def test_the_best_of_another_model_is_replaced(
    evaluator, run_folder, read_checkpoint, write_checkpoint):
  best = run_folder / 'best'
  best.mkdir()
  values = read_checkpoint(run_folder / 'model.ckpt-6')
  write_checkpoint(best / 'model.ckpt-9', values | {
      'logits/biases': np.zeros(23, np.float32)})
  assert evaluate_new(evaluator, run_folder, 0)
  assert names_in(best) == files_of(0)


def test_averages_are_what_is_evaluated(
    evaluator, trained, read_checkpoint, write_checkpoint, tmp_path):
  random = np.random.default_rng(1)
  values = read_checkpoint(trained.folder / 'model.ckpt-6')
  other = {name: random.normal(size=values[name].shape).astype(np.float32)
           for name in AVERAGED}
  averages = {names.average_name(name): value
              for name, value in other.items()}
  write_checkpoint(tmp_path / 'model.ckpt-1', values | averages)
  write_checkpoint(tmp_path / 'model.ckpt-2', values | other)
  found = [evaluator.evaluate(str(tmp_path / f'model.ckpt-{step}'))
           for step in (1, 2)]
  assert found[0] == found[1]
  assert found[0].perplexity != pytest.approx(evaluator.evaluate(
      str(trained.folder / 'model.ckpt-6')).perplexity, rel=1e-3)


@pytest.fixture(scope='module')
def stopped_early(task, launch, tmp_path_factory):
  """A run that does not learn, with averages: folder and what it said."""
  folder = tmp_path_factory.mktemp('runs') / 'early'
  finished = launch(
      'im2txt.train', f'--config={task.config_file}',
      f'--input_file_pattern={task.train_pattern}', f'--train_dir={folder}',
      f'--eval_file_pattern={task.val_pattern}', '--number_of_steps=40',
      '--config.training.save_interval_steps=2',
      '--config.training.early_stopping_patience=3',
      '--config.training.initial_learning_rate=0.0',
      '--config.training.ema_decay=0.9')
  assert finished.returncode == 0, finished.stderr
  return folder, finished.lines


def test_training_evaluates_at_each_checkpoint_and_ends_early(stopped_early):
  folder, lines = stopped_early
  results = metrics_file.read_results(str(folder / 'eval'))
  assert [result.global_step for result in results] == [2, 4, 6, 8]
  assert len({round(result.perplexity, 4) for result in results}) == 1
  assert names_in(folder / 'best') == files_of(2)
  [line] = [line for line in lines if 'Stopping early' in line]
  assert '3 evaluations' in line and str(folder / 'best') in line
  assert (folder / 'model.ckpt-8.index').exists()


@pytest.mark.long
def test_training_keeps_the_best_by_a_score(launch_train, task, tmp_path):
  flags = ('--config.training.save_interval_steps=2',
           f'--eval_file_pattern={task.val_pattern}')
  finished = launch_train('--config.training.best_metric=CIDEr', *flags,
                          '--number_of_steps=4', environment=NO_JAVA)
  assert finished.returncode == 0, finished.stderr
  results = metrics_file.read_results(str(tmp_path / 'run' / 'eval'))
  assert [result.global_step for result in results] == [2, 4]
  ciders = [result.scores['captions']['CIDEr'] for result in results]
  assert names_in(tmp_path / 'run' / 'best') == files_of(
      4 if ciders[1] > ciders[0] else 2)
  finished = launch_train(
      '--config.training.best_metric=METEOR', *flags, '--number_of_steps=6',
      environment=NO_JAVA)
  assert finished.returncode == 1
  assert 'METEOR cannot be computed: it needs java' in finished.lines[-1]


def test_captioning_takes_the_averages(
    stopped_early, launch, task, read_checkpoint, write_checkpoint, tmp_path):
  folder, _ = stopped_early
  run = tmp_path / 'run'
  shutil.copytree(folder / 'best', run)
  values = read_checkpoint(run / 'model.ckpt-2')
  # Averages that say nothing but `blue`.
  biases = np.zeros_like(values['logits/biases'])
  biases[6] = 50.0
  assert names.average_name('logits/biases') in values
  write_checkpoint(run / 'model.ckpt-2', values | {
      names.average_name('logits/biases'): biases})
  finished = launch('im2txt.run_inference', f'--checkpoint_path={run}',
                    f'--input_files={task.images[0]}')
  assert finished.returncode == 0, finished.stderr
  assert '0) blue blue blue' in finished.stdout


@pytest.mark.long
def test_patience_counts_from_the_start_of_the_process(
    stopped_early, launch, task, tmp_path):
  folder, _ = stopped_early
  shutil.copytree(folder, tmp_path / 'run')
  finished = launch('im2txt.train', f'--train_dir={tmp_path / "run"}',
                    f'--eval_file_pattern={task.val_pattern}',
                    '--number_of_steps=99')
  assert finished.returncode == 0, finished.stderr
  results = metrics_file.read_results(str(tmp_path / 'run' / 'eval'))
  assert [result.global_step for result in results[4:]] == [10, 12, 14, 16]


def test_features_are_not_for_phase_2(stopped_early, launch, tmp_path, task):
  folder, _ = stopped_early
  features = tmp_path / 'features'
  finished = launch(
      'data_prep.cache_features', f'--config={task.config_file}',
      f'--input_file_pattern={task.val_pattern}', f'--output_dir={features}')
  assert finished.returncode == 0, finished.stderr
  shutil.copytree(folder, tmp_path / 'run')
  finished = launch('im2txt.train', f'--train_dir={tmp_path / "run"}',
                    '--train_inception', '--number_of_steps=99',
                    f'--eval_file_pattern={features}/val-*')
  assert finished.returncode == 1
  assert finished.error.startswith(
      f'train: error: {features}/val-* holds features of the encoder as it was')


def test_without_something_to_evaluate_training_goes_to_its_end(
    launch_train, tmp_path):
  finished = launch_train('--config.training.early_stopping_patience=3',
                          '--config.training.best_metric=CIDEr',
                          '--number_of_steps=1')
  assert finished.returncode == 0, finished.stderr
  [line] = [line for line in finished.lines if '--eval_file_pattern' in line]
  assert 'early_stopping_patience' in line and 'best_metric' in line
  assert (tmp_path / 'run' / 'model.ckpt-1.index').exists()


def test_shards_to_evaluate_on_that_are_not_there(launch_train, tmp_path):
  finished = launch_train(f'--eval_file_pattern={tmp_path}/none-*',
                          '--number_of_steps=1')
  assert finished.returncode == 1
  assert f'no file matches {tmp_path}/none-*' in finished.error


class Stops(during_training.TrainingEvaluation):
  """Want training to end as soon as it sees a checkpoint."""

  def __init__(self, train_dir):
    self._train_dir = train_dir

  def run(self):
    return True


def test_another_process_is_told_to_end_early(
    write_checkpoint, tmp_path, monkeypatch):
  monkeypatch.setattr(during_training, '_FOLLOW_SECS', 0)
  (tmp_path / 'eval').mkdir()
  write_checkpoint(tmp_path / 'model.ckpt-6', {'global_step': np.int64(6)})
  trains = during_training.EvaluationElsewhere(str(tmp_path))
  assert not trains.run()
  Stops(str(tmp_path)).follow(99, threading.Event())
  assert trains.run()
  # It goes on if it is started again.
  assert not trains.run()
  Stops(str(tmp_path)).follow(99, threading.Event())
  # Who evaluates again begins to count again.
  interrupted = threading.Event()
  interrupted.set()
  Stops(str(tmp_path)).follow(99, interrupted)
  assert not trains.run()
