"""Online item factors: what the items of a session have in common (FISM).

Source: Kabbur, Ning and Karypis 2013, doi:10.1145/2487575.2487589, with a
sampled softmax over the other items of the micro-batch, corrected for how
often each is drawn (Bengio and Senecal 2008, doi:10.1109/TNN.2007.912312).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.columns import Column
from features.contexts import Contexts
from models.arrays import Arrays
from models.scores import Part, Scores
from models.sources.base import F32, I64, Positive, World

__all__ = ["Factors"]

I32 = NDArray[np.int32]

WINDOW: Final = 20
DECAY: Final = 0.85
FEWEST: Final = 8
"""Positives that a step needs to have others to compare with."""

BLOCK: Final = 256
"""Rows whose initial vectors are drawn at once, all of them however many there are."""

WIDTH: Final = np.float32(0.1 * 12**0.5)
"""Of the even distribution of initial values around 0, whose standard deviation is 0.1."""


class Factors:
    """A user is the decayed sum of his items' vectors; an item is near who takes it.

    Parameters
    ----------
    world
        Catalogue.
    dim
        Length of the vectors.
    learning_rate
        AdaGrad's step, by row.
    seed
        Of the initial vectors, which depend on the item's row alone.
    """

    name = "factors"

    def __init__(
        self, world: World, dim: int = 32, learning_rate: float = 0.1, seed: int = 0
    ) -> None:
        self._world, self._dim, self._rate, self._seed = world, dim, learning_rate, seed
        self._past = Column(np.float32, fill=0, width=dim)
        self._next = Column(np.float32, fill=0, width=dim)
        self._squares = Column(np.float32, fill=1e-3, width=2)
        self._taken = Column(np.float64, fill=0)
        self._waiting: list[Positive] = []
        self._known: tuple[I32, F32] | None = None

    def score(self, contexts: Contexts) -> Scores:
        """Return the softmax's odds against the catalogue's mean, cut at 0.

        Of an item that nobody has taken yet they say nothing: 0.
        """
        self._grow()
        items = contexts.items[:, :WINDOW]
        weight = DECAY ** np.arange(items.shape[1], dtype=np.float32)
        weight = np.where((items >= 0) & (contexts.weight[:, :WINDOW] > 0), weight, 0)
        user = self._user(items, weight.astype(np.float32))
        if self._known is None:
            taken = np.flatnonzero(self._taken.rows).astype(np.int32)
            self._known = taken, np.ascontiguousarray(self._next.rows[taken].T)
        taken, vectors = self._known
        lift = user @ vectors
        np.minimum(lift, np.float32(20), out=lift)
        np.expm1(lift, out=lift)
        return Part(len(self._taken.rows), taken, np.maximum(lift, 0, out=lift))

    def _user(self, items: NDArray[np.integer], weight: F32) -> F32:
        share = weight / np.sqrt(np.maximum(weight.sum(axis=1, keepdims=True), 1e-6))
        mean = share[:, None, :] @ self._past.rows[np.maximum(items, 0)]
        return np.asarray(mean[:, 0], dtype=np.float32)

    def _grow(self) -> None:
        size, old = len(self._world.catalogue), len(self._past.rows)
        if size == old:
            return
        for column in (self._past, self._next):
            column.grow(size)
        self._squares.grow(size)
        self._taken.grow(size)
        for block in range(old // BLOCK, -(-size // BLOCK)):
            first, end = max(old, block * BLOCK), min(size, (block + 1) * BLOCK)
            generator = np.random.default_rng((self._seed, block))
            drawn = generator.random((2, BLOCK, self._dim), dtype=np.float32)
            new = drawn[:, first - block * BLOCK : end - block * BLOCK]
            past_next = (new - np.float32(0.5)) * WIDTH
            self._past.rows[first:end], self._next.rows[first:end] = past_next

    def learn(self, positives: Sequence[Positive]) -> None:
        """Take one step per micro-batch; the other items taken in it are the negatives."""
        self._grow()
        self._waiting += [positive for positive in positives if positive.history]
        if len(self._waiting) < FEWEST:
            return
        target, items = _table(self._waiting)
        self._waiting, self._known = [], None
        np.add.at(self._taken.rows, target, 1)
        self._step(items, target)

    def state(self) -> Arrays:
        """Return the vectors, and the positives that wait for company."""
        self._grow()
        kept: dict[str, NDArray[Any]] = {n: column.rows for n, column in self._columns().items()}
        return kept | {"waiting": np.column_stack([*_table(self._waiting)])}

    def restore(self, arrays: Arrays, rows: I64) -> None:
        """Continue with the vectors of a checkpoint."""
        self._grow()
        self._known = None
        for name, column in self._columns().items():
            column.rows[rows] = arrays[name]
        waiting = arrays["waiting"]
        moved = np.where(waiting >= 0, rows[waiting], -1).tolist()
        self._waiting = [Positive(row[0], tuple(r for r in row[1:] if r >= 0)) for row in moved]

    def _columns(self) -> dict[str, Column[Any]]:
        return {
            "past": self._past,
            "next": self._next,
            "squares": self._squares,
            "taken": self._taken,
        }

    def _step(self, items: NDArray[np.int64], target: NDArray[np.int64]) -> None:
        weight = (DECAY ** np.arange(items.shape[1], dtype=np.float32)) * (items >= 0)
        user = self._user(items, weight.astype(np.float32))
        others = np.unique(target)
        often = self._taken.rows[others] + 1
        odds = user @ self._next.rows[others].T - np.log(often / often.sum())
        odds -= odds.max(axis=1, keepdims=True)
        error = np.exp(odds)
        error /= error.sum(axis=1, keepdims=True)
        error[np.arange(len(target)), np.searchsorted(others, target)] -= 1
        error = error.astype(np.float32)
        to_next = error.T @ user
        to_user = error @ self._next.rows[others]
        share = weight / np.sqrt(np.maximum(weight.sum(axis=1, keepdims=True), 1e-6))
        known = items >= 0
        to_past = (to_user[:, None, :] * share[:, :, None].astype(np.float32))[known]
        rows, place = np.unique(items[known], return_inverse=True)
        gradient = np.zeros((len(rows), self._dim), dtype=np.float32)
        np.add.at(gradient, place, to_past)
        self._descend(self._next, 0, others, to_next)
        self._descend(self._past, 1, rows, gradient)

    def _descend(
        self, table: Column[np.float32], which: int, rows: NDArray[np.int64], gradient: F32
    ) -> None:
        self._squares.rows[rows, which] += (gradient**2).mean(axis=1)
        rate = self._rate / np.sqrt(self._squares.rows[rows, which])
        table.rows[rows] -= rate[:, None] * gradient


def _table(positives: Sequence[Positive]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return n positives as arrays: items taken (n,), and those before (n, h), -1 at the end."""
    target = np.array([positive.item for positive in positives], dtype=np.int64)
    items = np.full((len(positives), max((len(p.history) for p in positives), default=0)), -1)
    for row, positive in enumerate(positives):
        items[row, : len(positive.history)] = positive.history
    return target, items
