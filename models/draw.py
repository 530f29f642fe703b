"""Random numbers that are a pure function of where they are drawn.

Whether an event is learned from depends on the seed and on its place in the
log alone: a replay draws what the live run drew.
"""

from __future__ import annotations

from typing import Final

__all__ = ["chance"]

GOLD: Final = 0x9E3779B97F4A7C15
WORD: Final = (1 << 64) - 1


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
    """Scramble a 64-bit word by splitmix64 (Steele et al. 2014, doi:10.1145/2660193.2660195)."""
    word &= WORD
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & WORD
    return word ^ (word >> 31)
