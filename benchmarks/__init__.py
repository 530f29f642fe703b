"""Speed, freshness, memory and quality, measured: ``python -m benchmarks --help``."""
