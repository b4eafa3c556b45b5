"""The processes that train together, as the variable TF_CONFIG lists them.

As for other TensorFlow programs it holds the whole cluster and the place of
this process:

  {"cluster": {"chief": ["a:2222"], "worker": ["b:2222", "c:2222"],
               "ps": ["d:2222"]},
   "task": {"type": "worker", "index": 0}}

The parameter servers (ps) keep the variables. Chief and workers, the replicas,
read them and compute gradients of examples of their own, which the ps apply;
the chief also initialises and saves the variables. Without a chief worker 0 is
the chief. An evaluator is no part of the cluster: it reads the checkpoints.

This is TensorFlow's own runtime (Abadi et al. 2016, "TensorFlow: a system for
large-scale machine learning", https://arxiv.org/abs/1605.08695, section 4.4).
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

tf1 = tf.compat.v1

# Name of the environment variable.
VARIABLE = 'TF_CONFIG'
PS = 'ps'
# Raised in a replica when a ps has died, and when it has come back.
LOST = (tf.errors.AbortedError, tf.errors.UnavailableError)
_CHIEF, _WORKER, _EVALUATOR = 'chief', 'worker', 'evaluator'


class LostError(Exception):
  """Raised for one of `LOST` that TensorFlow shall not handle by itself."""


@dataclasses.dataclass(frozen=True)
class Task:
  """A process's place in a cluster."""

  addresses: Mapping[str, Sequence[str]]  # 'host:port', by job
  job: str
  index: int

  @property
  def is_ps(self) -> bool:
    """Whether it serves variables."""
    return self.job == PS

  @property
  def is_evaluator(self) -> bool:
    """Whether it only reads checkpoints."""
    return self.job == _EVALUATOR

  @property
  def replica(self) -> int:
    """Its number among those that train; the chief is 0."""
    others = self.addresses.get(_CHIEF, ()) if self.job == _WORKER else ()
    return self.index + len(others)

  @property
  def num_replicas(self) -> int:
    """Number of processes that train."""
    return sum(len(self.addresses.get(job, ())) for job in (_CHIEF, _WORKER))

  @property
  def device(self) -> str:
    """Name of the device, for example '/job:worker/task:0'."""
    return f'/job:{self.job}/task:{self.index}'

  def start_server(self) -> tf1.train.Server:
    """Start the server by which other processes reach this one.

    Raises:
      OSError: another program has its port.
    """
    # By default some calls, such as closing a session, wait for ever for a ps
    # that has died.
    os.environ['GRPC_FAIL_FAST'] = 'true'
    try:
      return tf1.train.Server(
          tf1.train.ClusterSpec(self.addresses), self.job, self.index,
          config=self.session_config())
    except tf.errors.OpError as error:
      raise OSError(
          f'{VARIABLE}: cannot serve at '
          f'{self.addresses[self.job][self.index]}: '
          f'{error.message.splitlines()[0]}') from None

  def session_config(self, ps: int | None = None) -> tf1.ConfigProto:
    """Return a configuration of sessions that do not need other replicas.

    Args:
      ps: the only ps that is needed; None: all are.
    """
    of_ps = f'/job:{PS}' if ps is None else f'/job:{PS}/task:{ps}'
    filters = [self.device] if self.is_ps else [of_ps, self.device]
    return tf1.ConfigProto(device_filters=filters)


def read(environment: Mapping[str, str]) -> Task | None:
  """Read this process's place in its cluster.

  Args:
    environment: of the process.

  Returns:
    The place, or None: the process trains alone.

  Raises:
    ValueError: TF_CONFIG does not describe one.
  """
  text = environment.get(VARIABLE, '').strip()
  if not text:
    return None
  try:
    described = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise ValueError(f'{VARIABLE} is no JSON: {error}') from None
  if not isinstance(described, dict):
    raise ValueError(f'{VARIABLE} must be an object with "cluster" and "task"')
  addresses = _addresses(described.get('cluster', {}))
  task = described.get('task')
  if not (isinstance(task, dict) and isinstance(task.get('type'), str)
          and type(task.get('index')) is int):
    raise ValueError(f'{VARIABLE}: "task" must be such as '
                     '{"type": "worker", "index": 0}')
  found = Task(addresses, task['type'], task['index'])
  if found.is_evaluator:
    if not addresses.get(PS):
      raise ValueError(f'{VARIABLE}: "cluster" has no ps, so its one replica '
                       'evaluates itself; it needs no evaluator')
    return found
  if not 0 <= found.index < len(addresses.get(found.job, ())):
    raise ValueError(f'{VARIABLE}: "cluster" has no {found.job} {found.index}')
  if not found.num_replicas:
    raise ValueError(f'{VARIABLE}: "cluster" has no chief and no worker')
  if not addresses.get(PS):
    if found.num_replicas == 1:
      return None
    raise ValueError(f'{VARIABLE}: {found.num_replicas} replicas need a "ps" '
                     'that keeps their variables')
  return found


def _addresses(described: Any) -> dict[str, tuple[str, ...]]:
  """Read "cluster", without evaluators, which have no server."""
  if not isinstance(described, dict):
    raise ValueError(f'{VARIABLE}: "cluster" must be an object of addresses '
                     'by job')
  for job, hosts in described.items():
    if job not in (_CHIEF, _WORKER, PS, _EVALUATOR):
      raise ValueError(f'{VARIABLE}: there is no job {job!r}; it must be '
                       'chief, worker, ps or evaluator')
    if not isinstance(hosts, list) or not all(map(_is_address, hosts)):
      raise ValueError(f'{VARIABLE}: the addresses of {job} must be a list of '
                       '"host:port"')
  if len(described.get(_CHIEF, ())) > 1:
    raise ValueError(f'{VARIABLE}: there is one chief, not '
                     f'{len(described[_CHIEF])}')
  return {job: tuple(hosts) for job, hosts in described.items()
          if job != _EVALUATOR}


def _is_address(host: Any) -> bool:
  if not isinstance(host, str):
    return False
  name, _, port = host.rpartition(':')
  return bool(name) and port.isascii() and port.isdigit() and (
      0 < int(port) < 2**16)
