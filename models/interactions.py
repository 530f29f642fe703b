"""What the Transformer learns from: users' interactions as columns, and windows of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.contexts import QUERY_LIFE_MS
from features.parts.base import Rules
from stream.events import Delete, Event, Identify, Interaction, Search, partition_key

__all__ = ["Interactions", "Recorder", "Windows", "windows"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

_ROW: Final = np.dtype(
    [
        ("user", np.int32),
        ("item", np.int32),
        ("time", np.int64),
        ("weight", np.float32),
        ("bought", np.bool_),
        ("value", np.float32),
        ("query", np.int32),
    ]
)

MOST_ALIKE: Final = 10
"""Predictions that the first of several interactions of one time counts for, at the most."""


@dataclass(frozen=True, slots=True)
class Interactions:
    """E interactions, ordered by user, and each user's by time.

    Attributes
    ----------
    user, item
        (E,) number of the user, row of the item.
    time
        (E,) epoch milliseconds.
    weight
        (E,) weight of the type, negative for negative roles.
    bought
        (E,) whether the type's name says that it is a purchase.
    value
        (E,) the event's value, NaN where it has none.
    query
        (E,) which of ``queries`` was in force then, -1 for none.
    queries
        Texts.
    """

    user: I32
    item: I32
    time: I64
    weight: F32
    bought: NDArray[np.bool_]
    value: F32
    query: I32
    queries: list[str]

    def __len__(self) -> int:
        return len(self.user)


class Recorder:
    """Collects a stream's interactions, event by event.

    Parameters
    ----------
    row_of
        Gives an item its row.
    rules
        What the types of interactions mean.
    """

    def __init__(self, row_of: Callable[[str], int], rules: Rules) -> None:
        self._row_of, self._rules = row_of, rules
        self._users: dict[str, int] = {}
        self._rows: list[tuple[int, int, int, float, bool, float, int]] = []
        self._queries: dict[str, int] = {}
        self._asked: dict[int, tuple[int, int]] = {}
        self._gone: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, event: Event) -> None:
        """Take note of an event; of what is no interaction only what it says of others."""
        if isinstance(event, Interaction):
            self._add(event)
        elif isinstance(event, Search):
            query = self._queries.setdefault(event.query, len(self._queries))
            self._asked[self._user(event)] = (query, int(event.timestamp))
        elif isinstance(event, Delete) and event.user is not None:
            self._gone[self._user(event)] = len(self._rows)
        elif isinstance(event, Identify):
            self._users[event.anonymous] = self._users.setdefault(event.user, len(self._users))

    def _user(self, event: Event) -> int:
        return self._users.setdefault(partition_key(event), len(self._users))

    def _add(self, event: Interaction) -> None:
        user, time = self._user(event), int(event.timestamp)
        sign, weight = self._rules.role(event)
        query, asked = self._asked.get(user, (-1, 0))
        fresh = query if time - asked <= QUERY_LIFE_MS else -1
        value = np.nan if event.value is None else float(event.value)
        bought = "purchase" in event.type
        row = self._row_of(event.item)
        self._rows.append((user, row, time, sign * weight, bought, value, fresh))

    def columns(self) -> Interactions:
        """Return all that was noted, without what users did who are forgotten."""
        rows = np.array(self._rows, dtype=_ROW)
        user, time = rows["user"], rows["time"]
        gone = np.zeros(len(self._users) + 1, dtype=np.int64)
        for one, until in self._gone.items():
            gone[one] = until
        kept = np.flatnonzero(np.arange(len(rows)) >= gone[user])
        rows = rows[kept[np.lexsort((kept, time[kept], user[kept]))]]
        columns = {name: np.ascontiguousarray(rows[name]) for name in rows.dtype.names or ()}
        return Interactions(**columns, queries=list(self._queries))


@dataclass(frozen=True, slots=True)
class Windows:
    """W windows of L interactions and what followed each of them.

    Attributes
    ----------
    at
        (W, L) places in the columns, -1 for padding at the end.
    after
        (W, L) place of the interaction that followed, -1 for padding.
    share
        (W, L) how much the prediction of what followed counts; 0 where it does not.
    """

    at: I32
    after: I32
    share: F32

    def __len__(self) -> int:
        return len(self.at)


def windows(
    data: Interactions,
    length: int,
    wanted: NDArray[np.bool_],
    rng: np.random.Generator | None = None,
) -> Windows:
    """Cut users' interactions into windows, so that each is predicted once.

    The first of n interactions of one time is predicted from earlier times alone, and so
    would be the others, had they come first: one of them, drawn with ``rng``, stands for
    all, and counts n times, up to :data:`MOST_ALIKE`.

    Parameters
    ----------
    data
        The columns.
    length
        L.
    wanted
        (E,) which interactions are to be predicted.
    rng
        Draws which that is, and where the windows begin; without it both are fixed.
    """
    n, user = len(data), data.user
    begins = np.flatnonzero(np.r_[True, user[1:] != user[:-1]]) if n else np.zeros(0, np.int64)
    counts = np.diff(np.r_[begins, n])
    place = np.arange(n) - np.repeat(begins, counts)
    offset = rng.integers(0, length, len(begins)) if rng is not None else np.zeros(len(begins))
    # Windows end with a user's last prediction: the latest have the longest past.
    steps = np.repeat(counts - 2 + offset.astype(np.int64), counts) - place
    inputs = np.flatnonzero(place < np.repeat(counts - 1, counts)).astype(np.int32)
    if not len(inputs):
        empty = np.zeros((0, length), np.int32)
        return Windows(empty, empty, empty.astype(np.float32))
    window = np.cumsum(np.r_[True, _changes(user[inputs], steps[inputs] // length)]) - 1
    first = np.flatnonzero(np.r_[True, window[1:] != window[:-1]])
    column = np.arange(len(inputs)) - first[window]
    shape = (int(window[-1]) + 1, length)
    at, after = np.full(shape, -1, np.int32), np.full(shape, -1, np.int32)
    share = np.zeros(shape, np.float32)
    target, shares = _targets(data, rng)
    followed = target[inputs + 1]
    at[window, column], after[window, column] = inputs, followed
    share[window, column] = shares[inputs + 1] * wanted[followed]
    useful = share.any(axis=1)
    return Windows(at[useful], after[useful], share[useful])


def _changes(*columns: NDArray[np.integer]) -> NDArray[np.bool_]:
    changed = [column[1:] != column[:-1] for column in columns]
    return np.asarray(np.logical_or.reduce(changed), dtype=np.bool_)


def _targets(data: Interactions, rng: np.random.Generator | None) -> tuple[I32, F32]:
    """Return what stands for each interaction as a target, and how much it counts: (E,)."""
    n = len(data)
    starts = np.flatnonzero(np.r_[True, _changes(data.user, data.time)])
    sizes = np.diff(np.r_[starts, n])
    target = np.arange(n, dtype=np.int32)
    if rng is not None:
        target[starts] += rng.integers(0, sizes).astype(np.int32)
    share = np.ones(n, dtype=np.float32)
    share[starts] = np.minimum(sizes, MOST_ALIKE)
    return target, share
