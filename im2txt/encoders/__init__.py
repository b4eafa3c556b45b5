"""Image encoders; see `encoder.Encoder` for what each must do."""

from im2txt import configuration
from im2txt.encoders.efficientnet_lite import EfficientNetLite0
from im2txt.encoders.encoder import Encoder, Encoding
from im2txt.encoders.inception_v3 import InceptionV3

# What `config.model.encoder` may name.
ENCODERS: dict[str, type[Encoder]] = {
    'inception_v3': InceptionV3,
    'efficientnet_lite0': EfficientNetLite0,
}


def make(config: configuration.ModelConfig) -> Encoder:
  """Constructs the encoder that the configuration names.

  Raises:
    ValueError: there is none of this name.
  """
  return configuration.choose(
      ENCODERS, 'encoder', config.encoder).from_config(config)


__all__ = ['ENCODERS', 'Encoder', 'Encoding', 'make']
