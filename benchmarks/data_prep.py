r"""How fast captioned images become shards, beside a plain threaded builder.

  python -m benchmarks.data_prep                   # images drawn at random
  python -m benchmarks.data_prep --image_dir=Flicker8k_Dataset \
    --captions_file=Flickr8k.token.txt
  python -m benchmarks.data_prep --num_photos=20 --rounds=1

The plain builder does as im2txt's build_mscoco_data.py: it tokenizes all
captions, counts words, and its threads then read each image-caption pair's
image, decode it with TensorFlow to see that it has three channels, and write it
with the caption. The others are `python -m data_prep.build_flickr8k_data` with
the flags that are shown. Each is a process of its own and timed from its start
to its end, the import of TensorFlow included, which is most of a small build;
all write 8 shards and take turns. The images have been read once
before, so that the disk is not what is timed. Images a second are those of the
best round, and `x plain` is the median of all rounds' ratios.
"""

import collections
import concurrent.futures
import functools
import glob
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from absl import flags
from PIL import Image

from data_prep.datasets import flickr8k
from im2txt import command_line
from im2txt.text import caption_styles, vocabulary


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.image_dir = flags.DEFINE_string(
        'image_dir', None, 'Folder of images. Default: some are drawn.',
        flag_values=values)
    self.captions_file = flags.DEFINE_string(
        'captions_file', None, 'Their captions, in the form of '
        'Flickr8k.token.txt; images without are left out.', flag_values=values)
    self.num_images = flags.DEFINE_integer(
        'num_photos', 3000, 'How many to draw, or to take of --image_dir at '
        'most.', lower_bound=1, flag_values=values)
    self.max_side = flags.DEFINE_integer(
        'max_side', 256, 'Of the last builder.', lower_bound=1,
        flag_values=values)
    self.rounds = flags.DEFINE_integer(
        'rounds', 2, 'Times that each builder runs.', lower_bound=1,
        flag_values=values)


_NUM_SHARDS = 8
_NUM_THREADS = 8  # im2txt's, and here the greatest number of processes.
_MIN_WORD_COUNT = 4


def draw_images(folder: str, number: int) -> tuple[str, str]:
  """Draw JPEGs of 640 x 480 pixels and some 80 kB, with five captions each.

  Returns:
    The images' folder and the file of captions.
  """
  rng = np.random.default_rng(0)
  image_dir = os.path.join(folder, 'images')
  os.mkdir(image_dir)
  words = [f'word{i}' for i in range(2000)]
  captions = []

  def draw(*size):
    return Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).resize(
        (640, 480), Image.Resampling.BICUBIC)

  grain = draw(240, 320)
  for i in range(number):
    name = f'{i}.jpg'
    Image.blend(draw(24, 32), grain, 0.1).save(
        os.path.join(image_dir, name), quality=90)
    captions += [f'{name}#{k}\t{" ".join(rng.choice(words, 10))} .\n'
                 for k in range(5)]
  captions_file = os.path.join(folder, 'captions.txt')
  with open(captions_file, 'w', encoding='utf-8') as f:
    f.writelines(captions)
  return image_dir, captions_file


def list_images(
    image_dir: str, captions_file: str, list_file: str, at_most: int
) -> tuple[int, int]:
  """List images that have captions, reading each once.

  Returns:
    The number of images and of their bytes.
  """
  with open(captions_file, encoding='utf-8') as f:
    captioned = {line.partition('#')[0] for line in f}
  names = sorted(captioned.intersection(os.listdir(image_dir)))[:at_most]
  if not names:
    raise ValueError(f'no image of {image_dir} has a caption in '
                     f'{captions_file}')
  with open(list_file, 'w', encoding='utf-8') as f:
    f.writelines(f'{name}\n' for name in names)
  total = 0
  for name in names:
    with open(os.path.join(image_dir, name), 'rb') as f:
      total += len(f.read())
  return len(names), total


