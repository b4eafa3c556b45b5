"""Image encoders; see `encoder.Encoder` for what each must do."""

from im2txt.encoders.efficientnet_lite import EfficientNetLite0
from im2txt.encoders.encoder import Encoder, Encoding
from im2txt.encoders.inception_v3 import InceptionV3

# What `config.model.encoder` may name.
ENCODERS: dict[str, type[Encoder]] = {
    'inception_v3': InceptionV3,
    'efficientnet_lite0': EfficientNetLite0,
}

__all__ = ['ENCODERS', 'Encoder', 'Encoding']
