"""Encoder features computed once and cached in shards."""
