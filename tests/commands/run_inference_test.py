"""`python -m im2txt.run_inference`, to the letter of what it prints."""

import io
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from command_runner import ROOT
from PIL import Image
from tiny_task import BEST, WORDS, biases, block, draw_image

from im2txt import inference_wrapper
from im2txt.checkpoints import folder as checkpoints
from im2txt.checkpoints import run_folder

tf1 = tf.compat.v1


def test_prints_captions_of_globs_and_names_in_order(
    scripted, images, caption, tmp_path):
  # Brackets in a name that is there mean themselves.
  shutil.copy(images / 'red.jpg', tmp_path / 'red[1].jpg')
  finished = caption(scripted, f'{tmp_path}/red[1].jpg,{images}/*e*.jpg')
  assert finished.returncode == 0, finished.stderr
  assert finished.stdout == ''.join(
      block(name, *BEST)
      for name in ('red[1].jpg', 'blue.jpg', 'green.jpg', 'red.jpg'))
  assert f'{scripted}/model.ckpt-7: restored' in finished.stderr


def test_probabilities_are_the_models_own(trained, task, caption):
  finished = caption(trained.folder, f'{task.folder}/*.jpg')
  assert finished.returncode == 0, finished.stderr
  printed = re.findall(
      r'Captions for image (\w+).jpg:\n  0\)  \(p=(\S+)\)', finished.stdout)
  assert [name for name, _ in printed] == ['blue', 'green', 'red']
  assert len({p for _, p in printed}) == 3  # The image matters.
  config = run_folder.load_config(str(trained.folder)).model
  with tf.Graph().as_default(), tf1.Session() as session:
    model = inference_wrapper.InferenceWrapper()
    model.build_graph_from_config(config, str(trained.folder))(session)
    for name, p in printed:
      state = model.feed_image(
          session, (task.folder / f'{name}.jpg').read_bytes())
      softmax, _, _ = model.inference_step(session, [0], state)
      # An empty caption is the end marker after the start marker.
      assert float(p) == pytest.approx(softmax[0, 1], abs=2e-6)


def test_length_normalization_favours_longer_captions(
    scripted, images, caption):
  # log .2 / 2 < log .1 / 3 < log .05 / 4
  finished = caption(
      f'{scripted}/model.ckpt-7.index', f'{images}/red.jpg',
      '--length_normalization_factor=1', '--max_caption_length=4')
  assert finished.returncode == 0, finished.stderr
  assert finished.stdout == block('red.jpg', *reversed(BEST))


def test_an_unfinished_caption_keeps_its_last_word(
    scripted, images, caption):
  finished = caption('endless', f'{images}/red.jpg', '--beam_size=1',
                     '--max_caption_length=4', folder=scripted)
  assert finished.returncode == 0, finished.stderr
  assert finished.stdout == block('red.jpg', 'red red red (p=0.216000)')


@pytest.fixture
def without_words(scripted, tmp_path):
  """A copy of the run that has no vocabulary."""
  folder = tmp_path / 'run'
  shutil.copytree(scripted, folder)
  (folder / 'word_counts.txt').unlink()
  return folder


def test_a_smaller_vocabulary_in_im2txts_bytes(
    without_words, images, caption, tmp_path):
  # 14 words and the unknown one, 17 outputs: the last two, '.' of half the
  # probability among them, can never be chosen.
  small = tmp_path / 'small.txt'
  small.write_text(''.join(f"b'{word}' 1\n" for word in WORDS[:14]))
  finished = caption(f'{without_words}/dots', f'{images}/red.jpg',
                     f'--vocab_file={small}', '--max_caption_length=3')
  assert finished.returncode == 0, finished.stderr
  assert finished.stdout == block(
      'red.jpg', ' (p=0.100000)', 'red (p=0.020000)', 'square (p=0.005000)')
  assert f"{small} has words written as b'...'" in finished.stderr


def test_a_larger_vocabulary_is_refused(
    without_words, images, caption, tmp_path):
  large = tmp_path / 'large.txt'
  large.write_text(''.join(f'{word} 1\n' for word in (*WORDS, 'extra')))
  finished = caption(
      without_words, f'{images}/red.jpg', f'--vocab_file={large}')
  assert finished.returncode == 1
  assert finished.stdout == ''
  assert f'{large} has 18 words' in finished.error
  assert 'outputs for 17' in finished.error


