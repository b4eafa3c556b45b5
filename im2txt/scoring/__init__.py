"""Caption metrics, without TensorFlow."""
