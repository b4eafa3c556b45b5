"""Caption decoders; see `decoder.Decoder` for what each must do."""

from im2txt.decoders.decoder import Decoder
from im2txt.decoders.show_and_tell import ShowAndTell

# What `config.model.decoder` may name.
DECODERS: dict[str, type[Decoder]] = {
    'show_and_tell': ShowAndTell,
}

__all__ = ['DECODERS', 'Decoder']
