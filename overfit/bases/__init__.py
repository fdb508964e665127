"""Bases: what a decoder knows before it opens a file, as files named by the hash of their content."""
