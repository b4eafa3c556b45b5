"""Caption decoders, by name; `decoder.Decoder` is their interface."""

from im2txt.decoders.cnn_lstm import CnnLstm, CnnLstmConfig
from im2txt.decoders.decoder import Decoder
from im2txt.decoders.merge import Merge
from im2txt.decoders.show_and_tell import ShowAndTell
from im2txt.decoders.show_attend_tell import (
    ShowAttendTell,
    ShowAttendTellConfig,
)
from im2txt.decoders.transformer import Transformer, TransformerConfig

# By `config.model.decoder`.
DECODERS: dict[str, type[Decoder]] = {
    'show_and_tell': ShowAndTell,
    'merge': Merge,
    'cnn_lstm': CnnLstm,
    'show_attend_tell': ShowAttendTell,
    'transformer': Transformer,
}

__all__ = ['DECODERS', 'CnnLstmConfig', 'Decoder', 'ShowAttendTellConfig',
           'TransformerConfig']
