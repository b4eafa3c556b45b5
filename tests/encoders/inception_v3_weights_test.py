"""Inception v3 from TensorFlow checkpoints: its part of them, or one line."""

import fresh_session
import numpy as np
import pytest
import tensorflow as tf

from im2txt.checkpoints import encoder_weights
from im2txt.encoders import InceptionV3

tf1 = tf.compat.v1

VALUE = np.array([1.5, -2.0, 3.0], np.float32)


def save_checkpoint(path, names):
  with tf.Graph().as_default(), fresh_session.make() as session:
    for name in names:
      tf1.get_variable(name, initializer=VALUE)
    session.run(tf1.global_variables_initializer())
    return tf1.train.Saver().save(session, str(path))


def test_inception_reads_its_part_of_a_checkpoint(tmp_path):
  path = save_checkpoint(tmp_path / 'inception_v3.ckpt', [
      'InceptionV3/Conv2d_1a_3x3/weights', 'InceptionV3/Logits/weights',
      'lstm/basic_lstm_cell/kernel'])
  weights = encoder_weights.read_file(InceptionV3(), path)
  assert sorted(weights) == ['InceptionV3/Conv2d_1a_3x3/weights',
                             'InceptionV3/Logits/weights']
  np.testing.assert_array_equal(
      weights['InceptionV3/Logits/weights'], VALUE)


@pytest.mark.parametrize('name', ['none.ckpt', 'folder/none.ckpt'])
def test_no_checkpoint_of_inception(tmp_path, name):
  with pytest.raises(FileNotFoundError, match='none.ckpt.*download'):
    encoder_weights.read_file(InceptionV3(), str(tmp_path / name))


def refuse_inception(path, reason):
  with pytest.raises(ValueError, match=reason) as error:
    encoder_weights.read_file(InceptionV3(), str(path))
  assert path.name in str(error.value) and '\n' not in str(error.value)


def test_a_checkpoint_of_another_network_is_one_line(tmp_path):
  path = tmp_path / 'other.ckpt'
  save_checkpoint(path, ['resnet_v1_152/conv1/weights'])
  refuse_inception(path, 'InceptionV3')


def test_no_checkpoint_at_all_is_one_line(tmp_path):
  path = tmp_path / 'page.ckpt'
  path.write_text('<html>not found</html>' * 100)
  refuse_inception(path, 'no readable checkpoint')


def test_a_folder_is_one_line(tmp_path):
  path = tmp_path / 'folder'
  path.mkdir()
  refuse_inception(path, 'checkpoint')


@pytest.mark.parametrize('damage', [lambda content: content[:5], None])
def test_a_checkpoint_with_damaged_values_is_one_line(tmp_path, damage):
  path = tmp_path / 'inception_v3.ckpt'
  save_checkpoint(path, ['InceptionV3/Conv2d_1a_3x3/weights'])
  data = tmp_path / f'{path.name}.data-00000-of-00001'
  if damage:
    data.write_bytes(damage(data.read_bytes()))
  else:
    data.unlink()
  refuse_inception(path, 'inception_v3.ckpt')
