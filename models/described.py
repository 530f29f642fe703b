"""Items as numbers, one row each: what the learners that generalise from item to item read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Described"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Described:
    """n items as numbers; T tokens in all.

    Attributes
    ----------
    rows
        (n,) catalogue rows.
    phi
        (n, 2 Q + C) ``[z, z^2 - 1, p]``: standardised numbers, their squares, and components;
        0 where there is no number, or no vector.
    numbers
        Q.
    at, token, value
        (T,) item, never falling, number of its (field, word), and number of its word alone.
    weight
        (T,) weight of the word in its item: idf, of length 1 over the item.
    root
        (n,) square root of the number of the item's tokens, at least 1.
    """

    rows: I32
    phi: F64
    numbers: int
    at: I64
    token: I32
    value: I64
    weight: F32
    root: F64

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.rows)

    @property
    def z(self) -> F64:
        """(n, Q) standardised numbers, 0 where there is none."""
        return self.phi[:, : self.numbers]

    @property
    def p(self) -> F64:
        """(n, C) components, 0 where there is no vector."""
        return self.phi[:, 2 * self.numbers :]

    @property
    def linear(self) -> F64:
        """(n, Q + C) ``[z, p]``."""
        return np.concatenate([self.z, self.p], axis=1)

    def take(self, places: NDArray[np.integer]) -> Described:
        """Return the items at these places, (m,), in this order and as often as asked for."""
        at, source = self.tokens_of(places)
        return Described(
            rows=self.rows[places],
            phi=self.phi[places],
            numbers=self.numbers,
            at=at,
            token=self.token[source],
            value=self.value[source],
            weight=self.weight[source],
            root=self.root[places],
        )

    def tokens_of(self, places: NDArray[np.integer]) -> tuple[I64, I64]:
        """Return the tokens of the items at these places: place among them, and token, (T,)."""
        counts = np.bincount(self.at, minlength=len(self))
        taken = counts[places]
        at = np.repeat(np.arange(len(places)), taken)
        # where each item's tokens begin, here and there
        here, there = np.cumsum(taken) - taken, np.cumsum(counts) - counts
        return at, np.arange(len(at)) + (there[places] - here)[at]

    def split(self, ends: NDArray[np.integer]) -> list[Described]:
        """Return the items up to each of these ends, (k,), as a list of k parts; views."""
        tokens = np.searchsorted(self.at, ends).tolist()
        parts, first, begin = [], 0, 0
        for end, last in zip(ends.tolist(), tokens, strict=True):
            items, words = slice(first, end), slice(begin, last)
            part = Described(
                rows=self.rows[items],
                phi=self.phi[items],
                numbers=self.numbers,
                at=self.at[words] - first,
                token=self.token[words],
                value=self.value[words],
                weight=self.weight[words],
                root=self.root[items],
            )
            parts.append(part)
            first, begin = end, last
        return parts
