"""The flags that every build_*_data.py has."""

import dataclasses
import functools
import json

from absl import flags

from data_prep.runners import flags as runner_flags
from data_prep.runners.local_runner import local_runner
from data_prep.shards.build import Options
from data_prep.shards.items import LAYOUTS
from im2txt.text import caption_styles

# --help of a command line then lists these flags as its own.
flags.disclaim_key_flags()

FLAGS = flags.FLAGS


def define(train_shards: int, val_shards: int, test_shards: int) -> None:
  """Defines the flags.

  Args:
    train_shards: default of --train_shards.
    val_shards: default of --val_shards.
    test_shards: default of --test_shards.
  """
  flags.DEFINE_string('output_dir', None,
                      'Folder for the shards; made if it is not there.')
  flags.mark_flag_as_required('output_dir')
  flags.DEFINE_integer('train_shards', train_shards,
                       'Number of training shards.', lower_bound=1)
  flags.DEFINE_integer('val_shards', val_shards,
                       'Number of validation shards.', lower_bound=1)
  flags.DEFINE_integer('test_shards', test_shards,
                       'Number of test shards.', lower_bound=1)
  flags.DEFINE_enum('layout', Options.layout, list(LAYOUTS),
                    'What a record is: an image-caption pair, as im2txt has '
                    'it, with the image stored anew for each caption; or '
                    'an image with all of its captions, which takes a fifth '
                    'of the bytes where there are five.')
  flags.DEFINE_integer('max_side', Options.max_side,
                       'Shrink images to this many pixels along their '
                       'longer side, so that training decodes fewer; '
                       'smaller ones are stored as they are. 0: shrink none.',
                       lower_bound=0)
  flags.DEFINE_integer('jpeg_quality', Options.jpeg_quality,
                       'Of images that are shrunk, or no JPEG to begin '
                       'with.', lower_bound=1, upper_bound=100)
  flags.DEFINE_enum('caption_style', None, caption_styles.NAMES,
                    "How captions become words: nltk's tokens, as im2txt has "
                    'them; clean: only words of two letters and more; keras: '
                    'without punctuation. Default: that of --vocab_file, or '
                    'else nltk.')
  flags.DEFINE_string('start_word', None, 'Marker put before every caption. '
                      'Default: <S>, or what the style is known with '
                      '(startseq, <start>); likewise the next two.')
  flags.DEFINE_string('end_word', None, 'Marker put behind every caption.')
  flags.DEFINE_string('unknown_word', None,
                      'Stands for every word that is not in the vocabulary.')
  flags.DEFINE_integer('max_pairs', None, 'Build a sample of so many '
                       'image-caption pairs, of all splits together; the '
                       'same ones each time. An image of validation or test '
                       'keeps few of its captions, so scores against them '
                       'are low. Default: all.', lower_bound=1)
  flags.DEFINE_integer('min_word_count', 4,
                       'A word that the training captions have less often '
                       'does not get into the vocabulary.', lower_bound=1)
  flags.DEFINE_integer('max_words', None, 'Most words of the vocabulary, the '
                       'most frequent ones, both markers counted. Default: '
                       'any number.', lower_bound=3)
  flags.DEFINE_string('word_counts_output_file', None,
                      'Where to write the vocabulary. Default: '
                      'word_counts.txt in --output_dir (im2txt: '
                      '/tmp/word_counts.txt).')
  flags.DEFINE_string('vocab_file', None,
                      'Take the ids from this vocabulary, such as the '
                      'word_counts.txt of an earlier build, and count no '
                      'words. Needed where no training split is built.')
  flags.DEFINE_float('max_bad_fraction', 0.01,
                     'Share of images that may be missing or broken; they '
                     'are left out. More of them stop the build.',
                     lower_bound=0, upper_bound=1)
  flags.DEFINE_integer('num_threads', 8,
                       'With --runner=local: number of worker processes, at '
                       'most one a CPU.',
                       lower_bound=1)
  runner_flags.define('worker processes of this machine')


def options() -> Options:
  """Returns the flags' values.

  Raises:
    ValueError: two flags do not go together.
  """
  if FLAGS.vocab_file and FLAGS.word_counts_output_file:
    raise ValueError('--vocab_file says to count no words, '
                     '--word_counts_output_file where to write the counts; '
                     'give one of them')
  return Options(
      output_dir=FLAGS.output_dir,
      num_shards={'train': FLAGS.train_shards, 'val': FLAGS.val_shards,
                  'test': FLAGS.test_shards},
      style=_style(),
      max_pairs=FLAGS.max_pairs,
      min_word_count=FLAGS.min_word_count,
      max_words=FLAGS.max_words,
      word_counts_output_file=FLAGS.word_counts_output_file,
      vocab_file=FLAGS.vocab_file,
      layout=FLAGS.layout,
      max_side=FLAGS.max_side,
      jpeg_quality=FLAGS.jpeg_quality,
      max_bad_fraction=FLAGS.max_bad_fraction,
      runner=runner_flags.runner(
          functools.partial(local_runner, FLAGS.num_threads),
          FLAGS.output_dir))


def _style() -> caption_styles.CaptionStyle:
  """How captions become words; that of the vocabulary if there is one."""
  markers = {name: FLAGS[name].value
             for name in ('start_word', 'end_word', 'unknown_word')}
  known = FLAGS.vocab_file and caption_styles.read(FLAGS.vocab_file)
  if not known:
    style = caption_styles.named(FLAGS.caption_style or 'nltk', **markers)
    # Whoever trains on the shards will have nothing but the vocabulary.
    if FLAGS.vocab_file and style != caption_styles.named('nltk'):
      raise ValueError(
          f'--vocab_file={FLAGS.vocab_file} has no '
          f'{caption_styles.path_of(FLAGS.vocab_file)} beside it, so its '
          "words are nltk's tokens with im2txt's markers. If they were "
          'counted as the flags say, write into that file: '
          f'{json.dumps(dataclasses.asdict(style), ensure_ascii=False)}')
    return style
  for name, value in {'caption_style': FLAGS.caption_style, **markers}.items():
    theirs = known.name if name == 'caption_style' else getattr(known, name)
    if value not in (None, theirs):
      raise ValueError(f'--{name}={value}, but the captions of '
                       f'--vocab_file={FLAGS.vocab_file} were read with '
                       f'{theirs}')
  return known
