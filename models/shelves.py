"""Scores that are an item's own number times one of its shelf: all of a shelf rank alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from models.pairs import Slots
from models.scores import Blocked, Sparse
from models.topk import top_k

__all__ = ["Shelved", "Shelves"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

SPARE: Final = 50
"""Items of a shelf that are looked at beyond the k best, for those that are blocked."""

NEARLY: Final = 1 - 1e-5
"""Of a floor: what rounding may take from an item that is on it."""


@dataclass(frozen=True, slots=True)
class Shelves:
    """Items by shelf, the strongest first.

    Attributes
    ----------
    strength, shelf
        (N,) each item's own number, and its shelf.
    order
        (A,) the items that may be listed, by shelf, the strongest first.
    start
        (G + 1,) where each shelf begins there, and the last one's end.
    most, sum
        (G,) largest strength of those, and the sum of all on the shelf.
    key
        (A,) rises along ``order``: the shelf, less a part below 1 that is the strength's.
    """

    strength: F32
    shelf: I32
    order: I32
    start: I64
    most: F32
    sum: F32
    key: NDArray[np.float64]

    @classmethod
    def of(cls, strength: F32, shelf: I32, n_shelves: int, items: I32) -> Self:
        """Put N items on G shelves, and list some of them there: those of any strength."""
        listed = np.sort(items[strength[items] > 0])
        # a stable sort: of equally strong items the first in the catalogue leads
        listed = listed[np.argsort(-strength[listed], kind="stable")]
        order = listed[np.argsort(shelf[listed], kind="stable")]
        start = np.searchsorted(shelf[order], np.arange(n_shelves + 1))
        most = np.zeros(n_shelves, dtype=np.float32)
        filled = start[1:] > start[:-1]
        most[filled] = strength[order[start[:-1][filled]]]
        strong = np.flatnonzero(strength > 0)  # of truths, not of numbers: ten times as fast
        total = np.bincount(shelf[strong], strength[strong], n_shelves).astype(np.float32)
        key = shelf[order] - strength[order] / _above(most)
        return cls(strength, shelf, order, start, most, total, key)

    def until(self, shelf: I32, least: F32) -> I64:
        """Return where in ``order`` the items of n shelves fall below n strengths: (n,)."""
        share = np.minimum(least.astype(np.float64) / _above(self.most), 0.75)
        return np.searchsorted(self.key, shelf - share, side="right")


def _above(most: F32) -> np.float64:
    """Return what all strengths are less than half of."""
    return 2.0 * np.float64(most.max(initial=0)) + 1e-9


@dataclass(frozen=True, slots=True)
class Shelved:
    """A score for each shelf and question, times the strength of the shelf's items.

    Attributes
    ----------
    reach
        (B, G) scores of the shelves.
    shelves
        The items.
    """

    reach: F32
    shelves: Shelves

    def mean(self) -> F32:
        """Return the mean over all items: (B,)."""
        return np.asarray(self.reach @ self.shelves.sum / len(self.shelves.strength))

    def top(self, blocked: Blocked, k: int) -> I32:
        """Return the k best of each question: (B, k).

        The k-th best of the shelves' first items is a floor: only what reaches it is looked at.
        """
        shelves, n_rows = self.shelves, len(self.reach)
        # beyond k come as many as are blocked, should all of those be first on their shelves
        depth = k + min(int(np.bincount(blocked.row, minlength=1).max()), SPARE)
        leading = self.reach * shelves.most
        first = top_k(leading, depth)
        row, rank = np.nonzero(first >= 0)
        shelf = first[row, rank]
        full = first[:, -1] >= 0
        floor = np.where(full, np.take_along_axis(leading, first[:, -1:], axis=1)[:, 0], 0)
        begin = shelves.start[shelf]
        least = np.float32(NEARLY) * floor[row] / self.reach[row, shelf]
        count = np.minimum(shelves.until(shelf, least), shelves.start[shelf + 1]) - begin
        count = np.minimum(count, depth)
        entry = np.repeat(np.arange(len(row)), count)
        within = np.arange(len(entry)) - np.repeat(np.cumsum(count) - count, count)
        item = shelves.order[begin[entry] + within]
        value = self.reach[row[entry], shelf[entry]] * shelves.strength[item]
        start = np.searchsorted(row[entry], np.arange(n_rows + 1))
        return Sparse(len(shelves.strength), start, item, value).top(blocked, k)

    def at(self, slots: Slots) -> F32:
        """Return the scores of M pairs: (M,)."""
        pairs, shelves = slots.pairs, self.shelves
        return self.reach[pairs.row, shelves.shelf[pairs.item]] * shelves.strength[pairs.item]

    def table(self) -> F32:
        """Return all of them: (B, N)."""
        return self.reach[:, self.shelves.shelf] * self.shelves.strength
