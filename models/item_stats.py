"""Items' statistics in one process: popularity by half-life, counts, and what follows what.

A structure of arrays along the catalogue's rows, fed by the public records
that `neighbours` writes (:class:`models.item_state.ItemView`).
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.columns import Column
from features.contexts import ItemIndex
from models.item_state import HALF_LIVES_MS, ItemView

__all__ = ["ItemStats"]

F32 = NDArray[np.float32]
LIVES = np.array(list(HALF_LIVES_MS.values()), dtype=np.float64)
_POPULARITY: Final = itemgetter(*HALF_LIVES_MS)


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
    Views are applied whole: the last one of an item counts. Rows are given in the order in which
    the views name items, each before what follows it.
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
        if not views:
            return
        views = list({view.item: view for view in views}.values())
        width = self._next.rows.shape[1]
        following = [view.next[:width] for view in views]
        names = []
        for view, pairs in zip(views, following, strict=True):
            names.append(view.item)
            names += [name for name, _ in pairs]
        found = self._index.rows_of(names)
        self._grow()
        lengths = np.array([len(pairs) for pairs in following])
        starts = np.cumsum(lengths + 1) - lengths - 1
        rows = found[starts]
        self._put_counts(rows, views)
        filled = np.arange(width) < lengths[:, None]
        after, weight = np.full(filled.shape, -1, np.int32), np.zeros(filled.shape, np.float32)
        after[filled] = np.delete(found, starts)
        weight[filled] = [weight for pairs in following for _, weight in pairs]
        self._next.rows[rows], self._weight.rows[rows] = after, weight

    def _put_counts(self, rows: NDArray[np.int64], views: Sequence[ItemView]) -> None:
        self._time.rows[rows] = [view.time for view in views]
        self._popularity.rows[rows] = [_POPULARITY(view.popularity) for view in views]
        counts = np.array([(view.shown, view.clicked, view.taken) for view in views], np.float32)
        self.totals += (counts - self._counts.rows[rows]).sum(axis=0, dtype=np.float64)
        self._counts.rows[rows] = counts

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
