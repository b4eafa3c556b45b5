"""Trained models at the path of earlier versions."""

from im2txt.checkpoints.trained_model import (
    PRETRAINED,
    TrainedModel,
    find,
    load_vocabulary,
)

__all__ = ['PRETRAINED', 'TrainedModel', 'find', 'load_vocabulary']
