"""Captions on their way into files, pages and sheets."""
