"""What times are measured with and held against."""

import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

tf1 = tf.compat.v1


def best_time(run: Callable[[], Any], rounds: int) -> float:
  """Return the seconds that a call takes at best, after a first one."""
  run()
  times = []
  for _ in range(rounds):
    start = time.perf_counter()
    run()
    times.append(time.perf_counter() - start)
  return min(times)


def matrix_rate(rounds: int) -> float:
  """Return the multiply-adds a second of a large matrix product."""
  n = 2048
  with tf.Graph().as_default(), tf1.Session() as session:
    a, b = (tf.Variable(tf.random.normal([n, n])) for _ in range(2))
    product = tf.matmul(a, b).op
    session.run(tf1.global_variables_initializer())
    return n**3 / best_time(lambda: session.run(product), 4 * rounds)
