"""The exported model, loaded by TensorFlow alone, against run_inference."""

import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from im2txt.checkpoints import folder as checkpoints
from im2txt.checkpoints import restore, run_folder
from im2txt.models.captioner import Captioner

tf1 = tf.compat.v1

# Six steps of training know no longer captions of themselves.
LONG = ('--length_normalization_factor=3', '--min_caption_length=4')
# What a server does: it has TensorFlow and the folder, nothing else.
SERVER = """
import json, sys
sys.modules['im2txt'] = sys.modules['data_prep'] = None
import tensorflow as tf
folder, requests = sys.argv[1], json.loads(sys.argv[2])
model = tf.saved_model.load(folder)
answers = []
for signature, files, options in requests:
  feeds = {name: tf.constant(value) for name, value in options.items()}
  feeds['image_bytes'] = tf.constant(
      [open(f, 'rb').read() for f in files], tf.string)
  answer = {name: value.numpy().tolist() for name, value in
            model.signatures[signature](**feeds).items()}
  answer['captions'] = [
      [text.decode() for text in row] for row in answer['captions']]
  answer['errors'] = [text.decode() for text in answer['errors']]
  answers.append(answer)
print(json.dumps(answers))
"""


@pytest.fixture(scope='module')
def exported(trained, launch, tmp_path_factory):
  """A folder with the exported run, and its TensorFlow Lite file."""
  folder = tmp_path_factory.mktemp('exported')
  finished = launch(
      'im2txt.export', f'--checkpoint_path={trained.folder}',
      f'--output_dir={folder}/models/1', f'--tflite_file={folder}/m.tflite',
      *LONG, '--beam_size=4', '--max_caption_length=7', '--num_captions=3')
  assert finished.returncode == 0, finished.stderr
  return folder


@pytest.fixture(scope='module')
def captions(trained, task, launch, tmp_path_factory):
  """What run_inference finds of the task's images: fields of each."""
  def find(*arguments):
    path = tmp_path_factory.mktemp('captions') / 'captions.jsonl'
    finished = launch(
        'im2txt.run_inference', f'--checkpoint_path={trained.folder}',
        f'--input_files={",".join(map(str, task.images))}',
        f'--output_jsonl={path}', *LONG, *arguments)
    assert finished.returncode == 0, finished.stderr
    return [json.loads(line)['captions']
            for line in path.read_text().splitlines()]
  return find


def ask(folder, requests):
  """The answers of a process without this project."""
  finished = subprocess.run(
      [sys.executable, '-c', SERVER, str(folder), json.dumps(requests)],
      capture_output=True, text=True, check=False)
  assert finished.returncode == 0, finished.stderr
  return json.loads(finished.stdout)


def assert_same(answer, expected):
  for texts, logprobs, probabilities, of_image in zip(
      answer['captions'], answer['log_probabilities'],
      answer['probabilities'], expected, strict=True):
    assert texts == [caption['caption'] for caption in of_image]
    np.testing.assert_allclose(
        logprobs, [caption['log_probability'] for caption in of_image],
        atol=1e-4)
    np.testing.assert_allclose(probabilities, np.exp(logprobs), rtol=1e-5)


@pytest.mark.long
def test_a_server_gives_the_captions_of_run_inference(
    exported, task, captions):
  files = [str(image) for image in task.images]
  baked, one, fed, long = ask(exported / 'models' / '1', [
      ('serving_default', files, {}),
      ('serving_default', files[1:2], {}),
      ('with_options', files, {'beam_size': 5, 'max_caption_length': 4}),
      ('with_options', files, {'beam_size': 3, 'max_caption_length': 11})])
  expected = captions(
      '--beam_size=4', '--max_caption_length=7', '--num_captions=3')
  assert_same(baked, expected)
  assert len({str(row) for row in baked['log_probabilities']}) == 3
  assert_same(one, expected[1:2])
  assert_same(fed, captions(
      '--beam_size=5', '--max_caption_length=4', '--num_captions=3'))
  assert_same(long, captions('--max_caption_length=11'))
  assert fed['captions'] != baked['captions'] != long['captions']


