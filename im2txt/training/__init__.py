"""Training: loop, optimizer, hooks, self-critical training."""
