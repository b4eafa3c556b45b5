"""TF_CONFIG, read."""

import json
import re
import socket

import pytest

from im2txt.training.cluster import task as cluster

CLUSTER = {'chief': ['a:1'], 'worker': ['b:2', 'c:3', 'd:4'],
           'ps': ['e:5', 'f:6']}


def read(described):
  text = described if isinstance(described, str) else json.dumps(described)
  return cluster.read({'TF_CONFIG': text})


def task_of(job, index, addresses=None):
  return read({'cluster': addresses or CLUSTER,
               'task': {'type': job, 'index': index}})


def test_chief_and_workers_are_the_replicas():
  assert [task_of(*place).replica for place in (
      ('chief', 0), ('worker', 0), ('worker', 2))] == [0, 1, 3]
  assert task_of('worker', 1).num_replicas == 4
  assert task_of('worker', 1).device == '/job:worker/task:1'


def test_without_a_chief_worker_0_is_it():
  addresses = {'worker': ['b:2', 'c:3'], 'ps': ['e:5']}
  assert [task_of('worker', i, addresses).replica for i in (0, 1)] == [0, 1]
  assert task_of('ps', 0, addresses).num_replicas == 2


def test_kinds_of_tasks():
  assert task_of('ps', 1).is_ps and not task_of('ps', 1).is_evaluator
  # It is in no cluster, so it need not be listed, and may be.
  assert task_of('evaluator', 0).is_evaluator
  listed = CLUSTER | {'evaluator': ['g:7']}
  assert task_of('evaluator', 0, listed).is_evaluator
  assert 'evaluator' not in task_of('worker', 0, listed).addresses


def test_sessions_see_the_ps_and_themselves():
  assert list(task_of('worker', 1).session_config().device_filters) == [
      '/job:ps', '/job:worker/task:1']
  assert list(task_of('ps', 1).session_config().device_filters) == [
      '/job:ps/task:1']


@pytest.mark.parametrize('environment', [
    {}, {'TF_CONFIG': ''}, {'TF_CONFIG': ' '}, {'TF_CONFIG': json.dumps(
        {'cluster': {'chief': ['a:1']},
         'task': {'type': 'chief', 'index': 0}})}])
def test_one_process_is_no_cluster(environment):
  assert cluster.read(environment) is None


@pytest.mark.parametrize('described, complaint', [
    ('{', 'TF_CONFIG is no JSON'),
    ('[' * 100000, 'TF_CONFIG is no JSON'),
    ('[]', 'an object with "cluster" and "task"'),
    ('{"cluster": []}', '"cluster" must be an object'),
    ({'cluster': CLUSTER}, '"task" must be such as'),
    ({'cluster': CLUSTER, 'task': {'type': 'worker'}}, '"task" must be such'),
    ({'cluster': CLUSTER, 'task': {'type': 'worker', 'index': True}},
     '"task" must be such as'),
    ({'cluster': CLUSTER, 'task': {'type': 'worker', 'index': 3}},
     '"cluster" has no worker 3'),
    ({'cluster': CLUSTER, 'task': {'type': 'worker', 'index': -1}},
     '"cluster" has no worker -1'),
    ({'cluster': CLUSTER, 'task': {'type': 'boss', 'index': 0}},
     '"cluster" has no boss 0'),
    ({'cluster': {'master': ['a:1']}, 'task': {'type': 'master', 'index': 0}},
     "there is no job 'master'; it must be chief"),
    ({'cluster': {'ps': ['a:1']}, 'task': {'type': 'ps', 'index': 0}},
     'no chief and no worker'),
    ({'cluster': {'worker': ['a:1', 'b:1']},
      'task': {'type': 'worker', 'index': 0}}, '2 replicas need a "ps"'),
    ({'cluster': {'chief': ['a:1']},
      'task': {'type': 'evaluator', 'index': 0}}, 'it needs no evaluator'),
    ({'cluster': {'chief': ['a:1', 'b:1']},
      'task': {'type': 'chief', 'index': 0}}, 'there is one chief, not 2'),
    *(({'cluster': {'worker': hosts}, 'task': {'type': 'worker', 'index': 0}},
       'the addresses of worker must be a list')
      for hosts in ('a:1', {'0': 'a:1'}, [1], ['a'], ['a:'], [':1'], ['a:x'],
                    ['a:0'], ['a:65536'], ['a:²'])),
])
def test_mistakes(described, complaint):
  with pytest.raises(ValueError, match=re.escape(complaint)) as caught:
    read(described)
  assert str(caught.value).startswith('TF_CONFIG')


def test_a_port_in_use_is_one_line():
  with socket.socket() as taken:
    taken.bind(('localhost', 0))
    taken.listen()
    address = f'localhost:{taken.getsockname()[1]}'
    task = task_of('ps', 0, {'ps': [address], 'chief': ['localhost:1']})
    with pytest.raises(OSError, match=f'cannot serve at {address}: ') as caught:
      task.start_server()
  assert '\n' not in str(caught.value)
