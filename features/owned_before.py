"""What users owned before they took something: what those learn from who count repeats."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain, pairwise

import numpy as np
from numpy.typing import NDArray

from features.contexts import ItemIndex, Kept, joined, taken_before
from features.session import Session

__all__ = ["Entry", "owned_before", "owned_of"]

I64 = NDArray[np.int64]

Entry = tuple[int, int, float, int]
"""Item row, count, days since the last time, visits since."""


def owned_of(session: Session, index: ItemIndex) -> Kept:
    """Return what a user has taken, as it stands in his state."""
    items = session.owned.items
    facts = np.fromiter(chain.from_iterable(items.values()), np.int64, 6 * len(items))
    return Kept(index.rows_of(items), facts)


def owned_before(kept: Sequence[Kept], now: I64, visit: I64) -> list[list[Entry]]:
    """Return what each of n users took in visits before his present one, and in that alone.

    An item taken in earlier visits and again in this one counts as it did
    before this visit began.

    Parameters
    ----------
    kept
        From :func:`owned_of`.
    now, visit
        (n,) when and in which visit.
    """
    row, item, facts = joined(kept)
    columns = (item, *taken_before(facts, now[row], visit[row]))
    entries = list(zip(*(column.tolist() for column in columns), strict=True))
    ends = list(accumulate((len(one.rows) for one in kept), initial=0))
    return [entries[begin:end] for begin, end in pairwise(ends)]
