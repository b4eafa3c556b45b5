"""One line out of what TensorFlow says."""

import pytest
import tensorflow as tf

from im2txt.inputs import graph_errors

tf1 = tf.compat.v1


def failing(build):
  """The error of a graph that fails."""
  with tf.Graph().as_default(), tf1.Session() as session:
    fetch = build()
    with pytest.raises(tf.errors.OpError) as error:
      session.run(fetch)
  return error.value


def dataset_of_images():
  dataset = tf.data.Dataset.from_tensors(b'no image').map(
      tf.io.decode_jpeg)
  return tf1.data.make_one_shot_iterator(dataset).get_next()


def test_a_failed_op():
  error = failing(lambda: tf.io.decode_jpeg(tf.constant(b'no image')))
  assert '\n' in error.message  # What `reason` is for.
  assert graph_errors.reason(error).startswith('Unknown image file format')


def test_a_failed_op_inside_a_dataset():
  reason = graph_errors.reason(failing(dataset_of_images))
  assert reason.startswith('Unknown image file format')
  assert '\n' not in reason


def lookup_in_a_loop():
  return tf.scan(lambda total, i: total + tf.gather(tf.zeros([5]), i),
                 tf.constant([1, 7]), initializer=0.0)


def test_a_failed_op_inside_a_loop():
  assert graph_errors.reason(
      failing(lookup_in_a_loop)) == 'indices = 7 is not in [0, 5)'


def test_a_failed_parse():
  error = failing(lambda: tf.io.parse_single_sequence_example(
      tf.constant(b''),
      context_features={'image/data': tf.io.FixedLenFeature([], tf.string)}))
  reason = graph_errors.reason(error)
  assert 'image/data' in reason and '\n' not in reason


@pytest.mark.parametrize('message, reason', [
    ('Graph execution error:\n\nfirst\n\t [[{{node x}}]]', 'first'),
    ('Graph execution error:\n\nDetected at node \'x\'\nNode: \'x\'\n'
     'indices[0] = 7 is not in [0, 5)\n\t [[{{node x}}]]',
     'indices[0] = 7 is not in [0, 5)'),
    ('plain', 'plain'),
    ('Graph execution error:\n\nassertion failed: [a word] [99] [in [0, 1)]\n',
     'a word 99 in [0, 1)'),
    ('Inconsistent max number of elements for feature a/b: expected 1, but '
     'found 0\n\t [[x]]', 'no feature a/b'),
    ('\n\n  later  \nnext', 'later'),
    ('[[{{node x}}]]', 'DataLossError'),
    ('', 'DataLossError'),
])
def test_of_a_message(message, reason):
  assert graph_errors.reason(
      tf.errors.DataLossError(None, None, message)) == reason
