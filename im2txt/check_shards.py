r"""Name every bad record of shards, of images or of features.

  python -m im2txt.check_shards --config=configs/show_and_tell.py \
    --input_file_pattern='coco/*-of-?????'

reads all records as training with this configuration reads them and prints a
line for each that it cannot use: its shard, its number there, counted from 0,
and what is wrong with it. A damaged shard is made again if it is deleted and
its command run once more; `--bad_records=skip` of train.py, evaluate.py and
cache_features.py leaves bad records out. The exit status is 1 if there are any.
"""

from absl import flags, logging

from im2txt import command_line, configuration, encoders
from im2txt.flags.config import ConfigFlag
from im2txt.inputs import bad_records
from im2txt.inputs.shards import Shards
from im2txt.text import caption_styles, vocabulary


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.config = ConfigFlag(values)
    self.input_file_pattern = flags.DEFINE_string(
        'input_file_pattern', None, 'Comma-separated patterns of shards.',
        required=True, flag_values=values)


def resolve_config(
    flags_: Flags, shards: Shards
) -> configuration.ModelConfig:
  """Return the final configuration of the flags.

  A `vocab_size` of 0 becomes that of the vocabulary beside the shards, if
  there is one.

  Args:
    flags_: of this command.
    shards: what is to be checked.

  Raises:
    ValueError: there is no configuration, or it has a mistake.
  """
  config = flags_.config.value()
  if config is None:
    raise ValueError('what shall read the shards? Give the --config of the '
                     'training')
  vocab_size = 0
  if shards.vocab_file and not config.model.vocab_size:
    # The file does not have the unknown word.
    vocab_size = len(vocabulary.read_counts(shards.vocab_file)) + 1
  return configuration.resolve(
      config, encoders.make(config.model).image_side,
      vocab_size=vocab_size).model


def find_vocabulary(
    config: configuration.ModelConfig, shards: Shards
) -> vocabulary.Vocabulary | None:
  """Read the vocabulary beside the shards, if there is one."""
  if shards.vocab_file is None:
    return None
  style = caption_styles.read(shards.vocab_file) or config
  return vocabulary.Vocabulary(
      shards.vocab_file, style.start_word, style.end_word, style.unknown_word)


def main(flags_: Flags) -> int:
  """Print a line for each bad record; return 1 if there are any."""
  shards = Shards.find(flags_.input_file_pattern.value)
  config = resolve_config(flags_, shards)
  num_records = num_bad = 0
  for fault in bad_records.look_through(
      shards, config, find_vocabulary(config, shards)):
    num_records += 1
    if fault:
      num_bad += 1
      print(fault, flush=True)
  logging.info('%d records, %d of them bad', num_records, num_bad)
  return int(num_bad > 0)


if __name__ == '__main__':
  command_line.run(main, Flags)
