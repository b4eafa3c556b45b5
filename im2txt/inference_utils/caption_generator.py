"""The original im2txt's path of `im2txt.caption_generator`."""

from im2txt.caption_generator import Caption, CaptionGenerator, TopN

__all__ = ['Caption', 'CaptionGenerator', 'TopN']
