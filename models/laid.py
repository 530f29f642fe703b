"""Shown lists end to end: what is alike for all of them is then reckoned for all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.shown import ShownBefore

__all__ = ["Laid", "lay", "means"]

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Laid:
    """L lists, each followed by what its user was shown before it; M items in all.

    Attributes
    ----------
    shown
        The rows of each list, and what was shown before it.
    rows
        (U,) rows of the different items, rising.
    places
        (M,) which of these each item is.
    ends
        (L,) where what belongs to each list ends.
    counts
        (L,) how many items the list itself has.
    now
        (M,) whether it stands in the list itself.
    positions
        (M,) place in its list as shown, from 0.
    taken
        (M,) whether it was taken; of the lists themselves False.
    number
        (M,) number of its list, from 0 without gaps: each list's own and those before it.
    """

    shown: Sequence[tuple[I32, ShownBefore]]
    rows: I32
    places: I64
    ends: I64
    counts: I64
    now: NDArray[np.bool_]
    positions: I64
    taken: NDArray[np.bool_]
    number: I64

    def __len__(self) -> int:
        """Return the number of lists."""
        return len(self.ends)

    @property
    def begins(self) -> I64:
        """(L,) where what belongs to each list begins."""
        return np.concatenate([[0], self.ends[:-1]])


def lay(shown: Sequence[tuple[I32, ShownBefore]], *, placed: bool = True) -> Laid:
    """Lay lists end to end.

    Parameters
    ----------
    shown
        At least one list: the rows of its items, at least one, and what was shown before it.
    placed
        Whether the order of the items says where they stand; else all stand in the first place.
    """
    sizes = np.array([(len(rows), len(before)) for rows, before in shown])
    parts = [part for rows, before in shown for part in (rows, before.rows)]
    rows, places = np.unique(np.concatenate(parts), return_inverse=True)
    totals = sizes.sum(axis=1)
    ends = np.cumsum(totals)
    now = np.repeat(np.tile([True, False], len(shown)), sizes.ravel())
    positions = np.arange(len(now)) - np.repeat(ends - totals, totals)
    if not placed:
        positions[now] = 0
    positions[~now] = np.concatenate([before.positions for _, before in shown])
    taken = np.zeros(len(now), dtype=np.bool_)
    taken[~now] = np.concatenate([before.taken for _, before in shown])
    lists = [1 + int(before.lists.max(initial=-1)) for _, before in shown]
    own = np.cumsum([0, *(1 + count for count in lists[:-1])])
    number = np.repeat(own, totals)
    number[~now] += 1 + np.concatenate([before.lists for _, before in shown])
    return Laid(
        shown, rows.astype(np.int32), places, ends, sizes[:, 0], now, positions, taken, number
    )


def means(x: NDArray[np.floating], counts: I64) -> NDArray[np.floating]:
    """Return the means of rows that stand together: (L, F) of (N, F), given (L,) counts."""
    begins = np.cumsum(counts) - counts
    total: NDArray[np.floating] = np.add.reduceat(x, begins) / counts[:, None].astype(x.dtype)
    return total
