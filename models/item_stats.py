"""Items' statistics in one process: popularity by half-life, counts, and what follows what.

A structure of arrays along the catalogue's rows, fed by the public records
that `neighbours` writes (:class:`models.item_state.ItemView`).
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.columns import Column
from features.contexts import ItemIndex
from models.item_state import HALF_LIVES_MS, ItemView

__all__ = ["ItemStats", "Popular"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
LIVES = np.array(list(HALF_LIVES_MS.values()), dtype=np.float64)
LATE_MS: Final = 300_000
"""Event time after which the popularity of all is reckoned anew where anything has changed."""

PER_THOUSAND: Final = 5
"""Items of each thousand that may have changed before that."""

_POPULARITY: Final = itemgetter(*HALF_LIVES_MS)


class Popular(NamedTuple):
    """Rows (A,) of the items with a view, and their positives (half-lives, A).

    The half-lives are an hour, a day, a week and a month.
    """

    rows: NDArray[np.int32]
    values: NDArray[np.float64]


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
    the views name items, each before what follows it. Memory is that of the items of which
    there is a view: of a large catalogue most were never touched.

    Attributes
    ----------
    totals
        How often all items together were shown, clicked and taken.
    newest
        The time of the newest event of any item, epoch milliseconds; 0 before there is one.
    """

    def __init__(self, index: ItemIndex, served: int) -> None:
        self._index = index
        self._place = Column(np.int32, fill=0)
        # by place; the first is that of all items without a view
        self._row = Column(np.int32, fill=-1)
        self._time = Column(np.int64, fill=0)
        self._popularity = Column(np.float64, fill=0, width=len(LIVES))
        self._counts = Column(np.float32, fill=0, width=3)
        self._next = Column(np.int32, fill=-1, width=served)
        self._weight = Column(np.float32, fill=0, width=served)
        self._grow(1)
        self.totals, self.newest = np.zeros(3), 0
        self._changed = 0
        self._decayed_at = -LATE_MS
        self._decayed = Popular(np.zeros(0, np.int32), np.zeros((len(LIVES), 0)))

    def apply(self, views: Sequence[ItemView]) -> None:
        """Take over items' public records."""
        self._changed += len(views)
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
        lengths = np.array([len(pairs) for pairs in following])
        starts = np.cumsum(lengths + 1) - lengths - 1
        rows = self._places(found[starts])
        self._put_counts(rows, views)
        filled = np.arange(width) < lengths[:, None]
        after, weight = np.full(filled.shape, -1, np.int32), np.zeros(filled.shape, np.float32)
        after[filled] = np.delete(found, starts)
        weight[filled] = [weight for pairs in following for _, weight in pairs]
        self._next.rows[rows], self._weight.rows[rows] = after, weight

    def _put_counts(self, rows: NDArray[np.int32], views: Sequence[ItemView]) -> None:
        times = [view.time for view in views]
        self._time.rows[rows], self.newest = times, max(self.newest, *times)
        self._popularity.rows[rows] = [_POPULARITY(view.popularity) for view in views]
        counts = np.array([(view.shown, view.clicked, view.taken) for view in views], np.float32)
        self.totals += (counts - self._counts.rows[rows]).sum(axis=0, dtype=np.float64)
        self._counts.rows[rows] = counts

    def _places(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the places of items, giving one to those that have none."""
        self._place.grow(len(self._index))
        new = rows[self._place.rows[rows] == 0]
        size = len(self._row.rows)
        self._grow(size + len(new))
        self._row.rows[size:] = new
        self._place.rows[new] = np.arange(size, size + len(new))
        return self._place.rows[rows]

    def _grow(self, size: int) -> None:
        for column in (self._row, self._time, self._popularity, self._counts):
            column.grow(size)
        self._next.grow(size)
        self._weight.grow(size)

    def _of(self, items: NDArray[np.integer]) -> NDArray[np.int32]:
        """Return the places of items, 0 for those without a view."""
        self._place.grow(len(self._index))
        return np.asarray(self._place.rows[items])

    def popular(self, now_ms: int) -> Popular:
        """Return the positives of all items that have any, decayed to ``now_ms``.

        What was returned before is returned again, the same object, until enough items have
        changed. Time alone changes all of them by one factor, which compares nothing.
        """
        rows = self._row.rows[1:]
        late = abs(now_ms - self._decayed_at) >= LATE_MS
        if late or self._changed > PER_THOUSAND * (len(rows) // 1000):
            age = np.maximum(now_ms - self._time.rows[1:], 0)
            decayed = (self._popularity.rows[1:] * np.exp2(-age[:, None] / LIVES)).T
            self._decayed = Popular(rows, decayed)
            self._decayed_at, self._changed = now_ms, 0
        return self._decayed

    def popularity(self, now_ms: int, items: NDArray[np.integer], life: int) -> F64:
        """Return positives of items decayed to ``now_ms`` by one of the half-lives, as shaped."""
        place = self._of(items)
        age = np.maximum(now_ms - self._time.rows[place], 0)
        return np.asarray(self._popularity.rows[place, life] * np.exp2(-age / LIVES[life]))

    def time(self, items: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the newest event of items, epoch milliseconds: what weights are relative to."""
        return self._time.rows[self._of(items)]

    def counts(self, items: NDArray[np.integer]) -> F32:
        """Return how often n items were shown, clicked and taken: (n, 3)."""
        return self._counts.rows[self._of(items)]

    def successors(self, items: NDArray[np.int32]) -> tuple[NDArray[np.int32], F32]:
        """Return the successors of items: rows (..., served), -1 where none, and weights."""
        place = np.where(items < 0, 0, self._of(items))
        return self._next.rows[place], self._weight.rows[place]
