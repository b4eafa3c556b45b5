"""Search for captions inside the graph."""
