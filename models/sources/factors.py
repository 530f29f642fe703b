"""Online item factors: what the items of a session have in common (FISM).

Source: Kabbur, Ning and Karypis 2013, doi:10.1145/2487575.2487589, with a
sampled softmax over the other items of the micro-batch, corrected for how
often each is drawn (Bengio and Senecal 2008, doi:10.1109/TNN.2007.912312).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.columns import Column
from features.contexts import Contexts
from models.arrays import Arrays
from models.scores import Part, Scores
from models.sources.base import F32, I64, Positive, World

__all__ = ["Factors", "initial"]

I32 = NDArray[np.int32]

WINDOW: Final = 20
DECAY: Final = 0.85
FEWEST: Final = 8
"""Positives that a step needs to have others to compare with."""

UNMOVED: Final = 1e-3
"""Squares of the gradients of a vector that is as it was drawn."""

WIDTH: Final = np.float32(0.1 * 12**0.5)
"""Of the even distribution of initial values around 0, whose standard deviation is 0.1."""


class Factors:
    """A user is the decayed sum of his items' vectors; an item is near who takes it.

    Only items that were taken, or stand in the history of a user who was asked about, have
    vectors of their own here: of a large catalogue most never do.

    Parameters
    ----------
    world
        Catalogue.
    dim
        Length of the vectors.
    learning_rate
        AdaGrad's step, by row.
    seed
        Of the initial vectors, which beside it depend on the item's name alone.
    """

    name = "factors"

    def __init__(
        self, world: World, dim: int = 32, learning_rate: float = 0.1, seed: int = 0
    ) -> None:
        self._world, self._dim, self._rate, self._seed = world, dim, learning_rate, seed
        self._place = Column(np.int32, fill=0)
        # by place; the first is of nobody
        self._row = Column(np.int32, fill=-1)
        self._past = Column(np.float32, fill=0, width=dim)
        self._next = Column(np.float32, fill=0, width=dim)
        self._squares = Column(np.float32, fill=UNMOVED, width=2)
        self._taken = Column(np.float64, fill=0)
        self._extend(1)
        self._ordered: NDArray[np.intp] | None = None
        self._waiting: list[Positive] = []
        self._known: tuple[I32, F32] | None = None

    def score(self, contexts: Contexts) -> Scores:
        """Return the softmax's odds against the catalogue's mean, cut at 0.

        Of an item that nobody has taken yet they say nothing: 0.
        """
        items = contexts.items[:, :WINDOW]
        weight = DECAY ** np.arange(items.shape[1], dtype=np.float32)
        weight = np.where((items >= 0) & (contexts.weight[:, :WINDOW] > 0), weight, 0)
        user = self._user(self._places(items), weight.astype(np.float32))
        taken, vectors = self._compared()
        lift = user @ vectors
        np.minimum(lift, np.float32(20), out=lift)
        np.expm1(lift, out=lift)
        size = len(self._world.catalogue)
        return Part(size, taken, np.maximum(lift, 0, out=lift))

    def _taken_ones(self) -> NDArray[np.intp]:
        """Return the places of the items that were taken, in the order of their rows."""
        if self._ordered is None:
            place = np.flatnonzero(self._taken.rows)
            self._ordered = place[np.argsort(self._row.rows[place])]
        return self._ordered

    def _compared(self) -> tuple[I32, F32]:
        """Return the rows (A,) and vectors (dim, A) of the items that were taken."""
        if self._known is None:
            place = self._taken_ones()
            self._known = self._row.rows[place], np.ascontiguousarray(self._next.rows[place].T)
        return self._known

    def _user(self, places: NDArray[np.integer], weight: F32) -> F32:
        share = weight / np.sqrt(np.maximum(weight.sum(axis=1, keepdims=True), 1e-6))
        mean = share[:, None, :] @ self._past.rows[places]
        return np.asarray(mean[:, 0], dtype=np.float32)

    def _places(self, items: NDArray[np.integer]) -> NDArray[np.int32]:
        """Return the places of items, giving one to those that have none; 0 for -1."""
        self._place.grow(len(self._world.catalogue))
        places = np.where(items >= 0, self._place.rows[items], 0)
        new = np.unique(items[(places == 0) & (items >= 0)])
        if not len(new):
            return places
        first = len(self._row.rows)
        self._extend(first + len(new))
        self._row.rows[first:] = new
        self._place.rows[new] = np.arange(first, first + len(new))
        names = [self._world.catalogue.ids[row] for row in new.tolist()]
        self._past.rows[first:], self._next.rows[first:] = initial(names, self._dim, self._seed)
        return np.where(items >= 0, self._place.rows[items], 0)

    def _extend(self, size: int) -> None:
        columns: tuple[Column[Any], ...] = (self._row, *self._columns().values())
        for column in columns:
            column.grow(size)

    def learn(self, positives: Sequence[Positive]) -> None:
        """Take one step per micro-batch; the other items taken in it are the negatives."""
        self._waiting += [positive for positive in positives if positive.history]
        if len(self._waiting) < FEWEST:
            return
        target, items = _table(self._waiting)
        self._waiting, self._known = [], None
        places = self._places(target)
        if not self._taken.rows[places].all():
            self._ordered = None
        np.add.at(self._taken.rows, places, 1)
        self._step(self._places(items), places)

    def state(self) -> Arrays:
        """Return the vectors of the items that have any, and the positives that wait."""
        target, items = _table(self._waiting)
        for waiting in (target, items):
            self._places(waiting)  # who goes on begins with the same
        order = np.argsort(self._row.rows[1:]) + 1
        kept: dict[str, NDArray[Any]] = {n: col.rows[order] for n, col in self._columns().items()}
        kept["item"] = self._row.rows[order]
        return kept | {"waiting": np.column_stack([target, items])}

    def restore(self, arrays: Arrays, rows: I64) -> None:
        """Continue with the vectors of a checkpoint."""
        item = arrays.get("item")
        if item is None:  # of before: every item had vectors
            item = np.flatnonzero((arrays["squares"] > UNMOVED).any(axis=1))
            arrays = {**arrays, **{name: arrays[name][item] for name in self._columns()}}
        places = self._places(rows[item])
        for name, column in self._columns().items():
            column.rows[places] = arrays[name]
        self._ordered = self._known = None
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

    def _step(self, items: NDArray[np.int32], target: NDArray[np.int32]) -> None:
        """Take a step: (n, h) places of the items before, 0 for none, and (n,) of those taken."""
        weight = (DECAY ** np.arange(items.shape[1], dtype=np.float32)) * (items > 0)
        user = self._user(items, weight.astype(np.float32))
        # in the order of the rows: in that of places a restart would add up in another one
        _, first, which = np.unique(self._row.rows[target], return_index=True, return_inverse=True)
        others = target[first]
        often = self._taken.rows[others] + 1
        odds = user @ self._next.rows[others].T - np.log(often / often.sum())
        odds -= odds.max(axis=1, keepdims=True)
        error = np.exp(odds)
        error /= error.sum(axis=1, keepdims=True)
        error[np.arange(len(target)), which] -= 1
        error = error.astype(np.float32)
        to_next = error.T @ user
        to_user = error @ self._next.rows[others]
        share = weight / np.sqrt(np.maximum(weight.sum(axis=1, keepdims=True), 1e-6))
        known = items > 0
        to_past = (to_user[:, None, :] * share[:, :, None].astype(np.float32))[known]
        rows, place = np.unique(items[known], return_inverse=True)
        gradient = np.zeros((len(rows), self._dim), dtype=np.float32)
        np.add.at(gradient, place, to_past)
        self._descend(self._next, 0, others, to_next)
        self._descend(self._past, 1, rows, gradient)

    def _descend(
        self, table: Column[np.float32], which: int, rows: NDArray[np.int32], gradient: F32
    ) -> None:
        self._squares.rows[rows, which] += (gradient**2).mean(axis=1)
        rate = self._rate / np.sqrt(self._squares.rows[rows, which])
        table.rows[rows] -= rate[:, None] * gradient


def initial(items: Sequence[str], dim: int, seed: int = 0) -> tuple[F32, F32]:
    """Return the vectors that n items begin with, of the past and of what is next: (n, dim).

    They are drawn by splitmix64 (Steele, Lea and Flood 2014, doi:10.1145/2714064.2660195) from
    the name of each: whoever comes to need an item begins with the same, in any process.
    """
    salt = seed.to_bytes(8, "little")
    digests = [blake2b(item.encode(), digest_size=8, salt=salt).digest() for item in items]
    start = np.frombuffer(b"".join(digests), dtype="<u8")
    z = start[:, None] + np.arange(1, 2 * dim + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    drawn = (z >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
    both = (drawn - np.float32(0.5)) * WIDTH
    return both[:, :dim], both[:, dim:]


def _table(positives: Sequence[Positive]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return n positives as arrays: items taken (n,), and those before (n, h), -1 at the end."""
    target = np.array([positive.item for positive in positives], dtype=np.int64)
    items = np.full((len(positives), max((len(p.history) for p in positives), default=0)), -1)
    for row, positive in enumerate(positives):
        items[row, : len(positive.history)] = positive.history
    return target, items
