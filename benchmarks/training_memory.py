r"""How much memory training takes on a set of COCO's size.

  python -m benchmarks.training_memory
  python -m benchmarks.training_memory --num_pictures=100 --steps=3

Each row is a run of `python -m im2txt.train` and the greatest resident memory
of its process. The first is of a set of one batch, so of the program and the
model; the others also have what a large set needs: cached features of as many
pairs as COCO has, one whole epoch; and images of COCO's size, stored with
each caption, many thousands of which are kept to shuffle.
The decoder is small, so that the epoch is short.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from absl import flags

from benchmarks import drawn_shards, images
from im2txt import command_line, configuration
from im2txt.text import vocabulary


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.num_images = flags.DEFINE_integer(
        'num_pictures', 117273, 'Images of the large set, with five captions '
        'each; 117,273 have as many as COCO.', lower_bound=1,
        flag_values=values)
    self.num_pairs = flags.DEFINE_integer(
        'num_pairs', 6400, 'Pairs of the set of images.', lower_bound=1,
        flag_values=values)
    self.steps = flags.DEFINE_integer(
        'steps', 0, 'Of each row. Default: an epoch.', lower_bound=0,
        flag_values=values)


_CONFIG = '''
from im2txt import configuration


def get_config():
  return configuration.Config(model=configuration.ModelConfig(
      encoder='efficientnet_lite0', image_height=224, image_width=224,
      vocab_size=12000, embedding_size=16, num_lstm_units=16))
'''


def peak_memory(arguments: Sequence[str]) -> int:
  """Run train.py; return the greatest resident memory in bytes.

  Raises:
    ChildProcessError: it failed.
  """
  with tempfile.TemporaryFile('w+') as log:
    process = subprocess.Popen(
        [sys.executable, '-m', 'im2txt.train', *arguments], stderr=log)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
      log.seek(0)
      raise ChildProcessError(log.read())
  return usage.ru_maxrss * 1024


def main(flags_: Flags) -> None:
  """Write the sets, train and print a table."""
  config = configuration.ModelConfig(
      encoder='efficientnet_lite0', image_height=224, image_width=224)
  weights = drawn_shards.encoder_digest(config)
  with tempfile.TemporaryDirectory() as folder:

    def path(name):
      return os.path.join(folder, name)

    with open(path('config.py'), 'w', encoding='utf-8') as f:
      f.write(_CONFIG)
    words = ['<S>', '</S>', *(
        f'word{i}' for i in range(config.vocab_size - 3))]
    vocabulary.write_word_counts(
        path(vocabulary.FILE_NAME), [(word, 1) for word in words])
    for name, number in (('small', 7), ('large', flags_.num_images.value)):
      drawn_shards.write_features(
          path(name), config, weights, number, min(256, number))
    per_image = drawn_shards.CAPTIONS_AN_IMAGE
    num_files = -(-flags_.num_pairs.value // per_image)
    files = images.draw(folder, min(64, num_files))
    repeated = (files * (num_files // len(files) + 1))[:num_files]
    drawn_shards.write_pairs(path('pairs'), config.vocab_size, repeated)

    row = '| {:21} | {:>7} | {:>6} | {:>13} |'
    print(row.format('set', 'pairs', 'steps', 'resident, MiB'))
    print(row.format(*(4 * ['---'])))
    for name, pattern, pairs in (
        ('features of one batch', 'small/*-of-*', 7 * per_image),
        ('features', 'large/*-of-*', flags_.num_images.value * per_image),
        ('images', 'pairs', flags_.num_pairs.value)):
      steps = flags_.steps.value or max(1, pairs // config.batch_size)
      peak = peak_memory([
          f'--config={path("config.py")}',
          f'--vocab_file={path(vocabulary.FILE_NAME)}',
          f'--input_file_pattern={path(pattern)}',
          f'--train_dir={path(f"run of {name}")}',
          f'--number_of_steps={steps}'])
      print(row.format(name, pairs, steps, peak // 2**20), flush=True)


if __name__ == '__main__':
  command_line.run(main, Flags)
