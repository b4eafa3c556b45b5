"""What the log says that a process computes on."""

import collections
import os

import tensorflow as tf

from im2txt.training.cluster import devices

Gpu = collections.namedtuple('Gpu', 'name')


def test_without_a_gpu(monkeypatch):
  monkeypatch.setattr(tf.config, 'list_physical_devices', lambda _: [])
  assert devices.describe() == 'the CPU'


def test_the_first_of_two_gpus(monkeypatch):
  gpus = [Gpu('/physical_device:GPU:0'), Gpu('/physical_device:GPU:1')]
  monkeypatch.setattr(tf.config, 'list_physical_devices', lambda _: gpus)
  monkeypatch.setattr(
      tf.config.experimental, 'get_device_details',
      lambda gpu: {'device_name': 'H100'} if gpu is gpus[0] else {})
  assert devices.describe() == (
      '/physical_device:GPU:0 (H100); 1 more are not used, '
      'im2txt.local_cluster --gpus starts a worker on each')


def test_memory_is_taken_as_it_is_needed():
  assert os.environ['TF_FORCE_GPU_ALLOW_GROWTH'] == 'true'
