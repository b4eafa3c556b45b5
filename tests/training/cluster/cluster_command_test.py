"""Training with several processes, end to end."""

import itertools
import json
import re
import signal
import time

import numpy as np
import pytest
from command_runner import free_hosts
from tiny_task import write_shard

STEPS = 50
# Of several lengths; the halves have different numbers of words.
# 'zebra' is no word of the vocabulary.
CAPTIONS = ('a red square zebra .', 'a big green circle',
            'the blue square zebra', 'a square', 'the green square .',
            'a blue circle on the left .')


@pytest.fixture(scope='module')
def features(task, launch, tmp_path_factory):
  """Two shards of three images each, which are never distorted."""
  shards, folder = (tmp_path_factory.mktemp(name)
                    for name in ('halves', 'features'))
  write_shard(shards / 'train-00000-of-00002', CAPTIONS[:3])
  write_shard(shards / 'train-00001-of-00002', CAPTIONS[3:])
  (shards / 'word_counts.txt').write_bytes(task.vocab_file.read_bytes())
  finished = launch(
      'data_prep.cache_features', f'--config={task.config_file}',
      f'--input_file_pattern={shards}/train-*', f'--output_dir={folder}')
  assert finished.returncode == 0, finished.stderr
  return folder


class Cluster:
  """Start processes of a cluster of this machine."""

  def __init__(self, start, flags, workers, ps=1):
    hosts = free_hosts(workers + ps)
    self._hosts = {'chief': hosts[:1], 'worker': hosts[1:workers],
                   'ps': hosts[workers:]}
    self._start, self._flags = start, flags

  def start(self, job, index=0):
    return self._start('im2txt.train', *self._flags, environment={
        'TF_CONFIG': json.dumps({
            'cluster': self._hosts, 'task': {'type': job, 'index': index}})})

  def start_all(self):
    return {(job, i): self.start(job, i) for job, hosts in self._hosts.items()
            for i in range(len(hosts))}


def finish(processes):
  """Wait for all; none may fail."""
  for name, process in processes.items():
    finished = process.finish()
    assert finished.returncode == 0, f'{name}: {finished.stderr}'


def flags_of(task, features, train_dir, *more):
  return [f'--config={task.config_file}', f'--train_dir={train_dir}',
          f'--input_file_pattern={features}/train-*',
          f'--number_of_steps={STEPS}', '--log_every_n_steps=1',
          '--config.model.decoder_dropout_keep_prob=1.0',
          '--config.model.bucket_by_length=false',
          '--config.model.bias_from_counts',
          '--config.training.optimizer=SGD',
          '--config.training.initial_learning_rate=1.0',
          '--config.training.learning_rate_decay_factor=0.5',
          '--config.training.num_examples_per_epoch=60',
          '--config.training.num_epochs_per_decay=2.0',
          '--config.training.clip_gradients=0.4', *more]


SYNC = '--config.training.sync_replicas'


def test_replicas_together_step_as_one_with_all_their_examples(
    task, features, start, launch, read_checkpoint, tmp_path):
  one, two = tmp_path / 'one', tmp_path / 'two'
  finished = launch('im2txt.train', *flags_of(
      task, features, one, '--config.model.batch_size=6'))
  assert finished.returncode == 0, finished.stderr
  finish(Cluster(start, flags_of(
      task, features, two, '--config.model.batch_size=3', SYNC),
                 workers=2).start_all())
  before, alone, together = map(read_checkpoint, (
      one / 'model.ckpt-0', one / f'model.ckpt-{STEPS}',
      two / f'model.ckpt-{STEPS}'))
  assert alone.keys() == together.keys()
  assert np.abs(alone['logits/weights'] - before['logits/weights']).max() > .1
  for name, value in alone.items():
    np.testing.assert_allclose(
        together[name], value, rtol=0, atol=1e-6, err_msg=name)


MODES = pytest.mark.parametrize('mode', [(), (SYNC,)], ids=['async', 'sync'])


