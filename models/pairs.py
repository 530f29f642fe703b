"""(question, item) pairs, and where in a list of them a pair stands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pairs", "Slots", "union"]

I32 = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Pairs:
    """M (question, item) pairs, ordered by question."""

    row: I32
    item: I32

    def __len__(self) -> int:
        """Return M."""
        return len(self.row)


def union(proposed: I32, n_items: int, rows: I32 | None = None) -> Pairs:
    """Return what is proposed to each question, once, by item row.

    Parameters
    ----------
    proposed
        (B, n) item rows, -1 for none.
    n_items
        N.
    rows
        (B,) number of each question, ascending; None for 0, 1, ...
    """
    number = np.arange(len(proposed)) if rows is None else rows.astype(np.int64)
    keys = proposed + (number * n_items)[:, None]
    keys = np.unique(keys[proposed >= 0])
    row, item = np.divmod(keys, n_items)
    return Pairs(row.astype(np.int32), item.astype(np.int32))


class Slots:
    """Finds pairs among M pairs, each of which is there once, without sorting.

    The items among the pairs get a column each, so that a table of questions by
    columns is small however large the catalogue is.

    Parameters
    ----------
    pairs
        The M pairs.
    n_rows, n_items
        B and N.

    Examples
    --------
    >>> pairs = Pairs(np.array([0, 0, 1], np.int32), np.array([4, 7, 4], np.int32))
    >>> slots = Slots(pairs, n_rows=2, n_items=9)
    >>> slots.find(np.array([1, 0, 1]), np.array([4, 7, 7])).tolist()
    [2, 1, -1]
    """

    def __init__(self, pairs: Pairs, n_rows: int, n_items: int) -> None:
        self.pairs = pairs
        number = np.arange(len(pairs), dtype=np.int32)
        self._column = np.full(n_items, -1, dtype=np.int32)
        self._column[pairs.item] = number
        first = self._column[pairs.item] == number
        column = np.cumsum(first, dtype=np.int32) - np.int32(1)
        self._column[pairs.item[first]] = column[first]
        self._width = int(column[-1]) + 1 if len(pairs) else 0
        self._slot = np.full(n_rows * self._width, -1, dtype=np.int32)
        self._slot[self._cell(pairs.row, self._column[pairs.item])] = number

    def __len__(self) -> int:
        """Return M."""
        return len(self.pairs)

    def _cell(self, row: NDArray[np.integer], column: I32) -> NDArray[np.int64]:
        return row.astype(np.int64) * self._width + column

    def find(self, row: NDArray[np.integer], item: NDArray[np.integer]) -> I32:
        """Return where each of n pairs stands among the M, -1 where it is not there: (n,)."""
        column = self._column[item]
        there = column >= 0
        found = np.full(len(column), -1, dtype=np.int32)
        found[there] = self._slot[self._cell(row[there], column[there])]
        return found
