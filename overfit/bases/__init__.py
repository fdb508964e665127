"""Bases: what a decoder knows before it opens a file, in files known by their content's hash."""
