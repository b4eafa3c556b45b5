"""Beam search, greedy decoding and sampling inside the graph."""
