"""Sorting more records by time than fit into memory; records of one time keep their order."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from stream.errors import LogError

__all__ = ["TimeSorter"]

RUN_BYTES: Final = 64 << 20
"""So much is sorted in memory at a time."""


class TimeSorter:
    """Takes records in any order and gives them back by time; stable.

    Parameters
    ----------
    run_bytes
        How many bytes of records are kept in memory before they go to a temporary file.

    Examples
    --------
    >>> with TimeSorter(run_bytes=4) as sorter:
    ...     for time, record in ((3, b"late"), (1, b"a"), (1, b"b")):
    ...         sorter.add(time, record)
    ...     [record for _, record in sorter.sorted()]
    [b'a', b'b', b'late']
    """

    def __init__(self, run_bytes: int = RUN_BYTES) -> None:
        self._limit = run_bytes
        self._held: list[tuple[int, bytes]] = []
        self._bytes = 0
        self._runs: list[Path] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, time_ms: int, record: bytes) -> None:
        """Take a record, which may hold no line end."""
        self._held.append((time_ms, record))
        self._bytes += len(record) + 100  # what Python's objects cost beside the bytes
        if self._bytes > self._limit:
            self._spill()

    def sorted(self) -> Iterator[tuple[int, bytes]]:
        """Yield time and record, by time, then in the order in which they were added."""
        self._sort()
        if not self._runs:
            return iter(self._held)
        # merge prefers the earlier iterable among equals, and runs were cut in order
        runs = [*(_read_run(run) for run in self._runs), iter(self._held)]
        return heapq.merge(*runs, key=lambda pair: pair[0])

    def _sort(self) -> None:
        self._held.sort(key=lambda pair: pair[0])

    def _spill(self) -> None:
        self._sort()
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="rillet-sort-")
        run = Path(self._folder.name, f"{len(self._runs)}.run")
        try:
            with open(run, "wb") as out:
                out.writelines(b"%d %b\n" % pair for pair in self._held)
        except OSError as error:
            mend = "point TMPDIR to a disk with room for the whole log"
            raise LogError(f"sorting needs temporary room: {error.strerror}", mend) from error
        self._runs.append(run)
        self._held, self._bytes = [], 0


def _read_run(path: Path) -> Iterator[tuple[int, bytes]]:
    with open(path, "rb") as run:
        for line in run:
            time, _, record = line.partition(b" ")
            yield int(time), record[:-1]
