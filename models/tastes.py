"""What one user likes beyond what everybody likes: a Gaussian process over his shown items.

Of each item ``j`` that he was shown lately, ``r_j = y_j - p_j`` is what his
choice says beyond the items' strength and his own rate, and
``W_j = p_j (1 - p_j)`` how much it says (:func:`models.strength.residuals`).
One Newton step of the Laplace approximation (Rasmussen and Williams, *Gaussian
Processes for Machine Learning*, 2006, section 3.4) gives the log-odds of the
items ``i`` in question, ``K`` being the prior of :mod:`models.kernel`:

    ``taste_i = K_ij (K_jj + diag(1 / W_j))^-1 (r_j / W_j)``

The state of a user holds what happened, never a learned number: ``r`` and
``W`` are computed when they are asked for. Lists are reckoned with some at a
time, those of which much the same was shown before together, each made as long
as the longest of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.content import Vectors
from models.cholesky import solve_lower
from models.described import Described
from models.kernel import Kernel
from models.laid import Laid
from models.strength import log_odds, residuals

__all__ = ["Tastes", "tastes_of"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

LEAST: Final = 0.03
"""Least information of a shown item: one that was sure to be left says little."""

NOTHING: Final = 1e-15
"""Information of what fills up a shorter list."""

CELLS: Final = 1536
"""Items that are compared at once, or one list, if it has more."""


@dataclass(frozen=True, slots=True)
class Tastes:
    """What users' earlier choices say of N items shown now, list by list.

    Attributes
    ----------
    taste
        (N,) log-odds.
    retaken, reignored
        (N,) how often the item was shown to the user before and taken, and not.
    """

    taste: F64
    retaken: F64
    reignored: F64


def tastes_of(laid: Laid, items: Described, f: F64, vectors: Vectors, along: F64 | None) -> Tastes:
    """Return what users' earlier choices say of the items shown now.

    Parameters
    ----------
    laid
        The lists, M items in all.
    items, f
        The U different ones, and their strengths (U,).
    vectors
        Content vectors by catalogue row.
    along
        (M, R) the learned directions; None for none.
    """
    n = int(laid.counts.sum())
    found = Tastes(np.zeros(n), np.zeros(n), np.zeros(n))
    r, w = residuals(log_odds(f[laid.places], laid.positions), laid.taken, laid.number)
    w = np.maximum(w, LEAST)
    # the kernel counts words by their numbers: without the many that are in no item here
    items = replace(items, value=np.unique(items.value, return_inverse=True)[1])
    into = np.cumsum(laid.now) - 1
    for lists in _alike(laid):
        begins, counts = laid.begins[lists], laid.counts[lists]
        now, real = _padded(begins, counts)
        before, known = _padded(begins + counts, laid.ends[lists] - begins - counts)
        at = np.concatenate([now, before], axis=1)
        some = None if along is None else along[at]
        kernel = Kernel(laid.places[at], now.shape[1], items, vectors, some)
        information = np.where(known, w[before], NOTHING)
        taste = _posterior(kernel, np.where(known, r[before], 0), information)
        taken = laid.taken[before]
        choices = np.stack([known & taken, known & ~taken], axis=2).astype(np.float32)
        again = kernel.same().astype(np.float32) @ choices
        place = into[now[real]]
        found.taste[place] = taste[real]
        found.retaken[place], found.reignored[place] = again[real].T
    return found


def _posterior(kernel: Kernel, r: F64, w: F64) -> F64:
    """Return the mean of the items' tastes (G, n), given (G, J) what others said, and how much."""
    inner, said = kernel.within(), r / w
    diagonal = np.arange(r.shape[1])
    inner[:, diagonal, diagonal] += 1 / w
    weights = np.stack([solve_lower(k, y) for k, y in zip(inner, said, strict=True)])
    taste: F64 = (kernel.across() @ weights[:, :, None])[:, :, 0]
    return taste


def _alike(laid: Laid) -> Iterator[I64]:
    """Yield lists whose users were shown something before, those of like length together."""
    before = laid.ends - laid.begins - laid.counts
    order = np.lexsort((laid.counts, before))
    order = order[before[order] > 0]
    some: list[int] = []
    width = 0
    for at, n, j in zip(
        order.tolist(), laid.counts[order].tolist(), before[order].tolist(), strict=True
    ):
        wider = max(width, n + j)
        if some and (len(some) + 1) * wider > CELLS:
            yield np.array(some)
            some, wider = [], n + j
        some.append(at)
        width = wider
    if some:
        yield np.array(some)


def _padded(begins: I64, counts: I64) -> tuple[I64, NDArray[np.bool_]]:
    """Return the places of what stands in G rows, (G, most), and whether each is any."""
    step = np.arange(counts.max())
    there = step < counts[:, None]
    return begins[:, None] + np.where(there, step, 0), there
