"""The original im2txt's path of `im2txt.text.vocabulary`."""

from im2txt.text.vocabulary import Vocabulary

__all__ = ['Vocabulary']
