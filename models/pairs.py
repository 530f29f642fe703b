"""(question, item) pairs, and where in a list of them a pair stands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pairs", "Slots", "union"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Pairs:
    """M (question, item) pairs, ordered by question."""

    row: I32
    item: I32

    def __len__(self) -> int:
        """Return M."""
        return len(self.row)


def union(proposed: I32, rows: I32 | None = None) -> Pairs:
    """Return what is proposed to each question, once, by item row.

    Parameters
    ----------
    proposed
        (B, n) item rows, -1 for none.
    rows
        (B,) number of each question, ascending; None for 0, 1, ...
    """
    ordered = np.sort(proposed, axis=1)
    once = ordered >= 0
    once[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    row, place = np.nonzero(once)
    asked = row if rows is None else rows[row]
    return Pairs(asked.astype(np.int32), ordered[row, place])


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
        self._column = np.zeros(n_items + 1, dtype=np.int32)
        self._column[pairs.item] = number
        first = self._column[pairs.item] == number
        width = int(first.sum())
        # the first column is that of all who have none, also of -1: nobody stands there; what
        # was never written of so many zeros takes no time
        self._column[pairs.item[first]] = np.arange(1, width + 1, dtype=np.int32)
        self._width = width + 1
        self._slot = np.full(n_rows * self._width, -1, dtype=np.int32)
        self._slot[self._cell(pairs.row, pairs.item)] = number

    def __len__(self) -> int:
        """Return M."""
        return len(self.pairs)

    def _cell(self, row: NDArray[np.integer], item: NDArray[np.integer]) -> I32:
        return np.asarray(row.astype(np.int32) * np.int32(self._width) + self._column[item])

    def find(self, row: NDArray[np.integer], item: NDArray[np.integer]) -> I32:
        """Return where pairs stand among the M, -1 where they do not; an item -1 never does.

        Both are of one shape, or broadcast to one.
        """
        return np.asarray(self._slot[self._cell(row, item)])

    def put(self, row: NDArray[np.integer], item: NDArray[np.integer], value: F32) -> F32:
        """Return the values of (row, item) entries that are among the M pairs, else 0: (M,)."""
        found = np.zeros(len(self) + 1, dtype=np.float32)
        found[self.find(row, item)] = value  # what is not among them falls into the last one
        return found[:-1]
