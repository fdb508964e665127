"""From checked jobs to files: groups of fits, the search for lambda, progress and checkpoints."""
