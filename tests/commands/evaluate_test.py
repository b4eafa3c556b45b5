"""`python -m im2txt.evaluate`, and its figure computed another way."""

import dataclasses
import json
import math
import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
from command_runner import NO_JAVA
from tiny_task import TRAIN_CAPTIONS

from im2txt import evaluate, inference_wrapper
from im2txt.checkpoints.run_folder import load_config
from im2txt.evaluation import best_checkpoint
from im2txt.evaluation.evaluator import Evaluator
from im2txt.inputs.shards import Shards
from im2txt.models.captioner import Captioner

tf1 = tf.compat.v1


@pytest.fixture(scope='module')
def pair_costs(trained, task):
  """(nats, words) of each pair, by the search's graph, a word at a time."""
  config = load_config(str(trained.folder)).model
  costs = []
  with tf.Graph().as_default(), tf1.Session() as session:
    model = inference_wrapper.InferenceWrapper()
    model.build_graph_from_config(config, str(trained.folder))(session)
    for encoded_image, ids in task.val_pairs:
      state = model.feed_image(session, encoded_image)
      nats = 0.0
      for word, following in zip(ids[:-1], ids[1:], strict=True):
        softmax, state, _ = model.inference_step(session, [word], state)
        nats -= math.log(softmax[0, following])
      costs.append((nats, len(ids) - 1))
  return costs


def perplexity_of(costs):
  nats, words = map(sum, zip(*costs, strict=True))
  return math.exp(nats / words)


def results_in(folder):
  return [json.loads(line)
          for line in (folder / 'metrics.jsonl').read_text().splitlines()]


def scalars_in(folder):
  """(tag, step, value) of every scalar in a folder's events."""
  return [(value.tag, event.step, value.simple_value)
          for path in sorted(folder.glob('events.out.tfevents.*'))
          for event in tf1.train.summary_iterator(str(path))
          for value in event.summary.value]


def copy_checkpoint(source, folder, step):
  """Put a checkpoint into a folder as training does, the index last."""
  for suffix in ('data-00000-of-00001', 'index'):
    name = f'model.ckpt-{step}.{suffix}'
    shutil.copy(source / name, folder / f'{name}.part')
    os.replace(folder / f'{name}.part', folder / name)


@pytest.fixture
def run_folder(trained, tmp_path):
  """A run folder that has its first checkpoint only."""
  folder = tmp_path / 'run'
  folder.mkdir()
  shutil.copy(trained.folder / 'config.json', folder)
  copy_checkpoint(trained.folder, folder, 0)
  return folder


@pytest.fixture
def launch_once(trained, task, launch, tmp_path):
  """Evaluate the trained run once."""
  def go(*arguments):
    return launch(
        'im2txt.evaluate', f'--checkpoint_dir={trained.folder}',
        f'--eval_dir={tmp_path / "eval"}', '--run_once',
        f'--input_file_pattern={task.val_pattern}', *arguments)
  return go


def test_perplexity_once_and_no_more(
    launch_once, task, pair_costs, tmp_path):
  finished = launch_once()
  assert finished.returncode == 0, finished.stderr
  [result] = results_in(tmp_path / 'eval')
  assert result['global_step'] == 6
  assert result['num_examples'] == 7
  assert result['num_words'] == sum(words for _, words in pair_costs)
  assert result['perplexity'] == pytest.approx(
      perplexity_of(pair_costs), rel=1e-4)
  assert result['input_file_pattern'] == task.val_pattern
  scalars = {(tag, step): value
             for tag, step, value in scalars_in(tmp_path / 'eval')}
  assert scalars == pytest.approx({
      ('Perplexity', 6): result['perplexity'],
      ('Accuracy', 6): result['accuracy']})
  # The share of so many words.
  assert result['accuracy'] * result['num_words'] == pytest.approx(
      round(result['accuracy'] * result['num_words']))
  said = f'perplexity = {result["perplexity"]:.4f}'
  assert (f'Step 6: {said}, accuracy = {result["accuracy"]:.4f} over 7 pairs'
          in finished.stderr)

  again = launch_once()
  assert again.returncode == 0
  assert f'Step 6 was evaluated before: {said}' in again.stderr
  assert results_in(tmp_path / 'eval') == [result]
  assert len(scalars_in(tmp_path / 'eval')) == 2


