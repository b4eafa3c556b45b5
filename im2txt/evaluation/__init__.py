"""Perplexity and scores of a run's checkpoints."""
