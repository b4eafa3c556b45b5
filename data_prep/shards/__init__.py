"""Building shards and vocabularies."""