def steps_of(stderr):
  return [int(step) for step in re.findall(r' step (\d+): loss', stderr)]


def saved_steps(folder):
  return sorted(int(file.stem.split('-')[1])
                for file in folder.glob('model.ckpt-*.index'))


def last_saved(folder):
  return saved_steps(folder)[-1]


@pytest.mark.long
@MODES
@pytest.mark.parametrize(
    'victim', [('worker', 0), ('chief', 0), ('ps', 0), ('ps', 1)],
    ids=['worker', 'chief', 'the ps', 'one of two ps'])
def test_a_killed_process_that_is_started_again_joins(
    task, features, start, tmp_path, mode, victim):
  # Alone, the chief may have got far before a worker begins.
  last = 300 if mode else 1200
  cluster = Cluster(start, flags_of(
      task, features, tmp_path, '--config.training.save_interval_steps=10',
      f'--number_of_steps={last}', *mode), workers=2,
                    ps=2 if victim == ('ps', 1) else 1)
  processes = cluster.start_all()
  processes['worker', 0].wait_for(r' step [1-9]\d\d: ')
  processes[victim].send(signal.SIGKILL)
  assert processes[victim].finish().returncode == -signal.SIGKILL
  saved = saved_steps(tmp_path)
  processes[victim] = cluster.start(*victim)
  finish(processes)
  # Alone, each of the two may see the step as it was before both's last.
  assert last_saved(tmp_path) == last if mode else (
      last <= last_saved(tmp_path) <= last + 4)
  log = processes['chief', 0].finish().stderr
  if victim == ('worker', 0):
    assert steps_of(processes[victim].finish().stderr)
    assert 'Resuming from ' not in log
  else:
    again = int(re.findall(r'Resuming from .*model\.ckpt-(\d+)', log)[-1])
    # The newest may not have been whole yet when the victim died.
    assert again in saved[-2:]
  if mode:
    chief = steps_of(log)
    if victim == ('worker', 0):
      assert chief == list(range(chief[0], 301)) and chief[0] <= 2
    else:
      # A ps leaves the chief's process, which goes on from a checkpoint.
      back = next((i for i, (step, after) in enumerate(
          itertools.pairwise(chief)) if after <= step), -1)
      after = chief[back + 1:]
      # What wakes replicas that wait may wake the chief at its first steps: it
      # then reads the step, for the log, before it is taken.
      assert again < after[0] < after[1] < after[2] <= again + 5
      assert after[2:] == list(range(after[2], 301))


@pytest.mark.long
@MODES
def test_ps_are_left_running(task, features, start, tmp_path, mode):
  last = 500 if mode else 4000
  cluster = Cluster(start, flags_of(
      task, features, tmp_path, f'--number_of_steps={last}', *mode), workers=2)
  processes = cluster.start_all()
  processes['worker', 0].wait_for(r' step \d\d+: ')
  replicas = [('worker', 0), ('chief', 0)]
  for replica in replicas:
    processes[replica].send(signal.SIGTERM)
  for replica in replicas:
    assert processes[replica].finish().returncode == 0
  assert last_saved(tmp_path) < last
  # Who comes before the chief finds what the last one has said.
  processes['worker', 0] = cluster.start('worker')
  processes['worker', 0].wait_for('Waiting for the chief to begin')
  time.sleep(2)
  processes['chief', 0] = cluster.start('chief')
  processes['worker', 0].wait_for(r' step \d+: ')
  finish(processes)
  assert last_saved(tmp_path) >= last


@pytest.mark.long
def test_a_ps_is_killed_as_captions_are_drawn(
    task, features, start, launch, tmp_path):
  finished = launch('im2txt.train', *flags_of(task, features, tmp_path / 'one'))
  assert finished.returncode == 0, finished.stderr
  run = tmp_path / 'critical'
  cluster = Cluster(start, flags_of(
      task, features, run, '--self_critical', SYNC, '--number_of_steps=60',
      f'--init_checkpoint={tmp_path / "one"}',
      '--config.model.bias_from_counts=false',
      '--config.training.save_interval_steps=10'), workers=2)
  processes = cluster.start_all()
  for tens in range(1, 4):
    processes['chief', 0].wait_for(rf' step {tens}\d: ')
    processes['ps', 0].send(signal.SIGKILL)
    processes['ps', 0].finish()
    processes['ps', 0] = cluster.start('ps')
  finish(processes)
  assert last_saved(run) == 60


