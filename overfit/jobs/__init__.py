"""Runs of fits: their checkpoints and their continuation."""
