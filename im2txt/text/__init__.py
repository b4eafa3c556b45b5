"""Vocabularies, caption styles and caption files."""
