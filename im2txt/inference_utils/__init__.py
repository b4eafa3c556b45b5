"""The original im2txt's paths of the search and the vocabulary."""
