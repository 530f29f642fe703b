"""Speed, freshness, memory and quality, measured: ``python -m benchmarks --help``."""

from stream.threads import one_thread_each

one_thread_each()  # as `rillet` itself does; before anything imports numpy
