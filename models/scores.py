"""What a source says of B questions over N items, in the form that is cheapest to make.

The same for everybody (:class:`Row`), of a few items for each (:class:`Sparse`), of the same
items for each (:class:`Part`), or of every item for each (:class:`Table`). A score of 0 says
nothing, more is better, and none is negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.pairs import Slots
from models.topk import top_k

__all__ = ["Blocked", "Part", "Row", "Scores", "Sparse", "Table", "silence"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


class Blocked:
    """Items that may not be recommended: some to nobody, some to one question each.

    Parameters
    ----------
    alive
        (N,) items that may be shown at all.
    row, item
        (E,) what may not be shown to one question.
    n_rows
        B.
    """

    def __init__(self, alive: NDArray[np.bool_], row: I32, item: I32, n_rows: int) -> None:
        self.shape = (n_rows, len(alive))
        self.dead = np.flatnonzero(~alive)
        self.alive = alive
        self.row, self.item = row, item
        self.any = bool(len(self.dead) or len(row))
        # of a large table only the pages that are written to take memory
        self._cells = np.zeros(n_rows * len(alive) if len(row) else 0, dtype=np.bool_)
        if len(row):
            self._cells[self._flat(row, item)] = True

    def _flat(self, row: NDArray[np.integer], item: NDArray[np.integer]) -> I64:
        return row.astype(np.int64) * self.shape[1] + item

    def of(self, row: NDArray[np.integer], item: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Tell which of n pairs are blocked: (n,)."""
        hidden = ~self.alive[item] if len(self.dead) else np.zeros(len(item), dtype=np.bool_)
        if len(self.row):
            hidden |= self._cells[self._flat(row, item)]
        return hidden

    def table(self) -> NDArray[np.bool_]:
        """Return all of it: (B, N)."""
        table = np.zeros(self.shape, dtype=np.bool_)
        table[:, self.dead] = True
        table[self.row, self.item] = True
        return table


class Scores(Protocol):
    """A source's scores."""

    def mean(self) -> F32:
        """Return the mean over all items, blocked ones too: (B,), or (1,) for all alike."""
        ...

    def top(self, blocked: Blocked, k: int) -> I32:
        """Return the k best items of each question that are not blocked, -1 beyond: (B, k)."""
        ...

    def at(self, slots: Slots) -> F32:
        """Return the scores of M pairs: (M,); of blocked ones they are of no meaning."""
        ...

    def table(self) -> F32:
        """Return all of them, (B, N) or (1, N); of blocked items they are of no meaning."""
        ...


class Row:
    """The same to everybody.

    A source that has nothing new to say returns the same one again: what was found out about
    it stays.

    Parameters
    ----------
    n_items
        N.
    item, value
        (A,) rows of the items that it is about, and their scores; those of all others are 0.
    """

    def __init__(self, n_items: int, item: I32, value: F32) -> None:
        self.n_items, self.item, self.value = n_items, item, value
        self._mean: F32 | None = None
        self._table: F32 | None = None
        self._dead: I64 | None = None
        self._best, self._depth = item[:0], 0

    def mean(self) -> F32:
        """Return the mean over all items: (1,)."""
        if self._mean is None:
            self._mean = np.asarray(self.value.sum(keepdims=True) / np.float32(self.n_items))
        return self._mean

    def top(self, blocked: Blocked, k: int) -> I32:
        """Return the k best that each question may see: (B, k)."""
        n_rows, _ = blocked.shape
        most = int(np.bincount(blocked.row, minlength=1).max())
        best = self._best_of(blocked, k + most)
        top = np.full((n_rows, k), -1, dtype=np.int32)
        if not len(blocked.row):
            top[:, : min(k, len(best))] = best[:k]
            return top
        row = np.repeat(np.arange(n_rows), len(best))
        hidden = blocked.of(row, np.tile(best, n_rows)).reshape(n_rows, -1)
        order = np.argsort(hidden, axis=1, kind="stable")[:, :k]
        found = best[order]
        found[np.take_along_axis(hidden, order, axis=1)] = -1
        top[:, : found.shape[1]] = found
        return top

    def _best_of(self, blocked: Blocked, n: int) -> I32:
        """Return the n best that are not blocked for everybody."""
        if self._dead is None or n > self._depth or not np.array_equal(self._dead, blocked.dead):
            self._dead, self._depth = blocked.dead, max(n, self._depth)
            # what nobody may see goes first: there may be far more of it than of what one may not
            value = np.where(blocked.alive[self.item], self.value, 0)
            best = top_k(value[None], min(len(value), self._depth))[0]
            self._best = self.item[best[best >= 0]]
        return self._best[:n]

    def at(self, slots: Slots) -> F32:
        """Return the scores of M pairs: (M,)."""
        return np.asarray(self.table()[0, slots.pairs.item])

    def table(self) -> F32:
        """Return the row: (1, N)."""
        if self._table is None:
            self._table = np.zeros((1, self.n_items), dtype=np.float32)
            self._table[0, self.item] = self.value
        return self._table


