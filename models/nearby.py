"""Scores that follow from inner products with items too many for a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from features.content import Vectors
from models.pairs import Slots
from models.scores import Blocked
from models.topk import best_first

__all__ = ["FOUND", "LARGE", "SAMPLE", "Nearby", "mean_of"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

LARGE: Final = 100_000
"""Items from which on an index costs less than to compare them all, exactly."""

FOUND: Final = 200
"""Items that an index is asked for: those proposed, some that are blocked, and for the mean."""

SAMPLE: Final = 2048
"""Items of which the mean over the others is estimated."""

MOST: Final = 20.0
"""Logarithm of the largest score."""


@dataclass(frozen=True, slots=True)
class Nearby:
    """``exp(scale q v + shift) - 1``, cut at 0, for the questions that say anything.

    Attributes
    ----------
    n_rows
        B.
    rows
        (Q,) the questions that do, ascending.
    query
        (Q, d) what they ask for.
    vectors
        (N, d) the items'.
    scale, shift
        See above; shift is (Q,).
    best, value
        (Q, n) the items found to be nearest, nearest first, -1 beyond, and their scores.
    """

    n_rows: int
    rows: NDArray[np.integer]
    query: F32
    vectors: Vectors
    scale: float
    shift: F32
    best: I32
    value: F32

    @classmethod
    def of(  # noqa: PLR0913 - what the score is made of
        cls,
        n_rows: int,
        rows: NDArray[np.integer],
        query: F32,
        vectors: Vectors,
        best: I32,
        *,
        scale: float = 1.0,
        shift: F32 | None = None,
    ) -> Self:
        """Return the scores of questions whose nearest items, in whatever order, were found."""
        moved = np.zeros(len(rows), np.float32) if shift is None else shift
        product = (vectors[np.maximum(best, 0)] @ query[:, :, None])[:, :, 0]
        product = np.where(best >= 0, product, np.float32(-np.inf)).astype(np.float32)
        order = best_first(product)  # what found them may know less of the vectors, or halves
        best = np.take_along_axis(best, order, axis=1)
        product = np.take_along_axis(product, order, axis=1)
        value = _law(np.float32(scale) * product + moved[:, None])
        return cls(n_rows, rows, query, vectors, scale, moved, best, value)

    def mean(self) -> F32:
        """Return an estimate of the mean over all items: (B,)."""
        mean = np.zeros(self.n_rows, dtype=np.float32)
        sample = self.vectors[:: max(1, len(self.vectors) // SAMPLE)]
        others = self._scores(self.query @ sample.T, self.shift[:, None])
        mean[self.rows] = mean_of(self.value, others, len(self.vectors))
        return mean

    def top(self, blocked: Blocked, k: int) -> I32:
        """Return the k best of each question: (B, k)."""
        top = np.full((self.n_rows, k), -1, dtype=np.int32)
        row = np.repeat(self.rows, self.best.shape[1])
        hidden = blocked.of(row, np.maximum(self.best, 0).ravel()).reshape(self.best.shape)
        hidden |= self.value <= 0
        order = np.argsort(hidden, axis=1, kind="stable")[:, :k]
        found = np.take_along_axis(self.best, order, axis=1)
        found[np.take_along_axis(hidden, order, axis=1)] = -1
        top[self.rows, : found.shape[1]] = found
        return top

    def at(self, slots: Slots) -> F32:
        """Return the scores of M pairs: (M,)."""
        number = np.full(self.n_rows, -1, dtype=np.int64)
        number[self.rows] = np.arange(len(self.rows))
        asked = number[slots.pairs.row]
        heard = np.flatnonzero(asked >= 0)
        found = np.zeros(len(slots), dtype=np.float32)
        mine = asked[heard]
        product = np.einsum("nd,nd->n", self.query[mine], self.vectors[slots.pairs.item[heard]])
        found[heard] = self._scores(product, self.shift[mine])
        return found

    def table(self) -> F32:
        """Return all of them: (B, N)."""
        table = np.zeros((self.n_rows, len(self.vectors)), dtype=np.float32)
        table[self.rows] = self._scores(
            self.query @ np.asarray(self.vectors).T, self.shift[:, None]
        )
        return table

    def _scores(self, product: F32, shift: F32) -> F32:
        return _law(np.float32(self.scale) * product + shift)


def _law(exponent: F32) -> F32:
    return np.asarray(np.maximum(np.expm1(np.minimum(exponent, np.float32(MOST))), 0))


def mean_of(best: F32, others: F32, n_items: int) -> F32:
    """Return the mean of N values of which the largest are known, and a sample of all.

    Parameters
    ----------
    best
        (Q, n) the largest values.
    others
        (Q, s) a sample of all: what is above the least of the best is among those.
    n_items
        N.
    """
    least = best.min(axis=1, keepdims=True)
    below = others <= least
    rest = np.where(below, others, 0).sum(axis=1) / np.maximum(below.sum(axis=1), 1)
    total = best.sum(axis=1) + rest * (n_items - best.shape[1])
    return np.asarray(total / n_items, dtype=np.float32)
