"""The benchmarks run; what they measure is not looked at."""

import re


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
