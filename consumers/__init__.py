"""One process a file; wiring only."""
