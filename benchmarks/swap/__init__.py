"""Models promoted, and broken ones offered, while events are published at a fixed rate."""
