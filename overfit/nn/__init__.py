"""Array functions without state, on one instance (no batch axis)."""