def build_plainly(flags_of_build: Mapping[str, str]) -> None:
  """Build as im2txt does."""
  import tensorflow as tf  # Part of what a process has to do.

  tf1 = tf.compat.v1
  output_dir = flags_of_build['output_dir']
  [captioned] = flickr8k.read_splits(
      flags_of_build['captions_file'], {'train': flags_of_build['train_list']},
      flags_of_build['image_dir']).values()
  style = caption_styles.named('nltk')
  pairs = [(image, style.tokenize(caption))
           for image in captioned for caption in image.captions]
  counter = collections.Counter(word for _, words in pairs for word in words)
  frequent = sorted(((word, count) for word, count in counter.items()
                     if count >= _MIN_WORD_COUNT), key=lambda x: -x[1])
  with open(os.path.join(output_dir, vocabulary.FILE_NAME), 'w',
            encoding='utf-8') as f:
    f.writelines(f'{word} {count}\n' for word, count in frequent)
  ids = {word: i for i, (word, _) in enumerate(frequent)}
  np.random.default_rng(0).shuffle(pairs)

  with tf.Graph().as_default(), tf1.Session() as session:
    encoded = tf1.placeholder(tf.string, [])
    decoded = tf.io.decode_jpeg(encoded, channels=3)

    def int64(value):
      return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    def text(value):
      return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def make_record(image, words):
      with open(image.path, 'rb') as f:
        data = f.read()
      assert session.run(decoded, {encoded: data}).shape[2] == 3
      return tf.train.SequenceExample(
          context=tf.train.Features(feature={
              'image/image_id': int64(image.image_id),
              'image/data': text(data)}),
          feature_lists=tf.train.FeatureLists(feature_list={
              'image/caption': tf.train.FeatureList(
                  feature=[text(word.encode()) for word in words]),
              'image/caption_ids': tf.train.FeatureList(
                  feature=[int64(ids.get(word, len(ids))) for word in words]),
          })).SerializeToString()

    def write_shard(number):
      with tf.io.TFRecordWriter(os.path.join(
          output_dir, f'train-{number:05d}-of-{_NUM_SHARDS:05d}')) as writer:
        for image, words in pairs[number::_NUM_SHARDS]:
          writer.write(make_record(image, words))

    with concurrent.futures.ThreadPoolExecutor(_NUM_THREADS) as threads:
      list(threads.map(write_shard, range(_NUM_SHARDS)))


def run_plainly(flags_of_build: Mapping[str, str]) -> None:
  """Run the plain builder in a new process."""
  process = multiprocessing.get_context('spawn').Process(
      target=build_plainly, args=(flags_of_build,))
  process.start()
  process.join()
  if process.exitcode:
    raise ChildProcessError('the plain builder failed')


def run_build(
    flags_of_build: Mapping[str, str], further: Sequence[str]
) -> None:
  """Run this project's builder."""
  done = subprocess.run(
      [sys.executable, '-m', 'data_prep.build_flickr8k_data',
       *(f'--{name}={value}' for name, value in flags_of_build.items()),
       *further, f'--train_shards={_NUM_SHARDS}',
       f'--num_threads={_NUM_THREADS}', f'--min_word_count={_MIN_WORD_COUNT}'],
      stderr=subprocess.PIPE, text=True, check=False)
  if done.returncode:
    raise ChildProcessError(done.stderr)


def time_build(
    run: Callable[[Mapping[str, str]], None], flags_of_build: Mapping[str, str]
) -> tuple[float, int]:
  """Return the seconds that a builder takes, and its shards' bytes."""
  with tempfile.TemporaryDirectory() as output_dir:
    start = time.perf_counter()
    run({**flags_of_build, 'output_dir': output_dir})
    seconds = time.perf_counter() - start
    return seconds, sum(map(os.path.getsize, glob.glob(
        os.path.join(output_dir, 'train-*'))))


def main(flags_: Flags) -> None:
  """Time and print a table."""
  if (flags_.image_dir.value is None) != (flags_.captions_file.value is None):
    raise ValueError('--image_dir and --captions_file go together')
  builds = (['--layout=im2txt'], ['--layout=image'],
            ['--layout=image', f'--max_side={flags_.max_side.value}'])
  builders = {'plain': run_plainly} | {
      ' '.join(further): functools.partial(run_build, further=further)
      for further in builds}
  with tempfile.TemporaryDirectory() as folder:
    image_dir, captions_file = (
        (flags_.image_dir.value, flags_.captions_file.value)
        if flags_.image_dir.value else
        draw_images(folder, flags_.num_images.value))
    flags_of_build = {'image_dir': image_dir, 'captions_file': captions_file,
                      'train_list': os.path.join(folder, 'list.txt')}
    images, num_bytes = list_images(
        image_dir, captions_file, flags_of_build['train_list'],
        flags_.num_images.value)
    print(f'{images} images of {num_bytes / images / 1e3:.1f} kB\n', flush=True)
    times = {name: [] for name in builders}
    written = {}
    for _ in range(flags_.rounds.value):
      for name, run in builders.items():
        seconds, written[name] = time_build(run, flags_of_build)
        times[name].append(seconds)
  row = '| {:29} | {:>8} | {:>7} | {:>10} | {:>15} |'
  print(row.format('builder', 'photos/s', 'x plain', 'MB written',
                   "x plain's bytes"))
  print(row.format(*(5 * ['---'])))
  for name, seconds in times.items():
    ratio = statistics.median(
        plain / own for plain, own in zip(times['plain'], seconds, strict=True))
    print(row.format(
        name, f'{images / min(seconds):.0f}', f'{ratio:.2f}',
        f'{written[name] / 1e6:.1f}',
        f'{written[name] / written["plain"]:.3f}'))


if __name__ == '__main__':
  command_line.run(main, Flags)
