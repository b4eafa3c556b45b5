r"""Name every bad record of shards, of images or of features.

  python -m im2txt.check_shards --config=configs/show_and_tell.py \
    --input_file_pattern='coco/*-of-?????'

reads all records as training with this configuration reads them and prints a
line for each that it cannot use: its shard, its number there, counted from 0,
and what is wrong with it. A damaged shard is made again if it is deleted and
its command run once more; `--bad_records=skip` of train.py, evaluate.py and
cache_features.py leaves bad records out. The exit status is 1 if there are any.
"""

import os

from absl import flags, logging

from im2txt import command_line, configuration, encoders
from im2txt.files import file_system
from im2txt.flags.config import ConfigFlag
from im2txt.inputs import bad_records
from im2txt.inputs import records as shard_records
from im2txt.text import vocabulary


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.config = ConfigFlag(values)
    self.input_file_pattern = flags.DEFINE_string(
        'input_file_pattern', None, 'Comma-separated patterns of shards.',
        required=True, flag_values=values)


def resolve_config(flags_: Flags) -> configuration.ModelConfig:
  """Return the configuration of the flags.

  A `vocab_size` of 0 is set to that of the vocabulary beside the shards, if
  there is one.
  """
  config = flags_.config.value()
  if config is None:
    raise ValueError('what shall read the shards? Give the --config of the '
                     'training')
  encoders.resolve_sides(config.model)
  configuration.check(config)
  model = config.model
  model.input_file_pattern = flags_.input_file_pattern.value
  words = os.path.join(
      os.path.dirname(shard_records.find_shards(model.input_file_pattern)[0]),
      vocabulary.FILE_NAME)
  if not model.vocab_size and file_system.exists(words):
    # The unknown word does not stand there.
    model.vocab_size = len(vocabulary.read_counts(words)) + 1
  return model


def main(flags_: Flags) -> int:
  """Print a line for each bad record; return 1 if there are any."""
  num_records = num_bad = 0
  for fault in bad_records.look_through(resolve_config(flags_)):
    num_records += 1
    if fault:
      num_bad += 1
      print(fault, flush=True)
  logging.info('%d records, %d of them bad', num_records, num_bad)
  return int(num_bad > 0)


if __name__ == '__main__':
  command_line.run(main, Flags)
