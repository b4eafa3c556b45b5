"""Files on this machine and elsewhere, written whole or not at all."""
