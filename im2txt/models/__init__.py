"""The graph of an encoder and a decoder, and its losses."""
