"""Whether a ratio that was measured again and again differs from one by more than chance."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["Judged", "interval", "judge"]

SURE: Final = 0.95


class Judged(NamedTuple):
    """The median of some ratios, bounds of it, and ``same``, ``better`` or ``worse``."""

    ratio: float
    low: float
    high: float
    verdict: str


def interval(values: Sequence[float], sure: float = SURE) -> tuple[float, float]:
    """Return two of the values between which the true median lies, with this confidence.

    Nothing is supposed about how values scatter: of n independent ones, i lie below the median
    with the chance of i heads among n tosses. Fewer than six allow no such confidence; the
    extremes are returned then.

    Examples
    --------
    >>> interval([5, 1, 4, 2, 3, 6])
    (1, 6)
    >>> interval([5, 1, 4, 2, 3, 6, 7, 8, 100])
    (2, 8)
    """
    ordered, n = sorted(values), len(values)
    outside, cut = 0.0, 0
    while cut < (n - 1) // 2:
        outside += 2 * math.comb(n, cut) / 2**n
        if 1 - outside - 2 * math.comb(n, cut + 1) / 2**n < sure:
            break
        cut += 1
    return ordered[cut], ordered[n - 1 - cut]


def judge(ratios: Sequence[float], least: float) -> Judged:
    """Judge ratios of head to base, of something of which less is better.

    Parameters
    ----------
    ratios
        One of each round.
    least
        A change of the median by less than this share is none, however sure it is.

    Examples
    --------
    >>> judge([1.1, 1.12, 1.09, 1.11, 1.1, 1.13], 0.03).verdict
    'worse'
    >>> judge([0.9, 1.3, 1.1, 1.05, 0.98, 1.2], 0.03).verdict
    'same'
    """
    low, high = interval(ratios)
    middle = statistics.median(ratios)
    worse, better = low > 1 and middle > 1 + least, high < 1 and middle < 1 - least
    return Judged(middle, low, high, "worse" if worse else "better" if better else "same")
