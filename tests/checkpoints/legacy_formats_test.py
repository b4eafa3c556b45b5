"""Files that earlier code wrote still load, and give the same captions.

goldens/legacy was written by the code before it was divided into packages,
with the encoder `Cells` and a training of 40 steps; see its README.txt.
"""

import functools
import io
import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from attending import Cells
from PIL import Image

from im2txt.checkpoints import folder as checkpoints
from im2txt.checkpoints import restore, run_folder
from im2txt.encoders import ENCODERS
from im2txt.evaluation import run_history
from im2txt.inference import batch_captioner, loaded_model
from im2txt.models.captioner import Captioner
from im2txt.search.beam_search import Options, beam_search
from im2txt.search.rules import Rules

LEGACY = pathlib.Path(__file__).parent.parent / 'goldens' / 'legacy'


@pytest.fixture(autouse=True)
def cells(monkeypatch):
  monkeypatch.setitem(ENCODERS, 'cells', Cells)


@pytest.fixture
def images(tmp_path):
  """A red and a blue image file."""
  files = []
  for name, colour in (('red', (255, 0, 0)), ('blue', (0, 0, 255))):
    buffer = io.BytesIO()
    Image.new('RGB', (50, 30), colour).save(buffer, 'PNG')
    (tmp_path / f'{name}.png').write_bytes(buffer.getvalue())
    files.append(str(tmp_path / f'{name}.png'))
  return files


@pytest.mark.parametrize('name', ['run', 'packed'])
def test_a_model_captions_as_before(name, images):
  model = loaded_model.load([str(LEGACY / name)])
  [results] = batch_captioner.caption_files(
      model, images, functools.partial(
          beam_search, rules=Rules(model.vocab), options=Options(2)), 2)
  expected = json.loads((LEGACY / 'captions.json').read_text())[name]
  for result, captions in zip(results, expected, strict=True):
    assert [caption.text for caption in result.captions] == [
        text for text, _ in captions]
    assert [caption.log_probability for caption in result.captions] == (
        pytest.approx([value for _, value in captions], abs=1e-5))


def test_training_resumes_from_a_run_folder():
  prefix = checkpoints.newest(str(LEGACY / 'run'))
  assert checkpoints.step_of(prefix) == 40
  config = run_folder.load_config(str(LEGACY / 'run'))
  assert config.training.optimizer == 'Adam' and config.name == 'legacy'
  with tf.Graph().as_default():
    Captioner(config.model).build_step()
    variables = tf.compat.v1.global_variables()
    values = restore.read_values(prefix, variables)
    averages = restore.read_values(prefix, variables, averaged=True)
  assert values.keys() == averages.keys() == {v.op.name for v in variables}
  name = 'lstm/basic_lstm_cell/kernel'
  assert np.abs(values[name] - averages[name]).max() > 1e-3
  [evaluation] = run_history.read_run(str(LEGACY / 'run')).evaluations
  assert evaluation.step == 40


def test_a_checkpoint_alone_has_the_averages_of_its_run():
  run, alone = (restore.read_scope(
      checkpoints.latest(str(LEGACY / name / 'model.ckpt-40')), '')
      for name in ('run', 'checkpoint'))
  assert len(alone) == 9
  for name, value in alone.items():
    np.testing.assert_array_equal(value, run[name])


def test_a_packed_model_gets_its_encoder_from_the_package():
  folder = str(LEGACY / 'packed_without_encoder')
  prefix = checkpoints.latest(folder)
  assert os.path.basename(prefix) == 'weights.npz'
  values = restore.read_scope(prefix, '')
  assert len(values) == 245 + 7
  assert values['EfficientNetLite0/Stem/weights'].shape == (3, 3, 3, 32)
  assert values['logits/weights'].shape == (5, 8)
  assert values['global_step'] == 7
