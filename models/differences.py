"""In what users differ beyond what is known of items: directions found in what they do again."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.arrays import Arrays
from models.laid import Laid, means
from models.strength import residuals

__all__ = ["Differences", "traits"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

RANK: Final = 6
"""Directions in which users differ."""

START: Final = 600
"""Lists before the directions are taken from their moments."""

EVERY: Final = 200
"""Lists between two looks at the moments."""

SHRINK: Final = 300.0
"""Pairs of lists without any common taste that the moments are averaged with."""


def traits(linear: F64, f: F64, positions: I64) -> F64:
    """Return what users may differ in: (n, d) ``[z, p, f, place]``."""
    place = (np.log1p(positions) - 2) / 0.8
    return np.column_stack([linear, f, place])


class Differences:
    """The directions in which users differ, from what they do again in another list.

    A list's gradient for its user's weights on the traits ``x`` is ``g = sum_j
    r_j x_j``, with ``x`` centred within the list; it varies by ``A = sum W x x'``.
    Chance does not repeat from list to list, taste does: over pairs of lists of
    one user the mean of ``g g'`` is ``A C A``, where ``C`` is the covariance of
    users' weights (a method of moments, as for variance components: Searle,
    Casella and McCulloch, *Variance Components*, 1992). ``C`` is kept as ``L
    L'``, its RANK strongest directions.

    Attributes
    ----------
    information
        (d, d) sum of ``A`` over lists.
    common
        (d, d) sum of ``g g'`` over ordered pairs of lists.
    lists, pairs
        How many lists and pairs these are.
    directions
        ``L`` (d, RANK); None before START lists.
    """

    def __init__(self) -> None:
        self.information: F64 = np.zeros((0, 0))
        self.common: F64 = np.zeros((0, 0))
        self.lists, self.pairs = 0, 0
        self.directions: F64 | None = None

    def carry(self, a: F64) -> None:
        """Express everything on new scales: weights become ``A w``, gradients ``A+' g``."""
        if not self.lists:
            return
        a = np.block([[a, np.zeros((len(a), 2))], [np.zeros((2, a.shape[1])), np.eye(2)]])
        back = np.linalg.pinv(a)
        self.information = back.T @ self.information @ back
        self.common = back.T @ self.common @ back
        if self.directions is not None:
            self.directions = a @ self.directions

    def of(self, x: F64) -> F64 | None:
        """Return how far n items lie along each direction, (n, RANK), given their traits."""
        if self.directions is None:
            return None
        along: F64 = x @ self.directions
        return along

    def learn(self, laid: Laid, x: F64, eta: F64, taken: NDArray[np.bool_]) -> None:
        """Learn from lists and their users' earlier ones, in this order.

        Parameters
        ----------
        laid
            The lists, M items in all.
        x, eta
            (M, d) traits and (M,) log-odds but for the lists' intercepts.
        taken
            (N,) what was taken of the lists themselves.
        """
        y = laid.taken.copy()
        y[laid.now] = taken
        r, w = residuals(eta, y, laid.number)
        sizes = np.bincount(laid.number)
        # to centre r in its list is the same as to centre x, in a product
        centred = r - (np.bincount(laid.number, r) / sizes)[laid.number]
        own, before = _gradients(laid, centred[:, None] * x)
        own_x = x[laid.now]
        own_x = own_x - np.repeat(means(own_x, laid.counts), laid.counts, axis=0)
        weighted = own_x * w[laid.now, None]
        pairs = 2 * (np.diff(laid.number[laid.begins], append=len(sizes)) - 1)
        if not self.lists:
            self.information, self.common = np.zeros((2, x.shape[1], x.shape[1]))
        ends = np.cumsum(laid.counts)
        first = 0
        while first < len(laid):
            last = min(len(laid), first + EVERY - self.lists % EVERY)
            some = slice(int(ends[first] - laid.counts[first]), int(ends[last - 1]))
            self.information += weighted[some].T @ own_x[some]
            pair = own[first:last].T @ before[first:last]
            self.common += pair + pair.T
            self.pairs += int(pairs[first:last].sum())
            self.lists += last - first
            if self.lists >= START and self.lists % EVERY == 0:
                self.directions = self._strongest()
            first = last

    def state(self) -> Arrays:
        """Return what was learned."""
        none = np.zeros((len(self.information), 0))
        return {
            "information": self.information,
            "common": self.common,
            "counts": np.array([self.lists, self.pairs]),
            "directions": none if self.directions is None else self.directions,
        }

    def restore(self, arrays: Arrays) -> None:
        """Continue from a checkpoint."""
        self.information, self.common = arrays["information"], arrays["common"]
        self.lists, self.pairs = (int(count) for count in arrays["counts"])
        self.directions = arrays["directions"] if arrays["directions"].shape[1] else None

    def _strongest(self) -> F64:
        """Return ``L``: with ``A = H H``, the strongest of ``H^-1 (mean g g') H^-1``."""
        a = self.information / self.lists
        a = a + np.eye(len(a)) * (1e-3 * np.trace(a) / len(a))
        value, axes = np.linalg.eigh(a)
        inverse = (axes / np.sqrt(value)) @ axes.T
        value, axes = np.linalg.eigh(inverse @ (self.common / (self.pairs + SHRINK)) @ inverse)
        strongest: F64 = axes[:, -RANK:] * np.sqrt(np.maximum(value[-RANK:], 1e-6))
        directions: F64 = inverse @ strongest
        return directions


def _gradients(laid: Laid, terms: F64) -> tuple[F64, F64]:
    """Return the sums of (M, d) over each list, and over what was shown before it: (L, d) each."""
    part = 2 * np.repeat(np.arange(len(laid)), laid.ends - laid.begins) + ~laid.now
    begins = np.flatnonzero(np.diff(part, prepend=-1))
    sums = np.zeros((2 * len(laid), terms.shape[1]))
    sums[part[begins]] = np.add.reduceat(terms, begins)
    return sums[::2], sums[1::2]
