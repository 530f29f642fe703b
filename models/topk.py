"""Exact top-k of many rows at once, by sorting whole numbers.

A score and its place make one 64-bit key: the bits of a float above zero rise
with it, and equal scores go by place. Sorting such keys is what processors do
best, and no ties are left to chance.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_first", "top_k"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
U64 = NDArray[np.uint64]

GROUP: Final = 16
"""Scores that share one maximum in the first stage."""

WIDE: Final = 3000
"""Scores of a row from which on two stages cost less than one."""

SMALLEST: Final = np.nextafter(np.float32(0), np.float32(1))
"""Of all scores above zero."""

LOW: Final = np.uint64(0xFFFF_FFFF)
SIGN: Final = np.uint32(0x8000_0000)


def top_k(scores: F32, k: int) -> I32:
    """Return the places of the k largest positive scores of each row, largest first.

    Where rows are long, the k-th largest of the maxima of small groups is at most
    the k-th largest score, so everything at or above it holds the top k; that is
    little, and is sorted.

    Parameters
    ----------
    scores
        (rows, N); zero and below never count.
    k
        At most this many; equal scores go by place.

    Returns
    -------
    places
        (rows, k) int32, -1 beyond the last positive score.

    Examples
    --------
    >>> top_k(np.array([[0.1, 0.0, 0.3, 0.3]], np.float32), 4)
    array([[ 2,  3,  0, -1]], dtype=int32)
    """
    n_rows, n = scores.shape
    groups = n // GROUP
    if n < WIDE or groups <= k:
        return _places(np.maximum(scores, 0), k)
    largest = scores[:, : groups * GROUP].reshape(n_rows, GROUP, groups).max(axis=1)
    least = np.partition(largest, groups - k, axis=1)[:, groups - k]
    least = np.maximum(least, SMALLEST)
    flat = np.flatnonzero(scores >= least[:, None])
    row, place = np.divmod(flat, n)
    counts = np.bincount(row, minlength=n_rows)
    start = np.cumsum(counts) - counts
    few = np.zeros((n_rows, int(counts.max(initial=1))), dtype=np.float32)
    few[row, np.arange(len(row)) - start[row]] = scores.reshape(-1)[flat]
    best = _places(few, k)
    if not len(place):
        return best
    at = start[:, None] + np.maximum(best, 0)
    return np.where(best >= 0, place[np.minimum(at, len(place) - 1)], -1).astype(np.int32)


def _places(scores: F32, k: int) -> I32:
    """Return the top k of rows without negative scores."""
    # a zero below zero, as maximum() leaves it, would look large: added to 0 it is one above
    keys = _keys(np.uint32(0xFFFF_FFFF) - (scores + np.float32(0)).view(np.uint32))
    if keys.shape[1] > 4 * k:
        keys.partition(k - 1, axis=1)
        keys = keys[:, :k]
    keys.sort(axis=1)
    keys = keys[:, :k]
    places = np.full((len(scores), k), -1, dtype=np.int32)
    found = (keys & LOW).astype(np.int32)
    found[keys >> np.uint64(32) == LOW] = -1
    places[:, : found.shape[1]] = found
    return places


def best_first(scores: F32) -> I32:
    """Return the places of each row's scores, largest first; equal ones go by place.

    Parameters
    ----------
    scores
        (rows, n), of any sign.

    Examples
    --------
    >>> best_first(np.array([[-2.0, 0.5, -1.0, 0.5]], np.float32))
    array([[1, 3, 2, 0]], dtype=int32)
    """
    bits = (scores + np.float32(0)).view(np.uint32)
    rising = np.where(bits & SIGN, ~bits, bits | SIGN)
    keys = _keys(~rising)
    keys.sort(axis=1)
    return (keys & LOW).astype(np.int32)


def _keys(falling: NDArray[np.uint32]) -> U64:
    """Return keys whose order is that of whole numbers, and then of their places."""
    keys = falling.astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= np.arange(falling.shape[1], dtype=np.uint64)
    return keys
