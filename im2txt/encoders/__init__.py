"""Image encoders; see `encoder.Encoder` for their interface."""

from im2txt import configuration
from im2txt.encoders.efficientnet_lite import (
    EfficientNetLite0,
    EfficientNetLite2,
)
from im2txt.encoders.encoder import Encoder
from im2txt.encoders.inception_v3 import InceptionV3
from im2txt.encoders.mobilenet_v3 import MobileNetV3Small
from im2txt.encoders.resnet_v1 import (
    ResNetV1Depth50,
    ResNetV1Depth101,
    ResNetV1Depth152,
)
from im2txt.inputs.batch import Encoding

# What `config.model.encoder` may name.
ENCODERS: dict[str, type[Encoder]] = {
    'inception_v3': InceptionV3,
    'efficientnet_lite0': EfficientNetLite0,
    'efficientnet_lite2': EfficientNetLite2,
    'resnet_v1_50': ResNetV1Depth50,
    'resnet_v1_101': ResNetV1Depth101,
    'resnet_v1_152': ResNetV1Depth152,
    'mobilenet_v3_small': MobileNetV3Small,
}


def make(config: configuration.ModelConfig) -> Encoder:
  """Construct the encoder that the configuration names.

  Raises:
    ValueError: there is none of this name.
  """
  return configuration.lookup(
      ENCODERS, 'encoder', config.encoder).from_config(config)


__all__ = ['ENCODERS', 'Encoder', 'Encoding', 'make']
