"""The flag --bad_records, for commands that read shards."""

from absl import flags

from im2txt.inputs import tfrecords

# The flags are the command's that constructs them, and in its --help.
flags.disclaim_key_flags()


class BadRecordsFlag:
  """The flag --bad_records."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.bad_records = flags.DEFINE_enum(
        'bad_records', None, [tfrecords.STOP, tfrecords.SKIP], 'What is done '
        'about a record that is damaged, lacks its image or captions, has '
        'words that the model does not know, ...: stop and name it, or leave '
        'it out, for which all shards are looked through first. Default: as '
        'the configuration says, which is stop unless it was changed.',
        flag_values=values)

  def value(self) -> str | None:
    """Return the flag's value; None: as the configuration says."""
    return self.bad_records.value
