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
from models.item_space import Described
from models.strength import POSITION, residuals

__all__ = ["Differences", "taste_of"]

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
    eta = f + POSITION * np.log1p(before.positions)
    return residuals(eta, before.taken, before.lists)


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
    # a word that stands once among them can be common to nothing: most do
    shared = count > 1
    place = np.cumsum(shared) - 1
    kept = shared[word]
    table = np.zeros((n, max(1, int(shared.sum()))), dtype=np.float32)
    table[items.at[kept], place[word[kept]]] = items.weight[kept]
    common: F32 = table @ table[first:].T
    common[np.arange(first, n), np.arange(n - first)] = 1
    return common


def psi(items: Described, f: F64, positions: I32) -> F64:
    """Return what users may differ in: (n, d) numbers, content, strength and place."""
    place = (np.log1p(positions) - 2) / 0.8
    return np.column_stack([items.z, items.p, f, place])
