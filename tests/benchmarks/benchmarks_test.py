"""The benchmarks run; what they measure is not looked at."""

import re
import subprocess
import sys

import pytest
from command_runner import ROOT

pytestmark = pytest.mark.long


def test_captioning(launch):
  finished = launch(
      'benchmarks.captioning', '--quick', '--encoder=efficientnet_lite0',
      '--image_size=32', '--vocab_size=41', '--num_units=7', '--beam_size=2',
      '--max_caption_length=5', '--num_pictures=5', '--batch_sizes=1,3',
      '--rounds=1')
  assert finished.returncode == 0, finished.stderr
  rows = re.findall(r'\| (\w[\w ]*?) +\| +(\d+) \| +[\d.]+ \|', finished.stdout)
  assert rows == [('classic', '1'), ('CaptionGenerator', '1'),
                  ('inside the graph', '1'), ('inside the graph', '3')]


def test_data_prep(launch):
  finished = launch('benchmarks.data_prep', '--num_photos=9', '--rounds=1',
                    '--max_side=64')
  assert finished.returncode == 0, finished.stderr
  shares = dict(re.findall(
      r'\| (\S.*?) +\| +\d+ \| +[\d.]+ \| +[\d.]+ \| +([\d.]+) \|',
      finished.stdout))
  assert list(shares) == [
      'plain', '--layout=im2txt', '--layout=image',
      '--layout=image --max_side=64']
  assert float(shares['--layout=im2txt']) == pytest.approx(1, abs=0.02)
  assert 0.2 < float(shares['--layout=image']) < 0.22
  assert float(shares['--layout=image --max_side=64']) < 0.05


def test_data_prep_of_given_images(launch, tmp_path):
  captions_file = tmp_path / 'token.txt'
  captions_file.write_text('1.jpg#0\tA dog .\n')
  finished = launch('benchmarks.data_prep', f'--image_dir={tmp_path}')
  assert finished.error.endswith('--image_dir and --captions_file go together')
  finished = launch('benchmarks.data_prep', f'--image_dir={tmp_path}',
                    f'--captions_file={captions_file}')
  assert finished.error.endswith(f'no image of {tmp_path} has a caption in '
                                 f'{captions_file}')


def test_build_steps(launch, task):
  finished = launch('benchmarks.build_steps', f'--image_dir={task.folder}',
                    '--max_side=32', '--side=32')
  assert finished.returncode == 0, finished.stderr
  assert re.findall(r'^(\w[\w ]*?)(?: \(\w+\))?  +[\d,]+$', finished.stdout,
                    re.M) == [
      'check', 'count words', 'write as it is', 'shrink to 32 and write',
      'bytes of such a record', 'scan shards', 'encode at 32']


def test_training(launch):
  finished = launch(
      'benchmarks.training', '--encoder=efficientnet_lite0', '--image_size=32',
      '--vocab_size=41', '--num_units=7', '--batch_size=3', '--num_pictures=5',
      '--num_records=40', '--rounds=1')
  assert finished.returncode == 0, finished.stderr
  steps, alone, costs = (
      re.findall(r'^\| (\w.*?) +\|.* +(\S+) \|$', table, re.M)[1:]
      for table in finished.stdout.split('\n\n')[1:])
  padding = {name: float(share.rstrip('%')) for name, share in steps}
  assert list(padding) == [
      'classic', 'images', 'images, all captions of each',
      'features, no buckets', 'features, all captions of each', 'features']
  assert padding['features'] < padding['features, no buckets']
  assert [name for name, _ in alone] == list(padding)
  assert [name for name, _ in costs] == [
      'B = 3, T = 12', 'B doubled', 'T doubled', 'V doubled', 'H doubled',
      'bfloat16']
  floors = [float(times) for _, times in costs]
  assert min(floors) > 0


def test_training_memory(launch):
  finished = launch('benchmarks.training_memory', '--num_pictures=9',
                    '--num_pairs=35', '--steps=1')
  assert finished.returncode == 0, finished.stderr
  rows = re.findall(r'^\| (\w.*?) +\| +(\d+) \| +1 \| +(\d+) \|$',
                    finished.stdout, re.M)
  assert [row[:2] for row in rows] == [
      ('features of one batch', '35'), ('features', '45'), ('images', '35')]
  assert all(100 < int(row[2]) < 4096 for row in rows)


def test_cluster(launch):
  finished = launch('benchmarks.cluster', '--workers=1,2', '--steps=9',
                    '--vocab_size=41', '--num_units=7', '--image_size=32')
  assert finished.returncode == 0, finished.stderr
  rows = re.findall(r'^\| (\w.*?) +\| +(\d) \|.* +(\S+) \|$',
                    finished.stdout, re.M)
  assert [row[:2] for row in rows] == [
      ('no cluster', '1'), ('async', '1'), ('async', '2'), ('sync', '2')]
  assert all(float(megabytes) >= 0 for _, _, megabytes in rows)


def test_determinism():
  # A process of its own: it starts others that run its module again.
  finished = subprocess.run(
      [sys.executable, '-m', 'benchmarks.determinism', '--image_size=32',
       '--encoder=efficientnet_lite0', '--vocab_size=41', '--num_units=7',
       '--batch_size=3', '--num_pictures=5', '--num_records=40',
       '--rounds=1'], cwd=ROOT, capture_output=True, text=True, check=False)
  assert finished.returncode == 0, finished.stderr
  rows = re.findall(r'^\| (\w+) +\|.* +(\S+) \|$', finished.stdout, re.M)[1:]
  assert [name for name, _ in rows] == ['images', 'features']
  assert all(float(ratio) > 0 for _, ratio in rows)
