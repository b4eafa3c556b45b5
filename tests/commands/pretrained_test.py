"""The model that comes with the package, and what its card says of it."""

import json
import pathlib
import re
import tarfile
import tomllib

import numpy as np
import pytest
from command_runner import ROOT
from PIL import Image

from im2txt.checkpoints import trained_model

FOLDER = pathlib.Path(trained_model.PRETRAINED)
FLICKR8K = ROOT.parent / 'shared' / 'data' / 'flickr8k'


def card_scores():
  """Scores on dev by name, the first column of the card's table."""
  card = (FOLDER / 'MODEL_CARD.md').read_text('utf-8')
  rows = re.findall(r'^\| (\w+) \| (\.\d+) \|', card, re.MULTILINE)
  return {name: float(score) for name, score in rows}


def test_it_is_small():
  size = sum(path.stat().st_size for path in FOLDER.iterdir())
  assert size <= 15e6


def test_it_is_all_in_half_precision():
  with np.load(FOLDER / 'weights.npz', allow_pickle=False) as f:
    for name in set(f.files) - {'encoder_digest', 'global_step'}:
      if name != 'logits/biases':  # Words may be banned.
        assert f[name].dtype == np.float16, name


def test_it_is_installed_with_the_package():
  with open(ROOT / 'pyproject.toml', 'rb') as f:
    data = tomllib.load(f)['tool']['setuptools']['package-data']
  installed = {path for pattern in data['im2txt.pretrained']
               for path in FOLDER.glob(pattern)}
  assert installed == set(FOLDER.iterdir())


def test_a_vocabulary_needs_its_own_model(launch, task):
  finished = launch('im2txt.run_inference', task.images[0],
                    f'--vocab_file={task.vocab_file}')
  assert finished.returncode == 1
  assert '--vocab_file' in finished.error
  assert '--checkpoint_path is missing' in finished.error


@pytest.mark.long
def test_it_is_exported_where_no_checkpoint_is_named(launch, tmp_path):
  finished = launch('im2txt.export', f'--output_dir={tmp_path}/served')
  assert finished.returncode == 0, finished.stderr
  assert (tmp_path / 'served' / 'saved_model.pb').exists()


def test_it_captions_where_no_checkpoint_is_named(launch, tmp_path):
  random = np.random.default_rng(1)
  for i in range(2):
    Image.fromarray(random.integers(0, 256, (61, 47, 3), np.uint8)).save(
        tmp_path / f'{i}.png')
  finished = launch('im2txt.cli', 'caption', tmp_path)
  assert finished.returncode == 0, finished.stderr
  assert 'the model that comes with the package' in finished.stderr
  captions = re.findall(r'  \d\) (.*) \(p=', finished.stdout)
  assert len(captions) == 6
  assert all(re.fullmatch('[a-z ]{10,}', caption) for caption in captions)


@pytest.mark.long
@pytest.mark.skipif(not FLICKR8K.exists(), reason=f'no {FLICKR8K}')
def test_its_scores_are_those_of_its_card(launch, tmp_path):
  with tarfile.open(FLICKR8K / 'Flicker8k_Dataset.dev.tar') as tar:
    tar.extractall(tmp_path, filter='data')
  finished = launch(
      'im2txt.run_inference', tmp_path / 'Flicker8k_Dataset',
      f'--output_json={tmp_path}/results.json')
  assert finished.returncode == 0, finished.stderr
  finished = launch(
      'im2txt.score_captions', f'--results={tmp_path}/results.json',
      f'--annotations={FLICKR8K}/Flickr8k.token.txt',
      f'--output_json={tmp_path}/scores.json')
  assert finished.returncode == 0, finished.stderr
  scores = json.loads((tmp_path / 'scores.json').read_text())['captions']
  on_card = card_scores()
  assert {'Bleu_4', 'CIDEr'} <= scores.keys() & on_card.keys()
  for name, score in scores.items():  # Without Java there is no METEOR.
    assert abs(on_card[name] - score) <= 0.003, name
