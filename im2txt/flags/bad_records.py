"""The flag --bad_records, for command lines that read shards."""

from absl import flags

from im2txt import configuration
from im2txt.inputs import tfrecords

_BAD_RECORDS = flags.DEFINE_enum(
    'bad_records', None, [tfrecords.STOP, tfrecords.SKIP], 'What is done '
    'about a record that is damaged, lacks its image or captions, has words '
    'that the model does not know, ...: stop and name it, or leave it out, for '
    'which all shards are looked through first. Default: as the configuration '
    'says, which is stop unless it was changed.')


def apply(config: configuration.ModelConfig) -> None:
  """Puts the flag's value, if it was given, into the configuration."""
  if _BAD_RECORDS.value:
    config.bad_records = _BAD_RECORDS.value
