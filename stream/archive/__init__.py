"""The stream on disk: Parquet files by day of the events, and the spans that say what counts.

``spans`` is the format, ``files`` and ``table`` are where bytes go, ``view`` is what an
archive holds at one moment; ``writer``, ``reader`` and ``upkeep`` are what is done with it.
"""
