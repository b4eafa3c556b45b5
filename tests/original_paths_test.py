"""Paths and functions of the original im2txt, used as public demos use them."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tiny_task

from im2txt import configuration, inference_wrapper
from im2txt import trained_model as earlier_trained_model
from im2txt import vocabulary as earlier_vocabulary
from im2txt.checkpoints import run_folder, trained_model
from im2txt.inference_utils import caption_generator, vocabulary
from im2txt.inputs import image_processing as image_processing_of_today
from im2txt.ops import image_embedding, image_processing
from im2txt.ops import inputs as input_ops

tf1 = tf.compat.v1

SIDE = 23


def test_run_inference_as_demos_have_it(task, scripted):
  g = tf.Graph()
  with g.as_default():
    model = inference_wrapper.InferenceWrapper()
    restore_fn = model.build_graph_from_config(
        run_folder.load_config(str(scripted)).model, str(scripted))
  g.finalize()
  vocab = vocabulary.Vocabulary(str(task.vocab_file))
  with tf1.Session(graph=g) as sess:
    restore_fn(sess)
    generator = caption_generator.CaptionGenerator(model, vocab)
    with tf1.gfile.GFile(str(task.images[0]), 'rb') as f:
      image = f.read()
    captions = generator.beam_search(sess, image)
  lines = []
  for caption in captions:
    sentence = [vocab.id_to_word(w) for w in caption.sentence[1:-1]]
    lines.append(f'{" ".join(sentence)} (p={math.exp(caption.logprob):f})')
  assert tuple(lines) == tiny_task.BEST


@pytest.mark.parametrize('is_training', [True, False])
def test_inputs_as_demos_have_them(task, is_training):
  with tf.Graph().as_default(), tf1.Session() as sess:
    queue = input_ops.prefetch_input_data(
        tf1.TFRecordReader(), task.val_pattern, is_training=is_training,
        batch_size=3, values_per_shard=4, input_queue_capacity_factor=1,
        num_reader_threads=1)
    images_and_captions = []
    for thread_id in range(2 if is_training else 1):
      encoded_image, caption = input_ops.parse_sequence_example(
          queue.dequeue(), image_feature='image/data',
          caption_feature='image/caption_ids')
      image = image_processing.process_image(
          encoded_image, is_training=is_training, height=SIDE, width=SIDE,
          thread_id=thread_id, image_format='jpeg')
      images_and_captions.append([image, caption])
    batch = input_ops.batch_with_dynamic_pad(
        images_and_captions, batch_size=3, queue_capacity=6)
    sess.run(tf1.local_variables_initializer())
    coord = tf1.train.Coordinator()
    threads = tf1.train.start_queue_runners(sess, coord)
    images, input_seqs, target_seqs, mask = sess.run(batch)
    coord.request_stop()
    sess.run(queue.close(cancel_pending_enqueues=True))
    coord.join(threads, stop_grace_period_secs=9)
  assert images.shape == (3, SIDE, SIDE, 3) and np.abs(images).max() <= 1.0
  captions = [ids for _, ids in task.val_pairs]
  found = []
  for inputs, targets, row in zip(input_seqs, target_seqs, mask, strict=True):
    length = row.sum()
    assert not inputs[length:].any() and not targets[length:].any()
    assert row[:length].all()
    found.append([*inputs[:length], targets[length - 1]])
    assert found[-1][1:] == targets[:length].tolist()
  assert mask.shape[1] == max(len(ids) for ids in found) - 1
  if is_training:
    assert all(ids in captions for ids in found)
  else:
    assert found == captions[:3]


def test_an_image_is_what_it_is_today(task):
  encoded = task.images[1].read_bytes()
  config = configuration.ModelConfig()
  with tf.Graph().as_default(), tf1.Session() as sess:
    images = sess.run([
        image_processing.process_image(
            encoded, False, config.image_height, config.image_width),
        image_processing_of_today.process_image(encoded, False, config)])
  np.testing.assert_array_equal(*images)


@pytest.mark.parametrize('size', [(299, 298), (347, 347)])
def test_other_sizes_of_images_are_refused(size):
  with pytest.raises(ValueError, match=f'{size[0]}.*{size[1]}'):
    image_processing.process_image('', False, *size)


def test_inception():
  with tf.Graph().as_default() as g:
    images = tf1.placeholder(tf.float32, [None, 80, 81, 3])
    embedding = image_embedding.inception_v3(
        images, trainable=False, is_training=True)
    assert embedding.shape.as_list() == [None, 2048]
    assert not g.get_collection(tf1.GraphKeys.TRAINABLE_VARIABLES)
    assert all(v.op.name.startswith('InceptionV3/')
               for v in tf1.global_variables())


def test_paths_of_earlier_versions():
  assert earlier_vocabulary.Vocabulary is vocabulary.Vocabulary
  assert earlier_trained_model.find is trained_model.find
  assert earlier_trained_model.PRETRAINED == trained_model.PRETRAINED