def test_metrics(launch, trained, task, run_folder):
  copy_checkpoint(trained.folder, run_folder, 6)
  shutil.copy(task.vocab_file, run_folder)
  finished = launch(
      'im2txt.evaluate', f'--checkpoint_dir={run_folder}', '--run_once',
      f'--input_file_pattern={task.val_pattern}', '--metrics',
      '--keep_best=CIDEr', '--beam_size=2', environment=NO_JAVA)
  assert finished.returncode == 0, finished.stderr
  [result] = results_in(run_folder / 'eval')
  scores = result['scores']
  # The second shard counts its images from 0, like the first.
  assert scores['num_images'] == 7
  assert scores['settings']['beam_size'] == 2
  assert set(scores['captions']) == {
      'Bleu_1', 'Bleu_2', 'Bleu_3', 'Bleu_4', 'ROUGE_L', 'CIDEr'}
  assert {constant['caption'] for constant in scores['constants'].values()} <= {
      caption.removesuffix(' .') for caption in TRAIN_CAPTIONS}
  assert {tag for tag, *_ in scalars_in(run_folder / 'eval')} == {
      'Perplexity', 'Accuracy', *scores['captions'],
      *(f'Diversity/{name}' for name in scores['diversity'])}
  assert f'CIDEr = {scores["captions"]["CIDEr"]:.4f}' in finished.stderr
  assert 'METEOR is left out: it needs java' in finished.stderr
  assert (run_folder / 'best' / 'model.ckpt-6.index').exists()


@pytest.fixture(scope='module')
def make_evaluator(trained, task):
  """Make an evaluator of 5 pairs, of the trained run with other numbers."""
  def make(pattern=task.val_pattern, **fields):
    config = load_config(str(trained.folder)).model
    return Evaluator(
        Captioner(dataclasses.replace(config, **fields)),
        Shards.find(pattern), 5)
  return make


@pytest.fixture(scope='module')
def evaluator(make_evaluator):
  """Of the run as it is."""
  return make_evaluator()


@pytest.fixture(scope='module')
def queue_evaluator(make_evaluator):
  """Of the other pipeline, in batches of another size."""
  return make_evaluator(input_pipeline='queue', batch_size=4)


@pytest.mark.parametrize('name', ['evaluator', 'queue_evaluator'])
def test_the_given_number_of_examples_is_exact(
    name, request, trained, pair_costs):
  # 5 pairs are a batch and a part of one; they lie in both shards.
  evaluator = request.getfixturevalue(name)
  first = evaluator.evaluate(str(trained.folder / 'model.ckpt-0'))
  last = evaluator.evaluate(str(trained.folder / 'model.ckpt-6'))
  assert (first.global_step, last.global_step) == (0, 6)
  assert last.num_examples == last.num_eval_examples == 5
  assert last.num_words == sum(words for _, words in pair_costs[:5])
  assert last.perplexity == pytest.approx(
      perplexity_of(pair_costs[:5]), rel=1e-4)
  assert first.perplexity == pytest.approx(17, rel=0.1)
  assert first.perplexity != pytest.approx(last.perplexity, rel=1e-3)


def test_a_model_gone_astray(
    evaluator, trained, read_checkpoint, write_checkpoint, tmp_path):
  values = read_checkpoint(trained.folder / 'model.ckpt-6')
  values['logits/biases'] = np.linspace(0, 1e5, 17, dtype=np.float32)
  write_checkpoint(tmp_path / 'model.ckpt-7', values)
  result = evaluator.evaluate(str(tmp_path / 'model.ckpt-7'))
  assert result.perplexity == math.inf


def test_what_is_another_evaluation(
    evaluator, trained, read_checkpoint, write_checkpoint, tmp_path):
  prefix = tmp_path / 'model.ckpt-6'
  values = read_checkpoint(trained.folder / 'model.ckpt-6')

  def is_new():
    return best_checkpoint.evaluate_new(
        evaluator, str(prefix), str(tmp_path), keep_best=None)

  write_checkpoint(prefix, values)
  assert is_new()
  assert not is_new()
  # A run that is resumed writes its checkpoint once more, in phase 2 with
  # further slots of the optimiser.
  write_checkpoint(
      prefix, values | {'optimizer/x/Adam': np.zeros(3, np.float32)})
  assert not is_new()
  # A run begun anew in the same folder has another model of the same step.
  write_checkpoint(
      prefix, values | {'logits/biases': np.ones(17, np.float32)})
  assert is_new()
  # Other examples.
  [_, last] = results_in(tmp_path)
  (tmp_path / 'metrics.jsonl').write_text(''.join(
      json.dumps(last | other) + '\n'
      for other in ({'num_eval_examples': 4}, {'input_file_pattern': 'x-*'})))
  assert is_new()
  assert not is_new()