def test_bad_images_among_good_ones(scripted, images, caption, tmp_path):
  red = (images / 'red.jpg').read_bytes()
  (images / 'cut.jpg').write_bytes(red[:len(red) // 2])
  (images / 'empty.jpg').touch()
  (images / 'folder.jpg').mkdir()
  (images / 'text.jpg').write_text('no image')
  sheet = tmp_path / 'sheet.png'
  finished = caption(
      scripted, f'{images}/[c-f]*,{images}/text.jpg,{images}/red.jpg',
      f'--contact_sheet={sheet}')
  assert finished.returncode == 1
  assert finished.stdout == block('red.jpg', *BEST)
  told = [line for line in finished.lines if 'cannot be read' in line]
  assert [line.split(':')[0] for line in told] == [
      f'{images}/{name}' for name in ('cut.jpg', 'empty.jpg', 'text.jpg')]
  assert all(len(line) < 300 and 'node' not in line for line in told)
  assert 'Traceback' not in finished.stderr
  with Image.open(sheet) as drawn:
    assert drawn.width < 400  # Of one image.


def test_names_and_patterns_of_nothing_among_good_ones(
    scripted, images, caption):
  finished = caption(scripted, f'{images}/gone.jpg,{images}/none-*.jpg,'
                     f'{images}/red.jpg')
  assert finished.returncode == 1
  assert 'Traceback' not in finished.stderr
  for name in ('gone.jpg', 'none-*.jpg'):
    assert sum(f'{images}/{name}' in line for line in finished.lines) == 1
  assert finished.stdout == block('red.jpg', *BEST)


def test_a_list_of_files(scripted, images, caption, tmp_path):
  red = (images / 'red.jpg').read_bytes()
  (images / 'a, b c.jpg').write_bytes(red)
  with open(os.fsencode(images) + b'/caf\xe9.jpg', 'wb') as f:
    f.write(red)
  listed = tmp_path / 'list.txt'
  listed.write_bytes(b'\r\n'.join(
      os.fsencode(images) + name for name in (
          b'/red.jpg', b'/caf\xe9.jpg', b'/a, b c.jpg', b'/gone.jpg')
      ) + b'\n\n' + os.fsencode(images) + b'/*e*.jpg')
  finished = caption(scripted, images / 'blue.jpg',
                     f'--input_list={listed}', '--batch_size=2')
  assert finished.returncode == 1
  assert f'{images}/gone.jpg: there is no such file' in finished.lines
  assert finished.stdout == ''.join(block(name, *BEST) for name in (
      'blue.jpg', 'red.jpg', 'caf\\udce9.jpg', 'a, b c.jpg',
      'blue.jpg', 'green.jpg', 'red.jpg'))


def test_nothing_to_caption(scripted, images, caption, tmp_path):
  (tmp_path / 'empty.txt').touch()
  finished = caption(scripted, '', f'--input_list={tmp_path}/empty.txt')
  assert finished.returncode == 1
  assert f'{tmp_path}/empty.txt names no files' in finished.error
  (tmp_path / 'none').mkdir()
  finished = caption(scripted, tmp_path / 'none')
  assert finished.returncode == 1 and finished.stdout == ''
  assert f'{tmp_path}/none: there is no image in it' in finished.error
  finished = caption(scripted, '', f'--input_list={tmp_path}/gone.txt')
  assert finished.returncode == 1
  assert f'{tmp_path}/gone.txt' in finished.error


@pytest.mark.parametrize('checkpoint, options, lines', [
    ('model.ckpt-7', '--num_captions=1 --min_caption_length=4', BEST[2:]),
    # .2, .19 * .2 and .19 * .19 * .2
    ('model.ckpt-7', '--banned_words=red,<UNK>',
     (BEST[0], 'square (p=0.038000)', 'square square (p=0.007220)')),
    # .6 ** 3 * .3 * .6 ** 2
    ('endless',
     '--no_repeated_trigrams --beam_size=1 --max_caption_length=7',
     ('red red red square red red (p=0.023328)',)),
    # log .6 - 1 < log .3 < log .6 - .5: what red costs the second group.
    ('endless', '--beam_size=2 --beam_groups=2 --max_caption_length=3 '
     '--diversity_strength=1',
     ('red red (p=0.360000)', 'square square (p=0.090000)')),
    ('endless', '--beam_size=2 --beam_groups=2 --max_caption_length=3',
     ('red red (p=0.360000)',))])
def test_what_is_asked_of_the_search(
    scripted, task, caption, checkpoint, options, lines):
  finished = caption(
      scripted / checkpoint, task.images[0], *options.split())
  assert finished.returncode == 0, finished.stderr
  assert finished.stdout == block('red.jpg', *lines)


@pytest.mark.parametrize('options, line', [
    ('--num_captions=4', 'beam_size is 3; it must be at least 4'),
    ('--beam_groups=2', 'beam_size is 3, which 2 groups'),
    ('--banned_words=zebra', "--banned_words: the vocabulary has no 'zebra'"),
    ('--min_caption_length=9 --max_caption_length=8',
     'min_caption_length is 9, more than max_caption_length, 8')])
def test_mistakes_in_what_is_asked_of_the_search(
    scripted, task, caption, tmp_path, options, line):
  finished = caption(scripted, task.images[0], *options.split(),
                     f'--output_jsonl={tmp_path}/out.jsonl')
  assert finished.returncode == 1 and finished.stdout == ''
  assert line in finished.error
  assert not os.listdir(tmp_path)


def test_images_of_other_kinds_and_a_contact_sheet(
    scripted, caption, tmp_path):
  red = Image.open(io.BytesIO(draw_image('red', 'square', (300, 300))))
  red.save(tmp_path / 'a.png')
  red.convert('L').save(tmp_path / 'b.jpg')
  red.convert('CMYK').save(tmp_path / 'c.jpg')
  red.convert('P').save(tmp_path / 'd.png')
  red.convert('RGBA').save(tmp_path / 'e.png')
  red.resize((1, 1)).save(tmp_path / 'f.jpg')
  red.save(tmp_path / 'g.gif')
  sheet = tmp_path / 'sheet.jpg'
  finished = caption(scripted, f'{tmp_path}/?.*', f'--contact_sheet={sheet}')
  names = re.findall(r'Captions for image (\S+):', finished.stdout)
  assert finished.returncode == 0, finished.stderr
  assert names == [
      'a.png', 'b.jpg', 'c.jpg', 'd.png', 'e.png', 'f.jpg', 'g.gif']
  with Image.open(sheet) as drawn:
    drawn.load()
    assert drawn.format == 'JPEG'
    pixels = np.asarray(drawn.convert('RGB')).astype(int)
  reddish = ((pixels[..., 0] > 200) & (pixels[..., 1] < 80)
             & (pixels[..., 2] < 80))
  # 40 of 300 pixels a side, in at least four images.
  assert reddish.sum() > 4 * (240 * 40 / 300) ** 2 * 0.8
  assert (pixels.sum(axis=-1) < 200).sum() > 100  # Letters.


def test_a_reader_that_has_had_enough(
    scripted, task, start, tmp_path):
  os.mkfifo(tmp_path / 'stdout')
  command = start(
      'im2txt.run_inference', f'--checkpoint_path={scripted}',
      f'--input_files={",".join([str(task.images[0])] * 200)}',
      output=tmp_path)
  with open(tmp_path / 'stdout', encoding='utf-8') as pipe:
    assert pipe.readline() == 'Captions for image red.jpg:\n'
  finished = command.finish()
  assert finished.returncode == 0
  assert 'Traceback' not in finished.stderr
  assert 'BrokenPipe' not in finished.stderr


def test_a_copied_run_folder_is_read_itself(trained, tmp_path):
  # TensorFlow's `checkpoint` file still names the folder it came from.
  shutil.copytree(trained.folder, tmp_path / 'copy')
  for form in ('copy', 'copy/model.ckpt-6', 'copy/model.ckpt-6.index',
               'copy/model.ckpt-6.data-00000-of-00001'):
    assert checkpoints.latest(str(tmp_path / form)) == str(
        tmp_path / 'copy' / 'model.ckpt-6')


def test_mistakes(trained, task, launch, caption, tmp_path):
  def error_of(finished, status=1):
    assert finished.returncode == status, finished.stderr
    assert finished.stdout == ''
    assert finished.lines[-1].startswith('run_inference: error: ')
    assert 'Traceback' not in finished.stderr
    return finished.lines[-1]

  red = task.images[0]
  assert f'{tmp_path}: no checkpoint' in error_of(caption(tmp_path, red))
  assert f'{tmp_path}/model.ckpt-9' in error_of(
      caption(tmp_path / 'model.ckpt-9', red))
  assert '--beam_size=0' in error_of(
      caption(trained.folder, red, '--beam_size=0'), 2)
  assert '--max_caption_length=1' in error_of(
      caption(trained.folder, red, '--max_caption_length=1'), 2)
  assert '--input_files' in error_of(launch(
      'im2txt.run_inference', f'--checkpoint_path={trained.folder}'))
  assert f'{tmp_path}/nothing.txt' in error_of(
      caption(trained.folder, red, f'--vocab_file={tmp_path}/nothing.txt'))

  for name in os.listdir(trained.folder):
    if name.startswith(('model.ckpt-6', 'config')):
      shutil.copy(trained.folder / name, tmp_path)
  assert '--vocab_file' in error_of(caption(tmp_path, red))
  vocab = f'--vocab_file={task.vocab_file}'
  data = tmp_path / 'model.ckpt-6.data-00000-of-00001'
  data.write_bytes(data.read_bytes()[:1000])
  assert 'model.ckpt-6' in error_of(caption(tmp_path, red, vocab))
  (tmp_path / 'model.ckpt-6.index').write_bytes(b'no index' * 20)
  assert 'model.ckpt-6' in error_of(caption(tmp_path, red, vocab))
  (tmp_path / 'config.json').write_text('{"model": {}, "training": 3')
  assert f'{tmp_path}/config.json' in error_of(caption(tmp_path, red))


def test_an_im2txt_checkpoint_of_the_oldest_spelling(
    task, caption, write_checkpoint, tmp_path):
  # As TensorFlow before 1.0 wrote it: no config.json, im2txt's own optimiser,
  # 299 pixels, sizes to be had from the shapes alone.
  golden = (ROOT / 'tests' / 'goldens' / 'show_and_tell.txt').read_text()
  shapes = {name: [int(size) for size in sizes.rstrip(']').split(', ') if size]
            for name, sizes in (
                line.split(' [') for line in golden.splitlines())}
  shapes |= {
      'image_embedding/weights': [2048, 7], 'seq_embedding/map': [17, 7],
      'lstm/basic_lstm_cell/kernel': [7 + 11, 4 * 11],
      'lstm/basic_lstm_cell/bias': [4 * 11], 'logits/weights': [11, 17]}
  ours = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
  ours['global_step'] = np.int64(2000000)
  oldest = {'lstm/basic_lstm_cell/kernel': 'lstm/BasicLSTMCell/Linear/Matrix',
            'lstm/basic_lstm_cell/bias': 'lstm/BasicLSTMCell/Linear/Bias'}
  theirs = {oldest.get(name, name): value for name, value in ours.items()}
  theirs['logits/biases'] = biases(end=0.2, red=0.5, square=0.19)
  theirs['OptimizeLoss/learning_rate'] = np.float32(2)
  prefix = tmp_path / 'model.ckpt-2000000'
  write_checkpoint(prefix, theirs)
  finished = caption(prefix, task.images[0],
                     f'--vocab_file={task.vocab_file}')
  assert finished.returncode == 0, finished.stderr
  assert finished.stdout == block('red.jpg', *BEST)
  assert 'restored 383 variables; left as initialised: nothing; not used: ' \
         'OptimizeLoss/learning_rate' in finished.stderr


def test_no_im2txt_checkpoint(
    task, caption, write_checkpoint, tmp_path):
  write_checkpoint(tmp_path / 'other.ckpt', {'x': np.zeros(3, np.float32)})
  finished = caption(tmp_path / 'other.ckpt', task.images[0],
                     f'--vocab_file={task.vocab_file}')
  assert finished.returncode == 1
  assert f'{tmp_path}/other.ckpt' in finished.error
  assert 'config.json' in finished.error


def test_folders_say_what_is_left_out_and_tell_images_apart(
    caption, trained, task, tmp_path):
  for name in ('a/IMG_1.jpg', 'b/IMG_1.jpg', 'a/.hidden.jpg', 'a/copy'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    shutil.copy(task.images[0], tmp_path / name)
  (tmp_path / 'a' / 'notes.txt').write_text('notes')
  finished = caption(trained.folder, tmp_path)
  assert finished.returncode == 0, finished.stderr
  assert re.findall('Captions for image (.*):', finished.stdout) == [
      'a/IMG_1.jpg', 'copy', 'b/IMG_1.jpg']
  assert finished.stderr.endswith('1 files are not images: 1 .txt\n')
