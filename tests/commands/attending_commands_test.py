"""Command lines with a decoder that attends, from training to sheets."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tiny_task import WORDS

CONFIG = '''
from im2txt import configuration, decoders

def get_config():
  return configuration.Config(
      model=decoders.TransformerConfig(
          encoder='tiny', decoder='transformer',
          image_height=64, image_width=96, vocab_size=0, batch_size=3,
          embedding_size=6, num_heads=3, feed_forward_size=7,
          max_positions=21, values_per_input_shard=4),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=6, optimizer='Adam',
          initial_learning_rate=0.01))
'''


@pytest.fixture(scope='module')
def attending(task, launch, tmp_path_factory):
  """A run folder of two steps, and what training said."""
  folder = tmp_path_factory.mktemp('attending')
  (folder / 'attending.py').write_text(CONFIG)
  finished = launch(
      'im2txt.train', f'--config={folder / "attending.py"}',
      f'--input_file_pattern={task.train_pattern}',
      f'--train_dir={folder / "run"}', '--number_of_steps=2',
      f'--sample_image={task.images[0]}')
  assert finished.returncode == 0, finished.stderr
  return folder / 'run', finished.lines


@pytest.mark.long
def test_training_captions_an_image_at_each_temperature(attending):
  _, lines = attending
  for temperature in ('0', '0.5', '1'):
    [line] = [line for line in lines
              if f'Step 2, temperature {temperature}: ' in line]
    words = line.partition(f'temperature {temperature}: ')[2].split()
    assert set(words) <= {*WORDS, '<UNK>'}


@pytest.mark.parametrize('content, error', [
    (b'no image', 'Unknown image'), (None, 'No such file')])
def test_a_sample_that_is_no_image_is_refused(
    launch_train, tmp_path, content, error):
  if content:
    (tmp_path / 'x.jpg').write_bytes(content)
  finished = launch_train(
      f'--sample_image={tmp_path / "x.jpg"}', '--number_of_steps=1')
  assert finished.returncode == 1
  assert f'{tmp_path}/x.jpg' in finished.error and error in finished.error
  assert not (tmp_path / 'run/checkpoint').exists()


def test_sheets_and_page(attending, caption, images, tmp_path):
  run, _ = attending
  (images / 'text.jpg').write_text('no image')
  arguments = (
      run, images, '--max_caption_length=6', '--min_caption_length=4',
      '--banned_words=<S>',
      f'--attention_dir={tmp_path / "sheets"}',
      f'--output_html={tmp_path / "page.html"}',
      f'--output_jsonl={tmp_path / "captions.jsonl"}')
  finished = caption(*arguments)
  assert finished.returncode == 1, finished.stderr  # Of the text.
  assert sorted(path.name for path in (tmp_path / 'sheets').iterdir()) == [
      f'{name}.attention.jpg' for name in ('blue', 'green', 'red')]
  with Image.open(tmp_path / 'sheets/red.attention.jpg') as sheet:
    assert sheet.width > 480  # The image and some words.
  page = (tmp_path / 'page.html').read_text()
  found = [caption for line in
           (tmp_path / 'captions.jsonl').read_text().splitlines()
           for caption in json.loads(line).get('captions', ())]
  assert len(found) >= 3 and all(caption.keys() == {
      'caption', 'log_probability', 'probability'} for caption in found)
  # 64 x 96 pixels have 2 x 3 regions.
  assert page.count('data-grid="2x3"') == len(found)


def test_a_decoder_without_attention_is_refused(
    scripted, images, caption, tmp_path):
  finished = caption(scripted, images / 'red.jpg',
                     f'--attention_dir={tmp_path / "sheets"}')
  assert finished.returncode == 1
  assert finished.error.startswith('run_inference: error: --attention_dir: ')
  assert "'show_and_tell'" in finished.error
  assert 'show_attend_tell, transformer do' in finished.error
  assert not (tmp_path / 'sheets').exists()


def test_captions_longer_than_it_can_read_are_refused(
    attending, caption, images):
  finished = caption(
      attending[0], images / 'red.jpg', '--max_caption_length=23')
  assert finished.returncode == 1
  assert 'max_caption_length is 23' in finished.error
  assert '22 words' in finished.error


@pytest.mark.long
def test_exports_caption_as_it_does(
    attending, launch, caption, images, tmp_path):
  run, _ = attending
  lite = tmp_path / 'model.tflite'
  finished = launch(
      'im2txt.export', f'--checkpoint_path={run}', '--max_caption_length=6',
      f'--output_dir={tmp_path / "served/1"}', f'--tflite_file={lite}')
  assert finished.returncode == 0, finished.stderr
  jpeg = (images / 'red.jpg').read_bytes()
  served = tf.saved_model.load(str(tmp_path / 'served/1'))
  found = served.signatures['serving_default'](
      image_bytes=tf.constant([jpeg]))
  shutil.rmtree(tmp_path / 'served')
  printed = caption(
      run, images / 'red.jpg', '--max_caption_length=6').stdout
  captions = list(zip(found['captions'][0].numpy(),
                      found['probabilities'][0].numpy(), strict=True))
  assert captions[0][1] > 0
  for text, p in captions:
    assert p == 0 or f') {text.decode()} (p={p:f})' in printed
  step = tf.lite.Interpreter(model_path=str(lite)).get_signature_runner(
      'step')
  [size] = step.get_input_details()['state']['shape'][1:]
  answer = step(words=np.array([1]), state=np.zeros([1, size], np.float32))
  np.testing.assert_allclose(answer['probabilities'].sum(), 1.0, rtol=1e-5)
