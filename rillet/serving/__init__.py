"""The HTTP service: what `rillet serve` runs."""
