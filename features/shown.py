"""What a user was shown before, as arrays: taken out of his state at the moment of a question."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, chain

import numpy as np
from numpy.typing import NDArray

from features.contexts import ItemIndex
from features.session import Session

__all__ = ["ShownBefore", "shown_before"]


@dataclass(frozen=True, slots=True)
class ShownBefore:
    """The J items of a user's last shown lists, oldest list first.

    Attributes
    ----------
    rows
        (J,) item rows.
    positions
        (J,) place in its list as shown, from 0.
    taken
        (J,) whether it was taken.
    lists
        (J,) number of its list, from 0 without gaps, never falling.
    """

    rows: NDArray[np.int32]
    positions: NDArray[np.int32]
    taken: NDArray[np.bool_]
    lists: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.rows)


def shown_before(session: Session, index: ItemIndex, before: int | None = None) -> ShownBefore:
    """Return a user's last shown lists.

    Parameters
    ----------
    session
        His state before the list in question.
    index
        Gives items their rows (the catalogue).
    before
        Leave out lists shown at or after this time (epoch ms); None leaves out nothing.
    """
    kept = session.impressions
    places = [k for k, time in enumerate(kept.times) if before is None or time < before]
    counts = [len(kept.items[k]) for k in places]
    starts = list(accumulate(counts, initial=0))
    taken = np.zeros(starts[-1], dtype=np.bool_)
    taken[
        [start + at for start, k in zip(starts, places, strict=False) for at in kept.taken[k]]
    ] = True
    lists = np.repeat(np.arange(len(places), dtype=np.int32), counts)
    return ShownBefore(
        rows=index.rows_of(chain.from_iterable(kept.items[k] for k in places)).astype(np.int32),
        positions=np.arange(starts[-1], dtype=np.int32) - np.array(starts, np.int32)[lists],
        taken=taken,
        lists=lists,
    )
