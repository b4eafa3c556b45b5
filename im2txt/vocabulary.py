"""The vocabulary at the path of earlier versions."""

from im2txt.text.vocabulary import Vocabulary

__all__ = ['Vocabulary']
