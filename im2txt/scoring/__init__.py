"""Scores of captions; no TensorFlow."""
