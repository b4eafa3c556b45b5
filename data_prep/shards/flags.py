"""The flags that every build_*_data.py has."""

import dataclasses
import functools
import json

from absl import flags

from data_prep.runners.flags import RunnerFlags
from data_prep.runners.local_runner import FEW, local_runner
from data_prep.shards.build import Options
from data_prep.shards.items import LAYOUTS
from im2txt.flags.overwrite import OverwriteFlag
from im2txt.text import caption_styles

# The flags are the command's that constructs them, and in its --help.
flags.disclaim_key_flags()


class BuildFlags:
  """The flags of a build, whichever data set it is of."""

  def __init__(
      self, train_shards: int, val_shards: int, test_shards: int,
      values: flags.FlagValues = flags.FLAGS,
  ):
    """Define the flags.

    Args:
      train_shards: default of --train_shards.
      val_shards: default of --val_shards.
      test_shards: default of --test_shards.
      values: where to define them.
    """
    self.output_dir = flags.DEFINE_string(
        'output_dir', None, 'Folder for the shards; made if it is not there.',
        required=True, flag_values=values)
    self.train_shards = flags.DEFINE_integer(
        'train_shards', train_shards, 'Number of training shards.',
        lower_bound=1, flag_values=values)
    self.val_shards = flags.DEFINE_integer(
        'val_shards', val_shards, 'Number of validation shards.',
        lower_bound=1, flag_values=values)
    self.test_shards = flags.DEFINE_integer(
        'test_shards', test_shards, 'Number of test shards.',
        lower_bound=1, flag_values=values)
    self.max_pairs = flags.DEFINE_integer(
        'max_pairs', None, 'Build a sample of so many image-caption pairs, of '
        'all splits together; the same ones each time. An image of validation '
        'or test keeps few of its captions, so scores against them are low. '
        'Default: all.', lower_bound=1, flag_values=values)
    self.max_bad_fraction = flags.DEFINE_float(
        'max_bad_fraction', 0.01, 'Share of images that may be missing or '
        'broken; they are left out. More of them stop the build, if they are '
        'more than 5 or half of the images. 0: any bad image stops it.',
        lower_bound=0, upper_bound=1, flag_values=values)
    self.num_threads = flags.DEFINE_integer(
        'num_threads', 8, 'With --runner=local: number of worker processes, at '
        f'most one a CPU; {FEW} images and fewer need none.', lower_bound=1,
        flag_values=values)
    self.overwrite = OverwriteFlag(values)
    self.runner = RunnerFlags('worker processes of this machine', values)
    self._define_records(values)
    self._define_words(values)

  def _define_records(self, values: flags.FlagValues) -> None:
    self.layout = flags.DEFINE_enum(
        'layout', Options.layout, list(LAYOUTS), 'What a record is: an '
        'image-caption pair, as im2txt has it, with the image stored anew for '
        'each caption; or an image with all of its captions, which takes a '
        'fifth of the bytes where there are five.', flag_values=values)
    self.max_side = flags.DEFINE_integer(
        'max_side', Options.max_side, 'Shrink images to this many pixels along '
        'their longer side, so that training decodes fewer; smaller ones are '
        'stored as they are. 0: shrink none.', lower_bound=0,
        flag_values=values)
    self.jpeg_quality = flags.DEFINE_integer(
        'jpeg_quality', Options.jpeg_quality, 'Of images that are shrunk, or '
        'no JPEG to begin with.', lower_bound=1, upper_bound=100,
        flag_values=values)

  def _define_words(self, values: flags.FlagValues) -> None:
    self.caption_style = flags.DEFINE_enum(
        'caption_style', None, caption_styles.NAMES, 'How captions become '
        "words: nltk's tokens, as im2txt has them; clean: only words of two "
        'letters and more; keras: without punctuation. Default: that of '
        '--vocab_file, or else nltk.', flag_values=values)
    self.start_word = flags.DEFINE_string(
        'start_word', None, 'Marker put before every caption. Default: <S>, or '
        'what the style is known with (startseq, <start>); likewise the next '
        'two.', flag_values=values)
    self.end_word = flags.DEFINE_string(
        'end_word', None, 'Marker put behind every caption.',
        flag_values=values)
    self.unknown_word = flags.DEFINE_string(
        'unknown_word', None, 'Stands for every word that is not in the '
        'vocabulary.', flag_values=values)
    self.min_word_count = flags.DEFINE_integer(
        'min_word_count', None, 'A word that the training captions have less '
        'often does not get into the vocabulary. Default: 4, or less where '
        'that would leave out more than 5 % of the words.', lower_bound=1,
        flag_values=values)
    self.max_words = flags.DEFINE_integer(
        'max_words', None, 'Most words of the vocabulary, the most frequent '
        'ones, both markers counted. Default: any number.', lower_bound=3,
        flag_values=values)
    self.word_counts_output_file = flags.DEFINE_string(
        'word_counts_output_file', None, 'Where to write the vocabulary. '
        'Default: word_counts.txt in --output_dir (im2txt: '
        '/tmp/word_counts.txt).', flag_values=values)
    self.vocab_file = flags.DEFINE_string(
        'vocab_file', None, 'Take the ids from this vocabulary, such as the '
        'word_counts.txt of an earlier build, and count no words. Needed where '
        'no training split is built.', flag_values=values)

  def options(self) -> Options:
    """Return how to build.

    Raises:
      ValueError: two flags do not go together.
    """
    if self.vocab_file.value and self.word_counts_output_file.value:
      raise ValueError('--vocab_file says to count no words, '
                       '--word_counts_output_file where to write the counts; '
                       'give one of them')
    return Options(
        output_dir=self.output_dir.value,
        num_shards={
            'train': self.train_shards.value, 'val': self.val_shards.value,
            'test': self.test_shards.value},
        style=self._style(),
        max_pairs=self.max_pairs.value,
        min_word_count=self.min_word_count.value,
        max_words=self.max_words.value,
        word_counts_output_file=self.word_counts_output_file.value,
        vocab_file=self.vocab_file.value,
        layout=self.layout.value,
        max_side=self.max_side.value,
        jpeg_quality=self.jpeg_quality.value,
        max_bad_fraction=self.max_bad_fraction.value,
        overwrite=self.overwrite.value(),
        runner=self.runner.choose(
            functools.partial(local_runner, self.num_threads.value),
            self.output_dir.value))

  def _style(self) -> caption_styles.CaptionStyle:
    """Return how captions become words; as of the vocabulary if there is one.

    Raises:
      ValueError: the flags differ from the vocabulary's own style.
    """
    vocab_file = self.vocab_file.value
    markers = {flag.name: flag.value for flag in (
        self.start_word, self.end_word, self.unknown_word)}
    known = vocab_file and caption_styles.read(vocab_file)
    if not known:
      style = caption_styles.named(
          self.caption_style.value or 'nltk', **markers)
      # Whoever trains on the shards will have nothing but the vocabulary.
      if vocab_file and style != caption_styles.named('nltk'):
        raise ValueError(
            f'--vocab_file={vocab_file} has no '
            f'{caption_styles.path_of(vocab_file)} beside it, so its words are '
            "nltk's tokens with im2txt's markers. If they were counted as the "
            'flags say, write into that file: '
            f'{json.dumps(dataclasses.asdict(style), ensure_ascii=False)}')
      return style
    given = {'caption_style': self.caption_style.value, **markers}
    for name, value in given.items():
      theirs = known.name if name == 'caption_style' else getattr(known, name)
      if value not in (None, theirs):
        raise ValueError(f'--{name}={value}, but the captions of '
                         f'--vocab_file={vocab_file} were read with {theirs}')
    return known
