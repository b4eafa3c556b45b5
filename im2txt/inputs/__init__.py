"""From shards to padded batches."""
