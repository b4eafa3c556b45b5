"""Readers of captioned image data sets."""
