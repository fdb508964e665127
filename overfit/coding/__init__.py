"""All that touches bits. NumPy only, and exact: the same symbols on every machine."""
