"""Random numbers that are a pure function of where they are drawn.

Whether an event is learned from, and against which negatives, depends on the
seed and on its place in the log alone: a replay draws what the live run drew.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["chance", "draws"]

U64 = NDArray[np.uint64]

GOLD: Final = 0x9E3779B97F4A7C15
WORD: Final = (1 << 64) - 1


def _mix(values: U64) -> U64:
    """Scramble 64-bit words by splitmix64 (Steele et al. 2014, doi:10.1145/2660193.2660195)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def draws(seed: int, places: NDArray[np.int64], n: int) -> U64:
    """Return (len(places), n) words for places (partition, offset): (m, 2).

    Examples
    --------
    >>> where = np.array([[0, 7], [1, 7]])
    >>> bool((draws(1, where, 3) == draws(1, where, 3)).all())
    True
    >>> len(np.unique(draws(1, where, 3)))
    6
    """
    gold = np.uint64(GOLD)
    with np.errstate(over="ignore"):
        start = _mix(np.uint64(seed) + gold * (places[:, 0].astype(np.uint64) + np.uint64(1)))
        start = _mix(start + gold * (places[:, 1].astype(np.uint64) + np.uint64(1)))
        return _mix(start[:, None] + gold * np.arange(1, n + 1, dtype=np.uint64))


def chance(seed: int, place: tuple[int, int]) -> float:
    """Return a number in [0, 1) for one place (partition, offset).

    Examples
    --------
    >>> 0.48 < sum(chance(3, (0, offset)) for offset in range(2000)) / 2000 < 0.52
    True
    """
    word = seed
    for part in place:
        word = _mix_one(word + GOLD * (part + 1))
    return (word >> 11) / (1 << 53)


def _mix_one(word: int) -> int:
    """Scramble one word as :func:`_mix` does many; for one, plain integers are quicker."""
    word &= WORD
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & WORD
    return word ^ (word >> 31)
