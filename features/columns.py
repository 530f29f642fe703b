"""Arrays that grow at the end, and sparse rows: what the catalogue is made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Column", "Names", "Rows"]

T = TypeVar("T", bound=np.generic)

FIRST: Final = 1024
"""Rows of a column's first allocation."""


class Column(Generic[T]):
    """A column of fixed-width rows with amortised growth at the end.

    Parameters
    ----------
    dtype
        Type of the values.
    fill
        Value of rows that were never written.
    width
        None for a column of scalars ``(n,)``, else rows of shape ``(n, width)``.

    Notes
    -----
    ``rows`` is a view: take it anew after any growth, never keep it over one.

    Examples
    --------
    >>> price = Column(np.float32, fill=0)
    >>> price.grow(3)
    >>> price.rows[1] = 2.5
    >>> price.rows.tolist()
    [0.0, 2.5, 0.0]
    """

    def __init__(self, dtype: type[T], *, fill: float, width: int | None = None) -> None:
        self._fill, self._size = fill, 0
        self._data: NDArray[T] = np.zeros((0,) if width is None else (0, width), dtype)

    @property
    def rows(self) -> NDArray[T]:
        """The rows in use, a view of shape ``(n,)`` or ``(n, width)``."""
        return self._data[: self._size]

    def grow(self, size: int) -> None:
        """Make it ``size`` rows long at least; new rows hold the fill value."""
        if size > len(self._data):
            capacity = max(size, FIRST, len(self._data) * 3 // 2)
            # zeros that were never written take no memory: what is to come, and rows unused
            data = np.zeros((capacity, *self._data.shape[1:]), self._data.dtype)
            if self._fill != 0:
                data.fill(self._fill)
            data[: self._size] = self.rows
            self._data = data
        self._size = max(self._size, size)


class Names:
    """Small whole numbers for names, in the order in which the names first came.

    Examples
    --------
    >>> names = Names()
    >>> names.number("comedy"), names.number("drama"), names.number("comedy")
    (0, 1, 0)
    >>> names.names
    ['comedy', 'drama']
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.index: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.names)

    def number(self, name: str) -> int:
        """Return the name's number, giving it the next one where it is new."""
        number = self.index.setdefault(name, len(self.names))
        if number == len(self.names):
            self.names.append(name)
        return number


class Rows:
    """Rows of whole numbers of any length, each replaceable at the cost of its length.

    A replaced row is written anew at the end of one pool; when more than half
    of the pool is left-overs it is written compactly.

    Examples
    --------
    >>> rows = Rows()
    >>> rows.put([[4, 5], [6]], np.array([0, 2]))
    >>> rows.gather(np.array([2, 0, 1]))
    (array([0, 1, 1]), array([6, 4, 5], dtype=int32))
    """

    def __init__(self) -> None:
        self._start = Column(np.int64, fill=0)
        self._count = Column(np.int32, fill=0)
        self._pool = Column(np.int32, fill=0)
        self._used = 0

    @property
    def counts(self) -> NDArray[np.int32]:
        """How many numbers each row has, ``(n,)``."""
        return self._count.rows

    def grow(self, size: int) -> None:
        """Make it ``size`` rows long at least; new rows are empty."""
        self._start.grow(size)
        self._count.grow(size)

    def put(self, values: Sequence[Sequence[int]], rows: NDArray[np.integer]) -> None:
        """Replace distinct rows."""
        self.grow(int(rows.max(initial=-1)) + 1)
        counts = np.fromiter(map(len, values), np.int32, len(values))
        self._used += int(counts.sum()) - int(self._count.rows[rows].sum())
        end = len(self._pool.rows)
        starts = end + np.cumsum(counts, dtype=np.int64) - counts
        self._start.rows[rows], self._count.rows[rows] = starts, counts
        self._pool.grow(end + int(counts.sum()))
        self._pool.rows[end:] = list(chain.from_iterable(values))
        if len(self._pool.rows) > 2 * self._used + FIRST:
            self._compact()

    def gather(self, rows: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return several rows at once, flat.

        Parameters
        ----------
        rows
            Row numbers ``(m,)``.

        Returns
        -------
        positions, values
            Both ``(total,)``: ``values[k]`` stands in the row ``rows[positions[k]]``.
        """
        counts = self._count.rows[rows].astype(np.int64)
        positions = np.repeat(np.arange(len(rows), dtype=np.int64), counts)
        within = np.arange(len(positions), dtype=np.int64)
        within -= np.repeat(np.cumsum(counts) - counts, counts)
        return positions, self._pool.rows[self._start.rows[rows][positions] + within]

    def _compact(self) -> None:
        every = np.arange(len(self._count.rows))
        _, values = self.gather(every)
        counts = self._count.rows.astype(np.int64)
        self._start.rows[:] = np.cumsum(counts) - counts
        self._pool = Column(np.int32, fill=0)
        self._pool.grow(len(values))
        self._pool.rows[:] = values