@dataclass(frozen=True, slots=True)
class Sparse:
    """Of a few items for each question; each item once a question.

    Attributes
    ----------
    n_items
        N.
    start
        (B + 1,) where each question's entries begin, and the last one's end.
    item, value
        (E,) item rows, and scores above 0.
    """

    n_items: int
    start: I64
    item: I32
    value: F32

    @classmethod
    def of(
        cls,
        row: NDArray[np.integer],
        item: I32,
        value: NDArray[np.floating],
        shape: tuple[int, int],
    ) -> Sparse:
        """Return entries ordered by question, those of one pair summed; shape is (B, N)."""
        keys = row.astype(np.int64) * shape[1] + item
        keys, place = np.unique(keys, return_inverse=True)
        total = np.bincount(place, value, len(keys)).astype(np.float32)
        rows, items = np.divmod(keys, max(1, shape[1]))
        start = np.searchsorted(rows, np.arange(shape[0] + 1))
        return cls(shape[1], start, items.astype(np.int32), total)

    def rows(self) -> I32:
        """Return the question of each entry: (E,)."""
        counts = np.diff(self.start)
        return np.repeat(np.arange(len(counts), dtype=np.int32), counts)

    def mean(self) -> F32:
        """Return the mean over all items: (B,)."""
        sums = np.bincount(self.rows(), self.value, len(self.start) - 1)
        return (sums / self.n_items).astype(np.float32)

    def top(self, blocked: Blocked, k: int) -> I32:
        """Return the k best of each question: (B, k)."""
        row, counts = self.rows(), np.diff(self.start)
        value = self.value
        if blocked.any:
            value = np.where(blocked.of(row, self.item), 0, value)
        padded = np.zeros((len(counts), int(counts.max(initial=1))), dtype=np.float32)
        padded[row, np.arange(len(row)) - self.start[row]] = value
        place = top_k(padded, k)
        if not len(self.item):
            return place
        at = self.start[:-1, None] + np.maximum(place, 0)
        return np.where(place >= 0, self.item[np.minimum(at, len(self.item) - 1)], -1)

    def at(self, slots: Slots) -> F32:
        """Return the scores of M pairs: (M,)."""
        return slots.put(self.rows(), self.item, self.value)

    def table(self) -> F32:
        """Return all of them: (B, N)."""
        table = np.zeros((len(self.start) - 1, self.n_items), dtype=np.float32)
        table[self.rows(), self.item] = self.value
        return table


@dataclass(frozen=True, slots=True)
class Table:
    """Of every item for each question.

    Attributes
    ----------
    values
        (B, N) scores; :meth:`top` puts -1 where an item is blocked.
    means
        (B,) their means before.
    """

    values: F32
    means: F32

    @classmethod
    def of(cls, values: F32) -> Table:
        """Return a table that may be written to."""
        return cls(values, values.mean(axis=1))

    def mean(self) -> F32:
        """Return the mean over all items: (B,)."""
        return self.means

    def top(self, blocked: Blocked, k: int) -> I32:
        """Return the k best of each question: (B, k)."""
        if blocked.any:
            self.values[:, blocked.dead] = -1
            self.values[blocked.row, blocked.item] = -1
        return top_k(self.values, k)

    def at(self, slots: Slots) -> F32:
        """Return the scores of M pairs: (M,)."""
        pairs = slots.pairs
        place = pairs.row.astype(np.int64) * self.values.shape[1] + pairs.item
        return np.asarray(self.values.take(place))

    def table(self) -> F32:
        """Return all of them: (B, N)."""
        return self.values


@dataclass(frozen=True, slots=True)
class Part:
    """Of some items alone for each question, the same ones.

    Attributes
    ----------
    n_items
        N.
    item
        (A,) the items, ascending.
    values
        (B, A) their scores; those of all others are 0.
    """

    n_items: int
    item: I32
    values: F32

    def mean(self) -> F32:
        """Return the mean over all items: (B,)."""
        return np.asarray(self.values.sum(axis=1) / np.float32(self.n_items))

    def top(self, blocked: Blocked, k: int) -> I32:
        """Return the k best of each question: (B, k)."""
        values = self.values
        if blocked.any:
            values = values.copy()
            place = self._place()
            values[:, np.isin(self.item, blocked.dead)] = 0
            there = place[blocked.item] >= 0
            values[blocked.row[there], place[blocked.item[there]]] = 0
        place = top_k(values, k)
        return np.where(place >= 0, np.append(self.item, np.int32(-1))[place], -1)

    def _place(self) -> I32:
        """Return where each item stands: (N,), of those that do not the place is -1."""
        place = np.full(self.n_items, -1, dtype=np.int32)
        place[self.item] = np.arange(len(self.item), dtype=np.int32)
        return place

    def at(self, slots: Slots) -> F32:
        """Return the scores of M pairs: (M,)."""
        place = self._place()[slots.pairs.item]
        there = place >= 0
        found = np.zeros(len(slots), dtype=np.float32)
        found[there] = self.values[slots.pairs.row[there], place[there]]
        return found

    def table(self) -> F32:
        """Return all of them: (B, N)."""
        table = np.zeros((len(self.values), self.n_items), dtype=np.float32)
        table[:, self.item] = self.values
        return table


def silence(n_rows: int, n_items: int) -> Sparse:
    """Return the scores of who has nothing to say."""
    none = np.zeros(n_rows + 1, dtype=np.int64)
    return Sparse(n_items, none, np.zeros(0, np.int32), np.zeros(0, np.float32))
