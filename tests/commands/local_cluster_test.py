"""`python -m im2txt.local_cluster`, with processes of its own."""

import json
import signal

import pytest


def flags_of(task, folder, *more):
  # Processes that the command starts do not know the tests' own encoder.
  return [f'--config={task.config_file}', f'--train_dir={folder}',
          '--config.model.encoder=efficientnet_lite0',
          f'--input_file_pattern={task.train_pattern}',
          '--log_every_n_steps=1', *more]


@pytest.mark.long
def test_workers_and_an_evaluator(task, launch, tmp_path):
  finished = launch(
      'im2txt.local_cluster', '--workers=2', '--ps=2', '--evaluator', '--',
      *flags_of(task, tmp_path, '--number_of_steps=9',
                '--config.training.sync_replicas',
                f'--eval_file_pattern={task.val_pattern}'))
  assert finished.returncode == 0, finished.stderr
  for expected in (
      '[chief 0] ', '/job:chief/task:0, replica 0 of 2, computes gradients on '
      'the CPU; variables are on 2 ps',
      '/job:worker/task:0, replica 1 of 2', '[ps 1] ', '[evaluator 0] '):
    assert expected in finished.stderr
  [last] = [json.loads(line) for line in (
      tmp_path / 'eval' / 'metrics.jsonl').read_text().splitlines()
            if json.loads(line)['global_step'] >= 9]
  assert (tmp_path / f'model.ckpt-{last["global_step"]}.index').exists()
  assert (tmp_path / 'best' / 'checkpoint').exists()
  # Only the chief writes, of which there is one process.
  assert len(list(tmp_path.glob('events.out.tfevents.*'))) == 1


@pytest.mark.long
def test_one_that_fails_ends_all(task, launch, tmp_path):
  # Two shards are too few for three replicas.
  finished = launch('im2txt.local_cluster', '--workers=3', '--',
                    *flags_of(task, tmp_path))
  assert finished.returncode == 1
  assert '3 replicas need a shard each' in finished.stderr
  assert 'failed (exit status 1): stopping the others' in finished.stderr


@pytest.mark.long
def test_sigterm_saves_and_stops_all(task, start, tmp_path):
  command = start(
      'im2txt.local_cluster', '--workers=2', '--evaluator', '--',
      *flags_of(task, tmp_path, '--config.training.sync_replicas',
                f'--eval_file_pattern={task.val_pattern}'))
  command.wait_for(r'\[chief 0\] [\d:]+ step 20: ')
  command.send(signal.SIGTERM)
  finished = command.finish()
  assert finished.returncode == 0, finished.stderr
  step = max(int(line.split(' step ')[1].split(':')[0])
             for line in finished.lines if '[chief 0]' in line
             and ' step ' in line)
  assert (tmp_path / f'model.ckpt-{step}.index').exists()


@pytest.mark.long
@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGINT])
def test_stopped_before_it_trains(task, start, tmp_path, number):
  command = start('im2txt.local_cluster', '--workers=2', '--',
                  *flags_of(task, tmp_path, '--number_of_steps=100000'))
  command.wait_for(r'\[ps 0\] [\d:]+ /job:ps/task:0 keeps variables')
  command.send(number)
  finished = command.finish()
  assert finished.returncode in (0, 1), finished.stderr
  assert 'killing' not in finished.stderr


def test_mistakes(launch):
  assert 'no flags of training; give them behind --' in launch(
      'im2txt.local_cluster').error
  assert 'TF_CONFIG is set' in launch(
      'im2txt.local_cluster', '--', '--train_dir=x',
      environment={'TF_CONFIG': '{}'}).error
  finished = launch('im2txt.local_cluster', '--gpus', '--workers=999', '--',
                    '--train_dir=x')
  assert '--workers=999, but there are' in finished.error
