"""The original im2txt's functions, with its parameters, on those of today."""
