"""Words, captions and what people write."""
