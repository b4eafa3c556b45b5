"""Captioning image files with one model or several."""
