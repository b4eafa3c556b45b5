"""The flag --overwrite, for commands that write files."""

from absl import flags

# The flags are the command's that constructs them, and in its --help.
flags.disclaim_key_flags()


class OverwriteFlag:
  """The flag --overwrite."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.overwrite = flags.DEFINE_bool(
        'overwrite', False, 'Replace files of the outputs\' names that are no '
        'earlier results of this command. Files that are read are never '
        'replaced.', flag_values=values)

  def value(self) -> bool:
    """Return whether it is given."""
    return bool(self.overwrite.value)
