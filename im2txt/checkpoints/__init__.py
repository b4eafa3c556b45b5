"""Checkpoints: names, reading, restoring, packed and trained models."""
