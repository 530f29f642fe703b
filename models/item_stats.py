"""Items' statistics in one process: popularity by half-life, counts, and what follows what.

A structure of arrays along the catalogue's rows, fed by the public records
that `neighbours` writes (:class:`models.item_state.ItemView`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from features.columns import Column
from features.contexts import ItemIndex
from models.item_state import HALF_LIVES_MS, ItemView

__all__ = ["ItemStats"]

F32 = NDArray[np.float32]
LIVES = np.array(list(HALF_LIVES_MS.values()), dtype=np.float64)


class ItemStats:
    """Statistics of N items.

    Parameters
    ----------
    index
        Gives ids their rows (the catalogue).
    served
        Successors of an item that are kept.

    Notes
    -----
    Views are applied whole: the last one of an item counts.
    """

    def __init__(self, index: ItemIndex, served: int) -> None:
        self._index = index
        self._time = Column(np.int64, fill=0)
        self._popularity = Column(np.float64, fill=0, width=len(LIVES))
        self._counts = Column(np.float32, fill=0, width=3)
        self._next = Column(np.int32, fill=-1, width=served)
        self._weight = Column(np.float32, fill=0, width=served)
        self.totals = np.zeros(3)
        self._version = 0
        self._decayed_at = (-1, -1, -1)
        self._decayed: NDArray[np.float64] = np.zeros((len(LIVES), 0))

    def apply(self, views: Sequence[ItemView]) -> None:
        """Take over items' public records."""
        self._version += 1
        for item in views:
            row = self._index.ensure(item.item)
            self._grow()
            self._time.rows[row] = item.time
            self._popularity.rows[row] = [item.popularity[name] for name in HALF_LIVES_MS]
            counts = np.array([item.shown, item.clicked, item.taken], dtype=np.float32)
            self.totals += counts - self._counts.rows[row]
            self._counts.rows[row] = counts
            self._put_next(row, item)

    def _put_next(self, row: int, item: ItemView) -> None:
        following = item.next[: self._next.rows.shape[1]]
        rows = [self._index.ensure(name) for name, _ in following]
        self._grow()
        self._next.rows[row] = -1
        self._weight.rows[row] = 0
        self._next.rows[row, : len(rows)] = rows
        self._weight.rows[row, : len(rows)] = [weight for _, weight in following]

    def _grow(self) -> None:
        size = len(self._index)
        self._time.grow(size)
        self._popularity.grow(size)
        self._counts.grow(size)
        self._next.grow(size)
        self._weight.grow(size)

    def popularity(self, now_ms: int) -> NDArray[np.float64]:
        """Return positives decayed to ``now_ms``: (half-lives, N), hour, day, week, month."""
        self._grow()
        at = (now_ms, len(self._index), self._version)
        if self._decayed_at != at:  # several sources ask for the same moment
            age = np.maximum(now_ms - self._time.rows, 0)
            self._decayed = (self._popularity.rows * np.exp2(-age[:, None] / LIVES)).T
            self._decayed_at = at
        return self._decayed

    @property
    def time(self) -> NDArray[np.int64]:
        """(N,) newest event of each item, epoch milliseconds: what weights are relative to."""
        self._grow()
        return self._time.rows

    @property
    def shown(self) -> F32:
        """(N,) times in a shown list."""
        self._grow()
        return self._counts.rows[:, 0]

    @property
    def clicked(self) -> F32:
        """(N,) positives on a shown list."""
        self._grow()
        return self._counts.rows[:, 1]

    @property
    def taken(self) -> F32:
        """(N,) positives in all."""
        self._grow()
        return self._counts.rows[:, 2]

    def successors(self, items: NDArray[np.int32]) -> tuple[NDArray[np.int32], F32]:
        """Return the successors of items: rows (..., served), -1 where none, and weights."""
        self._grow()
        safe = np.maximum(items, 0)
        rows, weight = self._next.rows[safe], self._weight.rows[safe]
        gone = items < 0
        rows[gone] = -1
        weight[gone] = 0
        return rows, weight
