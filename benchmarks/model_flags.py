"""Flags of the model's sizes, for benchmarks of a model."""

from absl import flags

from im2txt import configuration

# The flags are the command's that constructs them, and in its --help.
flags.disclaim_key_flags()


class ModelFlags:
  """Flags of the model's sizes."""

  def __init__(
      self, values: flags.FlagValues = flags.FLAGS,
      encoder: str = 'inception_v3', image_size: int = 299,
  ):
    """Define the flags.

    Args:
      values: where to define them.
      encoder: default of --encoder.
      image_size: default of --image_size.
    """
    self.encoder = flags.DEFINE_string(
        'encoder', encoder, 'A name of im2txt.encoders.ENCODERS.',
        flag_values=values)
    self.image_size = flags.DEFINE_integer(
        'image_size', image_size, 'Pixels a side that the encoder sees.',
        lower_bound=32, flag_values=values)
    self.vocab_size = flags.DEFINE_integer(
        'vocab_size', 12000, 'V, outputs of the decoder.', lower_bound=4,
        flag_values=values)
    self.num_units = flags.DEFINE_integer(
        'num_units', 512, 'H, width of the embeddings and units of the LSTM.',
        lower_bound=1, flag_values=values)

  def config(self, **fields) -> configuration.ModelConfig:
    """Return im2txt's model in these sizes, with further fields."""
    size, units = self.image_size.value, self.num_units.value
    return configuration.ModelConfig(
        encoder=self.encoder.value, image_height=size, image_width=size,
        vocab_size=self.vocab_size.value, embedding_size=units,
        num_lstm_units=units, **fields)


class TrainingFlags:
  """Flags of benchmarks that train."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.model = ModelFlags(values)
    self.batch_size = flags.DEFINE_integer(
        'batch_size', 32, 'B, images a step.', lower_bound=1,
        flag_values=values)
    self.num_images = flags.DEFINE_integer(
        'num_pictures', 64, 'Images that are drawn, and shown over and over '
        'under other ids.', lower_bound=1, flag_values=values)
    self.num_records = flags.DEFINE_integer(
        'num_records', 4000, 'Images that the feature shards have.',
        lower_bound=1, flag_values=values)
    self.rounds = flags.DEFINE_integer(
        'rounds', 3, 'Times that each thing is timed.', lower_bound=1,
        flag_values=values)

  def config(self) -> configuration.ModelConfig:
    """Return the model to be trained."""
    return self.model.config(
        batch_size=self.batch_size.value, values_per_input_shard=100)