@pytest.mark.long
@pytest.mark.parametrize('when', ['replica 0 of 2', r' step \d\d: '])
def test_interrupted_while_the_ps_is_gone(
    task, features, start, tmp_path, when):
  cluster = Cluster(start, flags_of(
      task, features, tmp_path, '--number_of_steps=1000000'), workers=2)
  processes = cluster.start_all()
  processes['chief', 0].wait_for(when)
  processes['ps', 0].send(signal.SIGKILL)
  for replica in ('chief', 'worker'):
    processes[replica, 0].wait_for(
        r'(?s)replica . of 2.*Waiting for the ps')
    processes[replica, 0].send(signal.SIGTERM)
  finished = processes['chief', 0].finish()
  assert finished.returncode == 1
  assert 'interrupted while a ps was gone' in finished.lines[-1]
  finished = processes['worker', 0].finish()
  assert finished.returncode == 0, finished.stderr


@pytest.mark.long
def test_a_chief_killed_as_it_saves(task, features, start, tmp_path):
  cluster = Cluster(start, flags_of(
      task, features, tmp_path, '--config.training.save_interval_steps=1',
      '--number_of_steps=100', SYNC), workers=2)
  processes = cluster.start_all()
  kills = 0
  while kills < 5:
    chief = processes['chief', 0]
    chief.wait_for(r' step \d+: ')
    deadline = time.monotonic() + 60
    while not any(tmp_path.glob('*.tempstate*')):
      assert time.monotonic() < deadline
    chief.send(signal.SIGKILL)
    chief.finish()
    kills += 1
    processes['chief', 0] = cluster.start('chief')
  finish(processes)
  assert last_saved(tmp_path) == 100
  assert not list(tmp_path.glob('*.tempstate*'))


@pytest.mark.long
@MODES
@pytest.mark.parametrize('gone, by, said', [
    ('worker', signal.SIGKILL, 'no step in 9 s'),
    ('chief', signal.SIGKILL, 'no (chief|step) in 9 s'),
    ('ps', signal.SIGKILL, 'no ps at localhost'),
    # As without power: what it has been told stays without an answer.
    ('ps', signal.SIGSTOP, 'no step in 9 s')])
def test_who_waits_too_long_says_so(
    task, features, start, tmp_path, mode, gone, by, said):
  if (gone, mode) == ('worker', ()):
    pytest.skip('alone, nobody waits for a worker')
  cluster = Cluster(start, flags_of(
      task, features, tmp_path, '--number_of_steps=1000000',
      '--config.training.replica_timeout_secs=9', *mode), workers=2)
  processes = cluster.start_all()
  processes['worker', 0].wait_for(r' step \d{2,}: ')
  processes[gone, 0].send(by)
  waits = processes['worker' if gone == 'chief' else 'chief', 0]
  if (gone, mode) == ('chief', ()):
    waits.send(signal.SIGTERM)  # It would go on without it.
    assert waits.finish().returncode == 0
    return
  finished = waits.finish()
  assert finished.returncode == 1
  assert re.search(said, finished.lines[-1]), finished.stderr


@pytest.mark.long
def test_a_worker_that_never_comes(task, features, start, tmp_path):
  cluster = Cluster(start, flags_of(
      task, features, tmp_path, SYNC,
      '--config.training.replica_timeout_secs=9'), workers=2)
  cluster.start('ps')
  finished = cluster.start('chief').finish()
  assert finished.returncode == 1
  assert 'no step in 9 s' in finished.lines[-1]
