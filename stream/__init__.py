"""The pipe: events, transport, Redis keys, settings, checkpoints, the loop."""
