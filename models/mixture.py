"""A learned mixture of the sources: the chance of each item if one source, drawn by lot, chose.

The blend's linear terms multiply the sources' odds; the mixture adds their
chances, which is right where one source alone knows. Its shares are learned
by online expectation maximisation on the positives (Cappe and Moulines 2009,
doi:10.1111/j.1467-9868.2009.00698.x).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mixture"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

FADE: Final = 0.9998
"""Per positive: the last 5,000 count."""

START: Final = 2.0
LARGEST: Final = 4000.0


class Mixture:
    """Shares of S sources, and of pure chance, by segment.

    Parameters
    ----------
    sources, segments
        S and G.

    Examples
    --------
    >>> mixture = Mixture(sources=2, segments=1)
    >>> lift = np.array([[8.0, 0.0]] * 50, dtype=np.float32)
    >>> mixture.learn(lift, np.zeros(50, dtype=np.int32))
    >>> [round(float(share), 1) for share in mixture.shares[0]]
    [0.9, 0.0, 0.1]
    """

    def __init__(self, sources: int, segments: int) -> None:
        self._mass = np.full((segments, sources + 1), START)

    @property
    def shares(self) -> F64:
        """(G, S + 1) shares of the sources and of pure chance; rows sum to 1."""
        return np.asarray(self._mass / self._mass.sum(axis=1, keepdims=True))

    def lift(self, lift: F32, segment: I32) -> F32:
        """Return how much more likely than by pure chance the mixture holds M pairs: (M,).

        Parameters
        ----------
        lift
            (M, S) the same by each source: its share of all scores x N.
        segment
            (M,) segments.
        """
        shares = self.shares.astype(np.float32)
        # by all segments' shares: cheaper than to lay each pair's own beside it
        mixed = np.minimum(lift, np.float32(LARGEST)) @ shares[:, :-1].T + shares[:, -1]
        return np.asarray(mixed[np.arange(len(mixed)), segment])

    def responsible(self, lift: F32, segment: I32) -> F32:
        """Return each source's part in the mixture, and pure chance's: (M, S + 1)."""
        shares = self.shares[segment]
        parts = np.column_stack([np.minimum(lift, LARGEST), np.ones(len(lift))]) * shares
        return np.asarray(parts / parts.sum(axis=1, keepdims=True), dtype=np.float32)

    def learn(self, lift: F32, segment: I32) -> None:
        """Learn from items that were taken, in order: (n, S) lifts and (n,) segments."""
        chances = np.column_stack([np.minimum(lift, LARGEST), np.ones(len(lift))])
        for group in np.unique(segment).tolist():
            for chance in chances[segment == group]:
                mass = self._mass[group]
                responsible = mass * chance
                mass *= FADE
                mass += responsible / responsible.sum()

    def state(self) -> F64:
        """Return what a checkpoint needs: (G, S + 1)."""
        return self._mass

    def restore(self, mass: F64) -> None:
        """Continue from a checkpoint.

        Raises
        ------
        ValueError
            It is of other sources or segments.
        """
        self._mass = mass.reshape(self._mass.shape)
