"""The user's own past (repeat consumption), and items that nobody knows yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.columns import Column
from features.contexts import Contexts
from features.parts.base import DAY_MS
from models.arrays import Arrays
from models.scores import Row, Scores, Sparse, silence
from models.sources.base import I64, Given, Positive, World

__all__ = ["Fresh", "Repeat"]

COUNTS: Final = np.array([2, 3, 5])
BACKS: Final = np.array([2, 3, 6, 11])
DAYS: Final = np.array([7.0, 21.0, 45.0, 120.0])
SHAPE: Final = (len(COUNTS) + 1, len(BACKS) + 1, len(DAYS) + 1)

PRIOR_CELL: Final = 20.0
"""Exposures by which a cell is drawn to the mean."""

PRIOR_ITEM: Final = 5.0
"""Expected hits by which an item's lift is drawn to 1."""


class Repeat:
    """How likely a user is to take an item again, learned from all users.

    At the beginning of every visit each item that the user owns is exposed
    once, and hit if he takes it in that visit. The chance is counted in cells
    of (visits in which he took it, visits since, days since), and each item
    has a lift over what its cells predict.

    Parameters
    ----------
    world
        Catalogue.
    """

    name = "repeat"

    def __init__(self, world: World) -> None:
        self._world = world
        self._exposed = np.zeros(SHAPE)
        self._hit = np.zeros(SHAPE)
        self._items = Column(np.float64, fill=0, width=2)

    def score(self, contexts: Contexts) -> Scores:
        """Return chance x lift for items owned before this visit."""
        owned = contexts.owned
        earlier = owned.back > 0
        row, item = owned.row[earlier], owned.item[earlier]
        if not len(row):
            return silence(len(contexts), len(self._world.catalogue))
        cells = _cells(owned.count[earlier], owned.back[earlier], owned.age[earlier])
        value = self._chance()[cells] * self._lift(item)
        return Sparse.of(row, item, value, (len(contexts), len(self._world.catalogue)))

    def _chance(self) -> NDArray[np.float64]:
        mean = (self._hit.sum() + 1) / (self._exposed.sum() + 20)
        return np.asarray((self._hit + PRIOR_CELL * mean) / (self._exposed + PRIOR_CELL))

    def _lift(self, item: NDArray[np.int32]) -> NDArray[np.float64]:
        self._items.grow(len(self._world.catalogue))
        hits, expected = self._items.rows[item].T
        return np.asarray((hits + PRIOR_ITEM) / (expected + PRIOR_ITEM))

    def learn(self, positives: Sequence[Positive]) -> None:
        """Count exposures at the beginning of visits, and hits."""
        exposed = [entry for positive in positives for entry in positive.exposed]
        self._items.grow(len(self._world.catalogue))
        if exposed:
            item, count, age, back = np.array(exposed, dtype=np.float64).T
            cells = _cells(count, back, age)
            np.add.at(self._items.rows, (item.astype(np.int64), 1), self._chance()[cells])
            np.add.at(self._exposed, cells, 1)
        hits = [positive.again for positive in positives if positive.again is not None]
        if hits:
            item, count, age, back = np.array(hits, dtype=np.float64).T
            np.add.at(self._items.rows, (item.astype(np.int64), 0), 1)
            np.add.at(self._hit, _cells(count, back, age), 1)

    def state(self) -> Arrays:
        """Return the counts, and those of the items that have any."""
        item = np.flatnonzero(self._items.rows.any(axis=1))
        counts = {"exposed": self._exposed, "hit": self._hit}
        return counts | {"item": item, "items": self._items.rows[item]}

    def restore(self, arrays: Arrays, rows: I64) -> None:
        """Continue from the counts of a checkpoint."""
        self._exposed = arrays["exposed"].reshape(SHAPE)
        self._hit = arrays["hit"].reshape(SHAPE)
        self._items.grow(len(self._world.catalogue))
        # of before it is those of all items
        self._items.rows[rows[arrays["item"]] if "item" in arrays else rows] = arrays["items"]


