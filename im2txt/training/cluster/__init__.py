"""Training on several machines or devices."""
