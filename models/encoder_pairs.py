"""What the text encoder learns from: what users had taken, and what each took next.

The past of a question is pooled as the source ``content`` pools it, a decayed
mean of the last items' centred vectors, so that what is trained is what is
served. A window of interactions one after another gives a question at each of
its places, and each of its items is a past, a next one and a negative in turn;
so a step encodes little more than one text for a question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.interactions import Interactions, windows

__all__ = ["DECAY", "PAST", "Pairs", "pairs_of", "shuffled", "weights_back"]

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

PAST: Final = 5
"""Last items that make the past."""

DECAY: Final = 0.6
"""Weight of each further one; both are those of the source ``content``."""

MOST_ALIKE: Final = 10
"""Questions that the first of several interactions of one time counts for, at the most."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Q questions: what was known, and what was taken next.

    Attributes
    ----------
    past
        (Q, PAST) items taken, latest first, -1 for none.
    weight
        (Q, PAST) how much each of them counts, 0 for none.
    query
        (Q,) which query was in force, -1 for none.
    target
        (Q,) the item taken next; none of the past.
    share
        (Q,) how much a question counts.
    user
        (Q,) whose it is.
    """

    past: I64
    weight: F32
    query: I64
    target: I64
    share: F32
    user: I64

    def __len__(self) -> int:
        return len(self.target)

    def at(self, rows: NDArray[np.integer]) -> Pairs:
        """Return some of them, in another order if you like."""
        return Pairs(**{name: getattr(self, name)[rows] for name in self.__slots__})


def weights_back(items: NDArray[np.integer], liked: Bools) -> F32:
    """Return the weight of each item of a past, (Q, PAST) latest first."""
    decayed = DECAY ** np.arange(items.shape[1])
    return np.where((items >= 0) & liked, decayed, 0).astype(np.float32)


def pairs_of(
    data: Interactions,
    wanted: Bools,
    known: Bools,
    length: int,
    rng: np.random.Generator | None = None,
) -> list[Pairs]:
    """Return the questions, those of a window together.

    Parameters
    ----------
    data
        The interactions.
    wanted
        (E,) which of them may be what was taken next.
    known
        (N,) which items have a text.
    length
        Interactions of a window.
    rng
        Draws where windows begin; without it they are fixed.
    """
    cut = windows(data, length, wanted, rng, MOST_ALIKE)
    found = []
    for at, after, share in zip(cut.at, cut.after, cut.share, strict=True):
        places = np.flatnonzero(share)
        # Column k is the k-th interaction back, within the window.
        back = places[:, None] - np.arange(PAST)
        place = np.where(back >= 0, at[np.maximum(back, 0)], -1)
        item = np.where(place >= 0, data.item[place], -1).astype(np.int64)
        liked = (place >= 0) & (data.weight[place] > 0) & known[item]
        target = data.item[after[places]].astype(np.int64)
        weight = weights_back(item, liked)
        new = ~(item == target[:, None]).any(axis=1)
        good = np.flatnonzero(known[target] & weight.any(axis=1) & new)
        if not len(good):
            continue
        query, user = data.query[after[places]], data.user[after[places]]
        one = Pairs(
            item,
            weight,
            query.astype(np.int64),
            target,
            share[places].astype(np.float32),
            user.astype(np.int64),
        )
        found.append(one.at(good))
    return found


def shuffled(groups: list[Pairs], size: int, most: int, rng: np.random.Generator) -> list[Pairs]:
    """Return batches of ``size`` windows in a random order, ``most`` questions in all."""
    order, batches, left = rng.permutation(len(groups)), [], most
    for first in range(0, len(order), size):
        chosen = [groups[row] for row in order[first : first + size]]
        batch = _joined(chosen)
        batch = batch.at(np.arange(min(left, len(batch))))
        batches.append(batch)
        left -= len(batch)
        if left <= 0:
            break
    return batches


def _joined(parts: list[Pairs]) -> Pairs:
    return Pairs(
        **{name: np.concatenate([getattr(one, name) for one in parts]) for name in Pairs.__slots__}
    )
