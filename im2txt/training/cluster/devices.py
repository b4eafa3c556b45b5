"""The device that this process computes on."""

import tensorflow as tf


def describe() -> str:
  """Return the name of the device that TensorFlow chooses by itself."""
  gpus = tf.config.list_physical_devices('GPU')
  if not gpus:
    return 'the CPU'
  # Public, if under `experimental`.
  details = tf.config.experimental.get_device_details(gpus[0])
  unused = (f'; {len(gpus) - 1} more are not used, im2txt.local_cluster --gpus '
            'starts a worker on each' if len(gpus) > 1 else '')
  return f'{gpus[0].name} ({details.get("device_name", "GPU")}){unused}'