@pytest.mark.long
def test_a_server_names_what_it_cannot_read(exported, task, tmp_path):
  (tmp_path / 'a.jpg').write_bytes(b'no image')
  files = [str(task.images[0]), str(tmp_path / 'a.jpg'), str(task.images[1])]
  mixed, none, good = ask(exported / 'models' / '1', [
      ('serving_default', files, {}), ('serving_default', [], {}),
      ('serving_default', files[::2], {})])
  assert mixed['errors'][::2] == ['', ''] and 'no image' in mixed['errors'][1]
  assert mixed['captions'][1] == 3 * ['']
  assert mixed['probabilities'][1] == 3 * [0.0]
  assert mixed['captions'][::2] == good['captions']
  assert none['captions'] == none['errors'] == []


def test_nothing_but_the_model_is_left(exported):
  assert [p.name for p in (exported / 'models').iterdir()] == ['1']
  assert {p.name for p in (exported / 'models' / '1').iterdir()} == {
      'saved_model.pb', 'variables'}


@pytest.mark.long
def test_where_fewer_captions_are_found_the_rest_is_empty(
    trained, task, launch, tmp_path):
  # Of two words, both markers counted, there is one complete caption.
  finished = launch(
      'im2txt.export', f'--checkpoint_path={trained.folder}',
      f'--output_dir={tmp_path}/model', '--max_caption_length=2',
      '--beam_size=17')
  assert finished.returncode == 0, finished.stderr
  [answer] = ask(tmp_path / 'model', [
      ('serving_default', [str(task.images[0])], {})])
  assert answer['captions'] == [17 * ['']]
  [probabilities], [logprobs] = (
      answer['probabilities'], answer['log_probabilities'])
  assert 0 < probabilities[0] < 1 and probabilities[1:] == 16 * [0.0]
  assert logprobs[0] == pytest.approx(math.log(probabilities[0]), rel=1e-4)
  assert logprobs[1:] == 16 * [-math.inf]


@pytest.mark.filterwarnings('ignore:.*tf.lite.Interpreter is deprecated')
def test_the_lite_file_computes_the_steps(exported, trained, task):
  interpreter = tf.lite.Interpreter(str(exported / 'm.tflite'))
  encode, step = map(interpreter.get_signature_runner, ('encode', 'step'))
  config = run_folder.load_config(str(trained.folder)).model
  with tf.Graph().as_default(), tf1.Session() as session:
    graph = Captioner(config).build_step()
    restore.inference_restorer(
        checkpoints.latest(str(trained.folder)))(session)
    for image in task.images:
      images, expected = session.run(
          [graph.images, graph.initial_state],
          {graph.image_feed: image.read_bytes()})
      [state] = encode(images=images).values()
      np.testing.assert_allclose(state, expected, atol=1e-4)
      for words in ([0], [2, 4, 4], [3, 9, 1]):
        states = np.repeat(state[:1], len(words), axis=0)
        ours = step(words=np.array(words), state=states)
        softmax, next_state = session.run(
            [graph.softmax, graph.state],
            {graph.input_feed: words, graph.state_feed: states})
        np.testing.assert_allclose(ours['probabilities'], softmax, atol=1e-5)
        np.testing.assert_allclose(ours['next_state'], next_state, atol=1e-5)


def test_mistakes(trained, launch, tmp_path):
  def error_of(*arguments, folder=tmp_path / 'new', status=1):
    finished = launch(
        'im2txt.export', f'--checkpoint_path={trained.folder}',
        f'--output_dir={folder}', *arguments)
    assert finished.returncode == status, finished.stderr
    assert 'Traceback' not in finished.stderr
    assert list(tmp_path.iterdir()) == []
    return finished.lines[-1]

  assert f'--output_dir={trained.folder} exists' in error_of(
      folder=trained.folder)
  assert f'{tmp_path}/no' in error_of(f'--vocab_file={tmp_path}/no')
  assert 'num_captions' in error_of('--num_captions=0', status=2)
  assert 'beam_size is 3; it must be at least 4' in error_of(
      '--num_captions=4')
  assert 'beam_size is 3, which 2 groups' in error_of('--beam_groups=2')
  assert re.search('--banned_words: .*no .dragon', error_of(
      '--banned_words=red,dragon'))
  assert 'min_caption_length is 30' in error_of('--min_caption_length=30')
  assert f'{tmp_path}/no/m.tflite' in error_of(
      f'--tflite_file={tmp_path}/no/m.tflite')
