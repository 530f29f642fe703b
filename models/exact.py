"""Decayed sums that do not depend on the order of their terms.

Item statistics are fed from several partitions whose records interleave
differently in every run, and floating-point addition is not associative. So
time decay goes in steps of a quarter half-life and every term is a whole
number times a power of two: sums of such terms are exact in a double as long
as the terms span fewer than 53 bits, hence equal in any order (about 20
half-lives between the oldest and the newest term of one sum; beyond that the
oldest terms have faded to a millionth).
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["BLOCK", "QUARTERS", "decayed_unit", "epoch_of", "rebase"]

QUARTERS: Final = (16, 19, 23, 27)
"""16 * 2**(k/4) for k = 0..3, to the nearest whole number."""

BLOCK: Final = 512
"""Epochs (half-lives) between two landmarks."""


def epoch_of(time_ms: int, half_life_ms: int) -> tuple[int, int]:
    """Return (epoch, quarter): whole half-lives since 1970, and quarters beyond.

    Examples
    --------
    >>> epoch_of(1_750, 1_000)
    (1, 3)
    """
    quarters = 4 * time_ms // half_life_ms
    return quarters // 4, quarters % 4


def decayed_unit(weight: int, time_ms: int, half_life_ms: int, landmark: int) -> float:
    """Return a term's exact value relative to ``landmark`` (an epoch).

    Examples
    --------
    >>> decayed_unit(3, 2_000, 1_000, 0) == 4 * decayed_unit(3, 0, 1_000, 0)
    True
    """
    epoch, quarter = epoch_of(time_ms, half_life_ms)
    return math.ldexp(weight * QUARTERS[quarter], epoch - landmark)


def rebase(values: dict[str, float], landmark: int, epoch: int) -> int:
    """Move all values to the landmark that ``epoch`` calls for; return the landmark.

    Multiplication by a power of two is exact; what has faded below the
    smallest double is dropped.
    """
    wanted = max(landmark, epoch // BLOCK * BLOCK)
    if wanted != landmark:
        for name, value in list(values.items()):
            values[name] = math.ldexp(value, landmark - wanted)
            if values[name] == 0.0:
                del values[name]
    return wanted