@pytest.mark.long
def test_watches_for_further_checkpoints(
    trained, task, start, run_folder):
  watcher = start(
      'im2txt.evaluate', f'--checkpoint_dir={run_folder}',
      f'--input_file_pattern={task.val_pattern}', '--eval_interval_secs=1',
      '--max_evals=2')
  watcher.wait_for('Step 0: perplexity')
  copy_checkpoint(trained.folder, run_folder, 6)
  finished = watcher.finish()
  assert finished.returncode == 0, finished.stderr
  results = results_in(run_folder / 'eval')
  assert [result['global_step'] for result in results] == [0, 6]
  assert {scalar[:2] for scalar in scalars_in(run_folder / 'eval')} == {
      (tag, step) for tag in ('Perplexity', 'Accuracy') for step in (0, 6)}


def test_waits_until_told_to_stop(trained, task, start, run_folder):
  watcher = start(
      'im2txt.evaluate', f'--checkpoint_dir={run_folder}',
      f'--input_file_pattern={task.val_pattern}', '--eval_interval_secs=1',
      '--min_global_step=5')
  watcher.wait_for('model.ckpt-0 is before --min_global_step=5')
  copy_checkpoint(trained.folder, run_folder, 6)
  watcher.wait_for('Step 6: perplexity')
  watcher.send(signal.SIGINT)
  finished = watcher.finish()
  assert finished.returncode == 130
  assert 'Traceback' not in finished.stderr
  [result] = results_in(run_folder / 'eval')
  assert result['global_step'] == 6


def test_nothing_to_evaluate_once(launch_once, trained, tmp_path):
  early = launch_once('--min_global_step=7')
  assert early.returncode == 1
  assert early.lines[-1].startswith('evaluate: error: ')
  assert '--min_global_step=7' in early.lines[-1]
  assert not (tmp_path / 'eval').exists()
  shutil.copy(trained.folder / 'config.json', tmp_path)
  none = launch_once(f'--checkpoint_dir={tmp_path}')
  assert none.returncode == 1
  assert none.lines[-1].startswith('evaluate: error: ')
  assert str(tmp_path) in none.lines[-1]


def test_a_damaged_shard(make_evaluator, task, trained, tmp_path):
  # The reader of a queue fails in a thread of its own.
  whole = (task.folder / 'val-00000-of-00002').read_bytes()
  (tmp_path / 'damaged').write_bytes(whole[:-50])
  evaluator = make_evaluator(
      str(tmp_path / 'damaged'), input_pipeline='queue')
  with pytest.raises(ValueError, match='truncated record') as error:
    evaluator.evaluate(str(trained.folder / 'model.ckpt-6'))
  assert str(tmp_path / 'damaged') in str(error.value)


def test_mistakes(launch, launch_once, task, tmp_path):
  def error_of(finished):
    assert finished.returncode == 1
    assert finished.error.startswith('evaluate: error: ')
    return finished.error

  assert f'{tmp_path}/none-*' in error_of(
      launch_once(f'--input_file_pattern={tmp_path}/none-*'))
  assert f'{tmp_path}/norun: no such checkpoint' in error_of(
      launch_once(f'--checkpoint_dir={tmp_path}/norun'))

  (tmp_path / 'eval').mkdir()
  for line in (b'{"global_step": 6\n', b'\xff\n'):
    (tmp_path / 'eval' / 'metrics.jsonl').write_bytes(line)
    finished = launch_once()
    assert finished.returncode == 1
    assert finished.lines[-1].startswith('evaluate: error: ')
    assert f'{tmp_path}/eval/metrics.jsonl:1: ' in finished.lines[-1]

  assert error_of(launch_once('--keep_best=CIDEr')) == (
      'evaluate: error: --keep_best=CIDEr needs --metrics')

  finished = launch('im2txt.evaluate', f'--checkpoint_dir={tmp_path}')
  assert finished.returncode == 2
  assert '--input_file_pattern' in finished.error


def test_what_is_evaluated(trained, tmp_path):
  folder = str(trained.folder)
  newest = f'{folder}/model.ckpt-6'
  assert evaluate.find_model(folder, True, 1) == (folder, newest)
  assert evaluate.find_model(newest, True, 1) == (folder, newest)
  assert evaluate.find_model(folder, False, 1) == (folder, newest)
  # A checkpoint of im2txt has no configuration to wait for.
  for file in trained.folder.glob('model.ckpt-6.*'):
    shutil.copy(file, tmp_path)
  assert evaluate.find_model(str(tmp_path), False, 1) == (
      str(tmp_path), f'{tmp_path}/model.ckpt-6')
  (tmp_path / 'packed').mkdir()
  (tmp_path / 'packed' / 'weights.npz').touch()
  with pytest.raises(ValueError, match='packed model'):
    evaluate.find_model(f'{tmp_path}/packed', True, 1)
