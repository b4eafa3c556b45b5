r"""Images a CPU second of each step from images to features.

  python -m benchmarks.build_steps --image_dir=photos
  python -m benchmarks.build_steps --image_dir=photos --max_photos=8 --side=32

Each step is the very function that the commands run, in this process; the time
is the CPU's, all threads together, so that other work on the machine counts
little. Reading is from memory where the images have been read before.
"""

import os
import tempfile
import time
from collections.abc import Callable

from absl import flags

from data_prep.features import feature_maker, image_scan
from data_prep.images import stored_images
from data_prep.runners import local_runner
from data_prep.shards import shard_writer
from data_prep.shards.items import Item, Recipe, Shard
from data_prep.shards.words import tokenize
from im2txt import command_line, configuration
from im2txt.inference import image_files
from im2txt.inputs.shards import Shards
from im2txt.text import caption_styles, vocabulary


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.image_dir = flags.DEFINE_string(
        'image_dir', None, 'Folder of JPEGs.', required=True,
        flag_values=values)
    self.max_images = flags.DEFINE_integer(
        'max_photos', 200, 'How many to take.', lower_bound=2,
        flag_values=values)
    self.max_side = flags.DEFINE_integer(
        'max_side', 346, 'To which images are shrunk.', lower_bound=1,
        flag_values=values)
    self.encoder = flags.DEFINE_string(
        'encoder', 'efficientnet_lite0', 'One that brings its weights.',
        flag_values=values)
    self.side = flags.DEFINE_integer(
        'side', 224, 'Pixels that it sees.', lower_bound=32, flag_values=values)


_CAPTION = 'a brown dog leaps over a low fence in the green grass'


def report(name: str, number: int, work: Callable[[], object]) -> None:
  """Run a step that has been run before; print its rate."""
  started = time.process_time()
  work()
  print(f'{name:<34}{number / (time.process_time() - started):>10,.0f}',
        flush=True)


def report_features(
    path: str, number: int, config: configuration.ModelConfig
) -> None:
  """Report what making features costs.

  Args:
    path: a shard of images.
    number: of its images.
    config: the encoder and the size of its images.
  """
  with local_runner.in_this_process() as runner:
    report('scan shards', number, lambda: image_scan.scan(
        runner, Shards.find(path), config))
  maker = feature_maker.get_maker(config)
  description = maker.describe('pooled', 'float16', 0, '')

  def encode() -> None:
    list(maker.encode([(path, range(number))], description, 32))

  encode()
  report(f'encode at {config.image_height}', number, encode)
  feature_maker.close()


def main(flags_: Flags) -> None:
  """Measure."""
  files = image_files.find(
      flags_.image_dir.value).files[:flags_.max_images.value]
  plain = stored_images.ImageFormat()
  small = stored_images.ImageFormat(flags_.max_side.value)
  style = caption_styles.named('nltk')
  print(f'{len(files)} images of '
        f'{sum(map(os.path.getsize, files)) / len(files):,.0f} bytes')
  stored_images.find_problem(files[0], plain)
  report('check', len(files),
         lambda: [stored_images.find_problem(file, plain) for file in files])
  tokenize(_CAPTION, style)
  report('count words (captions)', 1000,
         lambda: [tokenize(_CAPTION, style) for _ in range(1000)])
  with tempfile.TemporaryDirectory() as folder:
    words = os.path.join(folder, vocabulary.FILE_NAME)
    vocabulary.write_word_counts(words, [('<S>', 1), ('</S>', 1), ('a', 1)])
    vocab = vocabulary.Vocabulary(words)
    items = [Item(i, file, [_CAPTION])
             for i, file in enumerate(files)]
    for name, form in (('write as it is', plain),
                       (f'shrink to {flags_.max_side.value} and write', small)):
      shard = Shard(os.path.join(folder, 'train-00000-of-00001'), items)
      recipe = Recipe('image', form, style, vocab)
      shard_writer.make_record(items[0], recipe)
      report(name, len(files),
             lambda: shard_writer.write_shard(shard, recipe))  # noqa: B023
    print(f'{"bytes of such a record":<34}'
          f'{os.path.getsize(shard.path) / len(files):>10,.0f}')
    side = flags_.side.value
    report_features(shard.path, len(files), configuration.ModelConfig(
        encoder=flags_.encoder.value, image_height=side, image_width=side))


if __name__ == '__main__':
  command_line.run(main, Flags)
