"""Fetching images and preparing them for shards."""
