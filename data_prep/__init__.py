"""Raw images and captions in, word counts and TFRecord shards out."""
