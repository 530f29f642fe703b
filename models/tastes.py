"""What one user likes beyond what everybody likes: a Gaussian process over his shown items.

Of each item ``j`` that he was shown lately, ``r_j = y_j - p_j`` is what his
choice says beyond the items' strength and his own rate, and
``W_j = p_j (1 - p_j)`` how much it says (:func:`models.strength.residuals`).
One Newton step of the Laplace approximation (Rasmussen and Williams, *Gaussian
Processes for Machine Learning*, 2006, section 3.4) gives the log-odds of the
items ``i`` in question:

    ``taste_i = K_ij (K_jj + diag(1 / W_j))^-1 (r_j / W_j)``

    ``K = TEXT max(cos_content - FLOOR, 0) / (1 - FLOOR) + TOKENS cos_tokens
    + NUMBERS exp(-|z_i - z_j|^2 / 2 LENGTH^2) + SAME [i = j] + LEARNED B_i . B_j``

where ``B`` are directions in which users were found to differ
(:class:`Differences`). The state of a user holds what happened, never a
learned number: ``r`` and ``W`` are computed when they are asked for.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.shown import ShownBefore
from models.arrays import Arrays
from models.item_space import Described
from models.strength import POSITION, residuals

__all__ = ["Differences", "log_odds", "taste_of", "traits"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

TEXT: Final = 0.45
FLOOR: Final = 0.15
TOKENS: Final = 1.35
NUMBERS: Final = 0.22
LENGTH: Final = 1.5
SAME: Final = 0.75
LEARNED: Final = 0.7

LEAST: Final = 0.03
"""Least information of a shown item: one that was sure to be left says little."""

RANK: Final = 6
"""Directions in which users differ."""

START: Final = 600
"""Lists before the directions are taken from their moments."""

EVERY: Final = 200
"""Lists between two looks at the moments."""

SHRINK: Final = 300.0
"""Pairs of lists without any common taste that the moments are averaged with."""


def taste_of(shown: int, items: Described, f: F64, before: ShownBefore, b: F64 | None) -> F64:
    """Return what a user's earlier choices say of the items shown now.

    Parameters
    ----------
    shown
        How many items n are shown now.
    items
        These n, then the J of ``before``.
    f
        (n + J,) strengths.
    before
        What he was shown before.
    b
        (n + J, R) the learned directions; None for none.

    Returns
    -------
    taste
        (n,) log-odds.
    """
    if not len(before):
        return np.zeros(shown)
    r, w = residuals_before(f[shown:], before)
    w = np.maximum(w, LEAST)
    k = kernel(items, shown)
    if b is not None:
        k += LEARNED * (b @ b[shown:].T)
    inner = k[shown:]
    inner[np.diag_indices(len(w))] += 1 / w
    taste: F64 = k[:shown] @ np.linalg.solve(inner, r / w)
    return taste


def residuals_before(f: F64, before: ShownBefore) -> tuple[F64, F64]:
    """Return what each of the items shown before says beyond its strength: (J,) r and W."""
    return residuals(log_odds(f, before.positions), before.taken, before.lists)


def log_odds(f: F64, positions: I32) -> F64:
    """Return the log-odds of n shown items, but for their lists' intercepts."""
    return f + POSITION * np.log1p(positions)


def kernel(items: Described, first: int) -> F64:
    """Return the prior covariance of a taste for all n items with that for items ``first`` on.

    Returns
    -------
    k
        (n, n - first).
    """
    vectors, z = items.vectors, items.z
    k = (vectors @ vectors[first:].T).astype(np.float64)
    k = (TEXT / (1 - FLOOR)) * np.maximum(k - FLOOR, 0)
    k += TOKENS * _common_tokens(items, first)
    squares = (z * z).sum(axis=1)
    distance = squares[:, None] + squares[None, first:] - 2 * (z @ z[first:].T)
    k += NUMBERS * np.exp(distance / (-2 * LENGTH**2))
    k += SAME * (items.rows[:, None] == items.rows[None, first:])
    return k


def _common_tokens(items: Described, first: int) -> F32:
    """Return the cosine of all n items' weighted words with those of items ``first`` on."""
    n = len(items.rows)
    _, word, count = np.unique(items.value, return_inverse=True, return_counts=True)
    # a word counts where it stands in one of the others and not once alone, which most do:
    # so the table does not grow with the square of what is shown now
    shared = np.zeros(len(count), dtype=np.bool_)
    shared[word[items.at >= first]] = True
    shared &= count > 1
    place = np.cumsum(shared) - 1
    kept = shared[word]
    table = np.zeros((n, max(1, int(shared.sum()))), dtype=np.float32)
    table[items.at[kept], place[word[kept]]] = items.weight[kept]
    common: F32 = table @ table[first:].T
    common[np.arange(first, n), np.arange(n - first)] = 1
    return common


def traits(items: Described, f: F64, positions: I32) -> F64:
    """Return what users may differ in: (n, d) ``[z, p, f, place]``."""
    place = (np.log1p(positions) - 2) / 0.8
    return np.column_stack([items.linear, f, place])


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

    def of(self, items: Described, f: F64, positions: I32) -> F64 | None:
        """Return how far n items lie along each direction: (n, RANK)."""
        if self.directions is None:
            return None
        along: F64 = traits(items, f, positions) @ self.directions
        return along

    def learn(self, x: F64, taken: NDArray[np.bool_], eta: F64, before: ShownBefore) -> None:
        """Learn from one list and its user's earlier ones.

        Parameters
        ----------
        x, eta
            (n + J, d) traits and (n + J,) log-odds but for the list's intercept, of
            the list's n items and then of the J of ``before``.
        taken
            (n,) what was taken of the list.
        before
            What the user was shown before it.
        """
        n, count = len(taken), int(before.lists.max(initial=-1)) + 1
        lists = np.concatenate([np.zeros(n, np.int32), before.lists + 1])
        r, w = residuals(eta, np.concatenate([taken, before.taken]), lists)
        x = x - _means(x, lists)[lists]
        if not self.lists:
            self.information, self.common = np.zeros((2, x.shape[1], x.shape[1]))
        self.information += (x[:n] * w[:n, None]).T @ x[:n]
        self.lists += 1
        if count:
            pair = np.outer(r[:n] @ x[:n], r[n:] @ x[n:])
            self.common += pair + pair.T
            self.pairs += 2 * count
        if self.lists >= START and self.lists % EVERY == 0:
            self.directions = self._strongest()

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


def _means(x: F64, lists: I32) -> F64:
    """Return the mean of each list's rows."""
    member = (lists == np.arange(lists[-1] + 1)[:, None]).astype(np.float64)
    means: F64 = (member @ x) / member.sum(axis=1, keepdims=True)
    return means
