"""How alike the tastes for two items are before anything is known of a user: a Gaussian's prior.

    ``K = TEXT max(cos_content - FLOOR, 0) / (1 - FLOOR) + TOKENS cos_tokens
    + NUMBERS exp(-|z_i - z_j|^2 / 2 LENGTH^2) + SAME [i = j] + LEARNED B_i . B_j``

where ``B`` are directions in which users were found to differ
(:class:`models.differences.Differences`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.content import Vectors
from models.described import Described

__all__ = ["Kernel", "words_in_common"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

TEXT: Final = 0.45
FLOOR: Final = 0.15
TOKENS: Final = 1.35
NUMBERS: Final = 0.22
LENGTH: Final = 1.5
SAME: Final = 0.75
LEARNED: Final = 0.7

STEP: Final = 16
"""Rows that are reckoned at once of a matrix of which the lower half is wanted."""


class Kernel:
    """The covariances within each of G sets of m items.

    Parameters
    ----------
    places
        (G, m) which of the items each set has.
    first
        Place of the first item in a set of those that all others are compared with.
    items
        The items.
    vectors
        Content vectors by catalogue row.
    along
        (G, m, R) how far the items lie along each direction; None for none.
    """

    def __init__(
        self, places: I64, first: int, items: Described, vectors: Vectors, along: F64 | None
    ) -> None:
        self._first = first
        self._rows = items.rows[places]
        self._vectors = vectors[self._rows]
        self._z = items.z[places]
        self._squares = np.einsum("gmq,gmq->gm", self._z, self._z)
        words = words_in_common(items, places, first)
        alone = words[:, first:]
        # an item is wholly like itself, also by the words that no other has
        self._rest = TOKENS * (1 - np.einsum("gjw,gjw->gj", alone, alone, dtype=np.float64))
        words *= np.float32(np.sqrt(TOKENS))
        if along is not None:
            more = (np.sqrt(LEARNED) * along).astype(np.float32)
            words = np.concatenate([words, more], axis=2)
        self._words = words

    def across(self) -> F64:
        """Return K between the items before ``first`` and those from it on: (G, first, J)."""
        m = self._rows.shape[1]
        return self._between(slice(0, self._first), slice(self._first, m))

    def within(self) -> F64:
        """Return K among the items from ``first`` on, its lower half: (G, J, J)."""
        first, (sets, m) = self._first, self._rows.shape
        k = np.zeros((sets, m - first, m - first))
        for begin in range(0, m - first, STEP):
            end = min(begin + STEP, m - first)
            some = slice(first + begin, first + end)
            k[:, begin:end, :end] = self._between(some, slice(first, first + end))
        diagonal = np.arange(m - first)
        k[:, diagonal, diagonal] += self._rest
        return k

    def same(self) -> NDArray[np.bool_]:
        """Return which of the items before ``first`` are which from it on: (G, first, J)."""
        rows: NDArray[np.bool_] = (
            self._rows[:, : self._first, None] == self._rows[:, None, self._first :]
        )
        return rows

    def _between(self, some: slice, others: slice) -> F64:
        alike = self._vectors[:, some] @ self._vectors[:, others].transpose(0, 2, 1)
        alike -= np.float32(FLOOR)
        np.maximum(alike, 0, out=alike)
        alike *= np.float32(TEXT / (1 - FLOOR))
        alike += self._words[:, some] @ self._words[:, others].transpose(0, 2, 1)
        k: F64 = self._z[:, some] @ self._z[:, others].transpose(0, 2, 1)
        k *= -2
        k += self._squares[:, some, None]
        k += self._squares[:, None, others]
        k *= -1 / (2 * LENGTH**2)
        np.exp(k, out=k)
        k *= NUMBERS
        k += alike
        k[self._rows[:, some, None] == self._rows[:, None, others]] += SAME
        return k


def words_in_common(items: Described, places: I64, first: int) -> F32:
    """Return the weighted words that items share with items of their set from ``first`` on.

    The others have no part in any product: so the table does not grow with the square of what
    is shown now, most words of which stand in one item alone. Words are best numbered without
    great gaps.

    Returns
    -------
    table
        (G, m, W) weights.
    """
    sets, m = places.shape
    at, source = items.tokens_of(places.ravel())
    group, at = np.divmod(at, m)
    width = int(items.value.max(initial=-1)) + 1
    key = group * width + items.value[source]
    count = np.bincount(key, minlength=sets * width)
    shared = np.zeros(sets * width, dtype=np.bool_)
    shared[key[at >= first]] = True
    shared &= count > 1
    column = np.cumsum(shared.reshape(sets, width), axis=1) - 1
    table = np.zeros((sets, m, int(column[:, -1:].max(initial=-1)) + 1), dtype=np.float32)
    kept = shared[key]
    table[group[kept], at[kept], column.ravel()[key[kept]]] = items.weight[source[kept]]
    return table
