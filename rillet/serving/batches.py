"""What several threads gave, taken together."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import TypeVar

__all__ = ["batches"]

T = TypeVar("T")


def batches(given: queue.SimpleQueue[T | None], most: int) -> Iterator[list[T]]:
    """Yield what waits together, ``most`` at a time; wait where nothing does, and end at None.

    Examples
    --------
    >>> given = queue.SimpleQueue()
    >>> for one in (1, 2, 3, None):
    ...     given.put(one)
    >>> list(batches(given, 2))
    [[1, 2], [3]]
    """
    while (one := given.get()) is not None:
        batch = [one]
        while len(batch) < most:
            try:
                one = given.get_nowait()
            except queue.Empty:
                break
            if one is None:
                given.put(None)  # the end comes after this batch
                break
            batch.append(one)
        yield batch
