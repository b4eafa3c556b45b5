"""Flags of the model's sizes, for every benchmark of a model."""

from absl import flags

from im2txt import configuration

_ENCODER = flags.DEFINE_string(
    'encoder', 'inception_v3', 'A name of im2txt.encoders.ENCODERS.')
_IMAGE_SIZE = flags.DEFINE_integer(
    'image_size', 299, 'Pixels a side that the encoder sees.', lower_bound=32)
_VOCAB_SIZE = flags.DEFINE_integer(
    'vocab_size', 12000, 'V, outputs of the decoder.', lower_bound=4)
_NUM_UNITS = flags.DEFINE_integer(
    'num_units', 512, 'H, width of the embeddings and units of the LSTM.',
    lower_bound=1)


def model_config(**fields) -> configuration.ModelConfig:
  """im2txt's model in the sizes of the flags, with further fields."""
  return configuration.ModelConfig(
      encoder=_ENCODER.value, image_height=_IMAGE_SIZE.value,
      image_width=_IMAGE_SIZE.value, vocab_size=_VOCAB_SIZE.value,
      embedding_size=_NUM_UNITS.value, num_lstm_units=_NUM_UNITS.value,
      **fields)
