"""What the Transformer learns from: users' interactions as columns, and windows of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.contexts import QUERY_LIFE_MS
from features.parts.base import Rules
from features.parts.pace import MINUTE_MS
from stream.events import (
    Delete,
    Event,
    Identify,
    Interaction,
    Ranking,
    Search,
    partition_key,
)
from stream.settings import Settings

__all__ = ["Interactions", "Recorder", "Windows", "recorder_for", "windows"]

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

_NEVER: Final = (-1, -1)
"""When and what was asked by somebody who has not searched yet."""


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

    def until(self, time_ms: int) -> Interactions:
        """Return those up to a time."""
        kept = self.time <= time_ms
        columns = {name: getattr(self, name)[kept] for name in _ROW.names or ()}
        return Interactions(**columns, queries=self.queries)


class Recorder:
    """Collects a stream's interactions, event by event.

    Parameters
    ----------
    row_of
        Gives an item its row.
    rules
        What the types of interactions mean.
    most
        Interactions of a user in a minute that count, as of a person; 0 counts all.
    """

    def __init__(self, row_of: Callable[[str], int], rules: Rules, *, most: int = 0) -> None:
        self._row_of, self._rules, self._most = row_of, rules, most
        self._users: dict[str, int] = {}
        self._rows: list[tuple[int, int, int, float, bool, float, int]] = []
        self._queries: dict[str, int] = {}
        self._asked: dict[int, tuple[int, int]] = {}
        self._into: dict[int, int] = {}
        self._same: dict[int, list[int]] = {}
        self._gone: dict[int, int] = {}
        self._forgotten: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, event: Event) -> None:
        """Take note of an event; of what is no interaction only what it says of others."""
        if isinstance(event, Interaction):
            self._add(event)
        elif isinstance(event, Delete) and event.user is not None:
            self._forget(self._user(event.user), int(event.timestamp))
        elif isinstance(event, Identify):
            self._merge(self._user(event.anonymous), self._user(event.user))
        if text := _query_of(event):
            query = self._queries.setdefault(text, len(self._queries))
            user, asked = self._user(partition_key(event)), (int(event.timestamp), query)
            if asked[0] >= self._asked.get(user, _NEVER)[0]:
                self._asked[user] = asked

    def _user(self, name: str) -> int:
        """Return a user's number: that of whom he was found to be."""
        number = self._users.setdefault(name, len(self._users))
        return self._into.get(number, number)

    def _merge(self, visitor: int, user: int) -> None:
        if visitor == user:
            return
        for number in (visitor, *self._same.pop(visitor, ())):
            self._into[number] = user
            self._same.setdefault(user, []).append(number)
        asked = self._asked.pop(visitor, _NEVER)
        self._asked[user] = max(asked, self._asked.get(user, _NEVER))

    def _forget(self, user: int, time: int) -> None:
        self._forgotten[user] = time
        self._asked.pop(user, None)
        for number in (user, *self._same.get(user, ())):
            self._gone[number] = len(self._rows)

    def _add(self, event: Interaction) -> None:
        user, time = self._user(partition_key(event)), int(event.timestamp)
        if time <= self._forgotten.get(user, -1):
            return
        sign, weight = self._rules.role(event)
        asked, query = self._asked.get(user, _NEVER)
        fresh = query if 0 <= time - asked <= QUERY_LIFE_MS else -1
        value = np.nan if event.value is None else float(event.value)
        bought = "purchase" in event.type
        row = self._row_of(event.item)
        self._rows.append((user, row, time, sign * weight, bought, value, fresh))

    def columns(self) -> Interactions:
        """Return all that was noted, without users who are forgotten, and robots' haste."""
        rows = np.array(self._rows, dtype=_ROW)
        user, time = rows["user"], rows["time"]
        gone = np.zeros(len(self._users) + 1, dtype=np.int64)
        for one, until in self._gone.items():
            gone[one] = until
        kept = np.flatnonzero(np.arange(len(rows)) >= gone[user])
        into = np.arange(len(gone), dtype=np.int32)
        into[list(self._into)] = list(self._into.values())
        rows["user"] = into[user]
        rows = rows[kept[np.lexsort((kept, time[kept], user[kept]))]]
        if self._most:
            rows = rows[_place_in_minute(rows["user"], rows["time"]) < self._most]
        columns = {name: np.ascontiguousarray(rows[name]) for name in rows.dtype.names or ()}
        return Interactions(**columns, queries=list(self._queries))


def recorder_for(settings: Settings, row_of: Callable[[str], int]) -> Recorder:
    """Return a recorder by the settings."""
    rules = Rules(settings.session, settings.interactions)
    return Recorder(row_of, rules, most=settings.limits.user_events_per_minute)


def _place_in_minute(user: I32, time: I64) -> I64:
    """Return how many interactions of the same user and minute come before each: (E,)."""
    minute, number = time // MINUTE_MS, np.arange(len(user))
    begins = np.ones(len(user), dtype=bool)
    begins[1:] = (user[1:] != user[:-1]) | (minute[1:] != minute[:-1])
    return number - np.maximum.accumulate(np.where(begins, number, 0))


def _query_of(event: Event) -> str:
    """Return what was searched for: also lists and interactions may tell, as in states."""
    if isinstance(event, Search):
        return event.query
    if not isinstance(event, Ranking | Interaction):
        return ""
    return next((str(f.value) for f in event.fields if f.name == "query" and f.value), "")


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
    alike: int = 1,
) -> Windows:
    """Cut users' interactions into windows, so that each is predicted once.

    The first of n interactions of one time is predicted from earlier times alone, and so
    would be the others, had they come first: one of them, drawn with ``rng``, stands for
    all, and counts n times, up to ``alike``.

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
    alike
        More of it teaches what begins a visit, at the cost of what goes on in it.
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
    target, shares = _targets(data, rng, alike)
    followed = target[inputs + 1]
    at[window, column], after[window, column] = inputs, followed
    share[window, column] = shares[inputs + 1] * wanted[followed]
    useful = share.any(axis=1)
    return Windows(at[useful], after[useful], share[useful])


def _changes(*columns: NDArray[np.integer]) -> NDArray[np.bool_]:
    changed = [column[1:] != column[:-1] for column in columns]
    return np.asarray(np.logical_or.reduce(changed), dtype=np.bool_)


def _targets(data: Interactions, rng: np.random.Generator | None, alike: int) -> tuple[I32, F32]:
    """Return what stands for each interaction as a target, and how much it counts: (E,)."""
    n = len(data)
    starts = np.flatnonzero(np.r_[True, _changes(data.user, data.time)])
    sizes = np.diff(np.r_[starts, n])
    target = np.arange(n, dtype=np.int32)
    if rng is not None:
        target[starts] += rng.integers(0, sizes).astype(np.int32)
    share = np.ones(n, dtype=np.float32)
    share[starts] = np.minimum(sizes, alike)
    return target, share
