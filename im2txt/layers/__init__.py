"""Layers that make variables."""
