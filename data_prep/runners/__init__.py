"""Where a build runs: local processes or Beam."""
