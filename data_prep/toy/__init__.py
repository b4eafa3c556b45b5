"""Drawn scenes with captions, for demos and tests."""
