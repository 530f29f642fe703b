"""From scored candidates to the list: best first, diverse at the top, room for the new."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.pairs import Pairs
from models.topk import best_first

__all__ = ["best_of_each", "diversify", "give_slots", "log_sums"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

DIVERSE_SLOTS: Final = 20
"""Places at the top of the list that MMR fills; further down the score decides alone."""

DIVERSE_POOL: Final = 50
"""Best candidates that MMR chooses from."""


def best_of_each(pairs: Pairs, scores: NDArray[np.floating], n_rows: int, n: int) -> I32:
    """Return where each question's n best pairs stand among them.

    Parameters
    ----------
    pairs
        M pairs, ordered by question.
    scores
        (M,) more is better; equal ones, to seven digits, go as they stand.
    n_rows
        Number of questions B.
    n
        Length of the lists.

    Returns
    -------
    place
        (B, n) places in ``pairs``, best first; -1 where there are fewer.
    """
    counts = np.bincount(pairs.row, minlength=n_rows)
    place = np.full((n_rows, n), -1, dtype=np.int32)
    order = best_first(_padded(pairs, scores, n_rows).astype(np.float32))[:, :n]
    start = (np.cumsum(counts) - counts)[:, None]
    place[:, : order.shape[1]] = np.where(order < counts[:, None], start + order, -1)
    return place


def log_sums(pairs: Pairs, scores: NDArray[np.floating], n_rows: int) -> NDArray[np.float64]:
    """Return each question's ``log sum exp`` of its pairs' scores, -inf where it has none.

    Examples
    --------
    >>> pairs = Pairs(np.array([0, 0, 1], np.int32), np.array([3, 4, 3], np.int32))
    >>> log_sums(pairs, np.log([1.0, 2.0, 5.0]), 3).round(3).tolist()
    [1.099, 1.609, -inf]
    """
    table = _padded(pairs, scores, n_rows)
    most = table.max(axis=1, keepdims=True)
    most[~np.isfinite(most)] = 0
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(table - most).sum(axis=1)) + most[:, 0])


def _padded(pairs: Pairs, scores: NDArray[np.floating], n_rows: int) -> NDArray[np.float64]:
    """Return scores by question, -inf beyond its last pair: (B, the most of any)."""
    counts = np.bincount(pairs.row, minlength=n_rows)
    within = np.arange(len(pairs)) - (np.cumsum(counts) - counts)[pairs.row]
    table = np.full((n_rows, int(counts.max(initial=1))), -np.inf)
    table[pairs.row, within] = scores
    return table


def diversify(item: I32, scores: F32, vectors: F32, strength: float) -> I32:
    """Reorder the top of each list by maximal marginal relevance.

    Source: Carbonell and Goldstein 1998, doi:10.1145/290941.291025. Relevance
    is the score scaled to 0..1 within the pool; likeness is the cosine.

    Parameters
    ----------
    item, scores
        (B, n) lists, best first, -1 beyond their end, and their scores.
    vectors
        (N, dim) unit rows or zero.
    strength
        0 keeps the order by score, 1 looks at likeness alone.

    Returns
    -------
    order
        (B, n) places in the old lists.
    """
    n_rows, n = item.shape
    order = np.tile(np.arange(n, dtype=np.int32), (n_rows, 1))
    pool, slots = min(n, DIVERSE_POOL), min(n, DIVERSE_SLOTS)
    if strength <= 0 or n_rows == 0 or pool < 2:
        return order
    there = item[:, :pool] >= 0
    content = vectors[np.maximum(item[:, :pool], 0)]
    alike = content @ content.transpose(0, 2, 1)
    value = (1 - strength) * _scaled(scores[:, :pool], there)
    value[~there] = -np.inf
    nearest = np.zeros_like(value)
    rows = np.arange(n_rows)
    chosen = np.empty((n_rows, slots), dtype=np.int32)
    for slot in range(slots):
        at = np.argmax(value - strength * nearest, axis=1)
        chosen[:, slot] = at
        value[rows, at] = -np.inf
        np.maximum(nearest, alike[rows, at], out=nearest)
    _lead_with(order, chosen, there)
    return order


def _scaled(scores: F32, there: NDArray[np.bool_]) -> F32:
    low = np.where(there, scores, np.inf).min(axis=1, keepdims=True)
    high = np.where(there, scores, -np.inf).max(axis=1, keepdims=True)
    span = np.where(np.isfinite(high - low) & (high > low), high - low, 1)
    scaled: F32 = np.where(there, (scores - np.where(np.isfinite(low), low, 0)) / span, 0)
    return scaled.astype(np.float32)


def _lead_with(order: I32, chosen: I32, there: NDArray[np.bool_]) -> None:
    """Put the chosen places first and keep the others in their order, row by row at once."""
    n_rows, n = order.shape
    slots = chosen.shape[1]
    full = there.sum(axis=1) >= slots
    first = np.full((n_rows, n), slots, dtype=np.int32)
    np.put_along_axis(first, chosen, np.arange(slots, dtype=np.int32)[None, :], axis=1)
    reordered = np.argsort(first, axis=1, kind="stable").astype(np.int32)
    order[full] = reordered[full]


def give_slots(item: I32, fresh: I32, slots: int, length: int) -> I32:
    """Return the places of lists cut to ``length`` whose last ``slots`` go to new items.

    Parameters
    ----------
    item
        (B, n) lists, best first.
    fresh
        (B, k) the new items that could be shown, best first, -1 beyond the end.
    slots, length
        How many places of a list of this length explore.

    Returns
    -------
    explored
        (B, slots) new items that are not in the list; -1 where a place stays as it
        is, for want of one, because it has a new item already or lies beyond the end.
    """
    n_rows = len(item)
    explored = np.full((n_rows, slots), -1, dtype=np.int32)
    if slots == 0 or fresh.shape[1] == 0:
        return explored
    same = fresh[:, :, None] == item[:, None, :length]
    listed = same.any(axis=2) | (fresh < 0)
    order = np.argsort(listed, axis=1, kind="stable")[:, :slots]
    found = np.full((n_rows, slots), -1, dtype=np.int32)
    found[:, : order.shape[1]] = np.where(
        np.take_along_axis(listed, order, axis=1), -1, np.take_along_axis(fresh, order, axis=1)
    )
    free = (item[:, length - slots : length] >= 0) & ~same[:, :, length - slots :].any(axis=1)
    turn = np.maximum(np.cumsum(free, axis=1) - 1, 0)
    explored[free] = np.take_along_axis(found, turn, axis=1)[free]
    return explored