def _cells(
    count: NDArray[np.floating],
    back: NDArray[np.integer] | NDArray[np.floating],
    age: NDArray[np.floating],
) -> tuple[NDArray[np.intp], ...]:
    return np.digitize(count, COUNTS), np.digitize(back, BACKS), np.digitize(age, DAYS)


class Routine(Given):
    """What the user himself took after his last items, in earlier visits.

    Who buys the same things again often does so in the same order.

    Parameters
    ----------
    world
        Catalogue.
    """

    name = "routine"

    def __init__(self, world: World) -> None:
        self._world = world

    def score(self, contexts: Contexts) -> Scores:
        """Return the decayed counts of followers within their visits."""
        items, back = contexts.items, contexts.back
        taken = (items >= 0) & (contexts.weight > 0)
        found: list[NDArray[np.intp]] = []
        weights: list[NDArray[np.float64]] = []
        for recent in range(min(ROUTINE_LAST, items.shape[1])):
            same = (items == items[:, recent : recent + 1]) & taken & taken[:, recent, None]
            same &= back > back[:, recent, None]
            if not same.any():  # few take anything twice
                continue
            for ahead in range(1, ROUTINE_AHEAD + 1):
                row, place = np.nonzero(same[:, ahead:])
                follows = (back[row, place] == back[row, place + ahead]) & taken[row, place]
                found.append(np.stack([row, items[row, place]])[:, follows])
                weight = ROUTINE_DECAY ** (recent + ahead - 1)
                weights.append(np.full(found[-1].shape[1], weight))
        shape = (len(contexts), len(self._world.catalogue))
        if not found:
            return silence(*shape)
        row, item = np.concatenate(found, axis=1)
        return Sparse.of(row, item.astype(np.int32), np.concatenate(weights), shape)


ROUTINE_LAST: Final = 3
"""Last items whose earlier followers count."""

ROUTINE_AHEAD: Final = 3
"""How far ahead a follower may lie."""

ROUTINE_DECAY: Final = 0.5
"""Weight of each step further back or ahead."""


class Fresh(Given):
    """Items that appeared lately.

    Parameters
    ----------
    world
        Catalogue.
    half_life_days
        Age at which novelty counts half.
    """

    name = "new"

    def __init__(self, world: World, half_life_days: float = 2.0) -> None:
        self._world = world
        self._half_life = half_life_days
        self._seen, self._start = -1, 0
        self._recent, self._since = np.zeros(0, np.intp), 0

    def score(self, contexts: Contexts) -> Scores:
        """Return the novelty, 0 for items that were there at the start."""
        first, now = self._world.catalogue.first_seen, int(contexts.now.max())
        oldest = now - int(self._half_life * DAY_MS * HALF_LIVES)
        item = self._later(max(oldest, self._started()))
        age = np.maximum(now - first[item], 0) / DAY_MS
        value = np.exp2(-age / self._half_life).astype(np.float32)
        return Row(len(first), item.astype(np.int32), value)

    def _later(self, since: int) -> NDArray[np.intp]:
        """Return the items that were first seen after a time.

        As time goes on they become fewer: of all items they are looked for where a card changed.
        """
        first = self._world.catalogue.first_seen
        if not 0 <= self._since <= since:
            self._recent, self._since = np.flatnonzero(first > since), since
        return self._recent[first[self._recent] > since]

    def _started(self) -> int:
        """Return when the first item was seen; 0 where no time is known."""
        if self._seen != (version := self._world.catalogue.version):
            first = self._world.catalogue.first_seen
            known = first[first > 0]
            self._seen, self._start = version, int(known.min()) if len(known) else 0
            self._since = -1
        return self._start


HALF_LIVES: Final = 10
"""After so many an item counts no longer as new at all."""
