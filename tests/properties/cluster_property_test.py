"""TF_CONFIG: the process's place, or one clear line."""

import json

from hypothesis import given
from hypothesis import strategies as st
from strategies import changed_json

from im2txt.training.cluster import task as cluster

addresses = st.builds(
    '{}:{}'.format, st.from_regex(r'[a-z0-9.]+', fullmatch=True)
    | st.just('[::1]'), st.integers(1, 2**16 - 1))
hosts = st.lists(addresses, min_size=1, max_size=3).map(tuple)


@given(described=st.fixed_dictionaries(
    {'ps': hosts, 'worker': hosts}, optional={'chief': addresses.map(
        lambda address: (address,))}), number=st.integers(0, 99))
def test_every_process_finds_its_place(described, number):
  places = [(job, i) for job, tasks in described.items()
            for i in range(len(tasks))]
  job, index = places[number % len(places)]
  task = cluster.read({cluster.VARIABLE: json.dumps({
      'cluster': described, 'task': {'type': job, 'index': index}})})
  assert task == cluster.Task(described, job, index)


WHOLE = {'cluster': {'chief': ['a:1'], 'worker': ['b:2', 'c:3'],
                     'ps': ['d:4'], 'evaluator': ['e:5']},
         'task': {'type': 'worker', 'index': 0}}


@given(data=changed_json(WHOLE))
def test_a_cluster_gone_wrong(data):
  try:
    task = cluster.read({cluster.VARIABLE: data.decode()})
  except ValueError as error:
    assert cluster.VARIABLE in str(error)
    assert '\n' not in str(error)
    return
  if task and not task.is_evaluator:
    assert ':' in task.addresses[task.job][task.index]
    assert task.num_replicas >= 1
