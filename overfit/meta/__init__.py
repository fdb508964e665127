"""Learning what instances start from: bases."""
