"""Settings chosen per signal: a space of them, and strategies that find the best in it."""
