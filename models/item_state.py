"""An item's statistics: what follows it, how often it was shown and taken, by time.

The fold is exact and does not depend on the order in which rows of different
partitions arrive, up to ``neighbours.capacity`` successors; beyond that the
faintest are dropped, and which these are may depend on the order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

from features.card import AsOf
from features.parts.base import DAY_MS
from models.activity import Activity, ItemRows
from models.exact import QUARTERS, decayed_unit, rebase
from stream.settings import NeighboursSettings

__all__ = [
    "HALF_LIVES_MS",
    "HOUR_MS",
    "Buckets",
    "ItemState",
    "ItemView",
    "buckets_of",
    "decode_item_state",
    "encode_item_state",
    "fold_rows",
    "popularity_of",
    "strongest",
    "tidy",
    "unit_of",
    "view",
]

HOUR_MS: Final = 3_600_000
KEPT_HOURS: Final = 48
KEPT_DAYS: Final = 60

HALF_LIVES_MS: Final = {
    "hour": 3 * HOUR_MS,
    "day": DAY_MS,
    "week": 7 * DAY_MS,
    "month": 30 * DAY_MS,
}
"""The decayed popularities kept of every item, by name."""

_HOUR, _DAY, _WEEK, _MONTH = map(float, HALF_LIVES_MS.values())


Buckets = tuple[list[tuple[float, int]], list[tuple[float, int]]]
"""Hours and days, each with its middle in epoch milliseconds, and the positives in it."""


class ItemState(Struct, omit_defaults=True):
    """Everything `neighbours` remembers of one item; one value in Redis.

    Attributes
    ----------
    as_of
        Stamp on the transitions topic.
    seen
        Partition of the events topic (as text) to the last offset counted.
    landmark, next
        Successor to its exact decayed weight relative to the landmark epoch.
    hours, days
        Positives by hour and by day since the epoch (as text).
    totals
        ``taken``, ``shown`` and ``clicked`` over all time.
    newest
        Latest event time seen, epoch milliseconds.
    """

    as_of: AsOf
    item: str
    seen: dict[str, int] = {}
    landmark: int = 0
    next: dict[str, float] = {}
    hours: dict[str, int] = {}
    days: dict[str, int] = {}
    totals: dict[str, int] = {}
    newest: int = 0


class ItemView(Struct):
    """What readers get of an item: the strongest successors and the counts.

    Attributes
    ----------
    next
        [item, weight] pairs, strongest first; weights are relative to ``time``.
    popularity
        Decayed positives at ``time`` by half-life (hour: 3 h, day, week: 7 d, month: 30 d).
    shown, clicked, taken
        Times in a list, positives on a list, positives in all.
    """

    as_of: AsOf
    item: str
    time: int
    next: list[tuple[str, float]]
    popularity: dict[str, float]
    shown: int
    clicked: int
    taken: int


_DECODER: Final = msgspec.json.Decoder(ItemState)
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


def decode_item_state(raw: bytes) -> ItemState:
    """Read a state record; raises msgspec.ValidationError where it is none."""
    return _DECODER.decode(raw)


def encode_item_state(state: ItemState) -> bytes:
    """Write a state record with its maps in key order: equal states, equal bytes."""
    return _ENCODER.encode(state)


def fold_rows(
    state: ItemState,
    record: Activity,
    rows: ItemRows,
    settings: NeighboursSettings,
) -> None:
    """Add one record's rows on this item, leaving out those counted before.

    Parameters
    ----------
    state
        Changed in place.
    record, rows
        The record, and the indices of its follow rows and count rows on this item.
    settings
        Half-life and capacity.
    """
    source, newest, taken = str(record.source), state.newest, False
    last = seen = state.seen.get(source, -1)
    if rows[0]:
        half_life = int(settings.half_life_days * DAY_MS)
        last = _follow(state, record, rows[0], seen, half_life)
    if rows[1]:
        counted, taken = _count(state, record, rows[1], seen)
        last = max(last, counted)
    state.seen[source] = last
    tidy(state, newest, settings, taken=taken)


def tidy(state: ItemState, before: int, settings: NeighboursSettings, *, taken: bool) -> None:
    """Drop what is too old or too faint to be kept, once rows are added.

    Parameters
    ----------
    state
        Changed in place.
    before
        Its newest event before they were.
    settings
        The capacity.
    taken
        Whether any of them was taken.
    """
    # Nothing puts a bucket out of the window but a later newest event, and what is taken.
    if taken or state.newest // HOUR_MS != before // HOUR_MS:
        _drop_old(state.hours, state.newest // HOUR_MS - KEPT_HOURS)
        _drop_old(state.days, state.newest // DAY_MS - KEPT_DAYS)
    if len(state.next) > settings.capacity * 5 // 4:
        state.next = dict(strongest(state.next, settings.capacity))


def _follow(
    state: ItemState, record: Activity, rows: Sequence[int], seen: int, half_life: int
) -> int:
    """Add rows of what followed, of later offsets than ``seen``; return the last of all.

    The inner loop of `neighbours`, several rows an event.
    """
    offsets, times, items, weights = (
        record.follow_offset,
        record.follow_time,
        record.items,
        record.weight,
    )
    followers, following, landmark = record.follower, state.next, state.landmark
    last, newest, quarters, epoch, factor = seen, state.newest, -1, 0, 0
    for row in rows:
        if (offset := offsets[row]) <= seen:
            continue
        if offset > last:
            last = offset
        if (time := times[row]) > newest:
            newest = time
        if (present := 4 * time // half_life) != quarters:
            quarters = present
            epoch, factor = quarters // 4, QUARTERS[quarters % 4]
            landmark = rebase(following, landmark, epoch)
        follower = items[followers[row]]
        gain = math.ldexp(weights[row] * factor, epoch - landmark)
        following[follower] = following.get(follower, 0.0) + gain
    state.landmark, state.newest = landmark, newest
    return last


def _count(state: ItemState, record: Activity, rows: Sequence[int], seen: int) -> tuple[int, bool]:
    """Add rows of what was counted, of later offsets than ``seen``.

    Returns
    -------
    tuple[int, bool]
        The last offset of all, and whether any was taken.
    """
    offsets, names, counts, times = (
        record.count_offset,
        record.name,
        record.count,
        record.count_time,
    )
    last, totals, newest, taken = seen, state.totals, state.newest, False
    for row in rows:
        if (offset := offsets[row]) <= seen:
            continue
        if offset > last:
            last = offset
        name, count, time = names[row], counts[row], times[row]
        totals[name] = totals.get(name, 0) + count
        if time > newest:
            newest = time
        if name == "taken":
            taken = True
            for buckets, width in ((state.hours, HOUR_MS), (state.days, DAY_MS)):
                bucket = str(time // width)
                buckets[bucket] = buckets.get(bucket, 0) + count
    state.newest = newest
    return last, taken


def _drop_old(buckets: dict[str, int], oldest: int) -> None:
    """Drop buckets out of the window, of this number and before."""
    if buckets and min(map(int, buckets)) <= oldest:
        for old in [bucket for bucket in buckets if int(bucket) <= oldest]:
            del buckets[old]


def view(state: ItemState, settings: NeighboursSettings) -> ItemView:
    """Return what readers get of this state: trimmed, decayed to its newest event."""
    unit = unit_of(state, settings)
    return ItemView(
        as_of=state.as_of,
        item=state.item,
        time=state.newest,
        next=[(item, weight / unit) for item, weight in strongest(state.next, settings.served)],
        popularity=popularity_of(buckets_of(state), state.newest),
        shown=state.totals.get("shown", 0),
        clicked=state.totals.get("clicked", 0),
        taken=state.totals.get("taken", 0),
    )


def unit_of(state: ItemState, settings: NeighboursSettings) -> float:
    """Return what a weight of 1 at the newest event is, relative to the landmark."""
    half_life = int(settings.half_life_days * DAY_MS)
    return decayed_unit(64, state.newest, half_life, state.landmark)


def strongest(weights: Mapping[str, float], n: int) -> list[tuple[str, float]]:
    """Return the n pairs of the largest weights, largest first, then by name."""
    if len(weights) <= n:
        pairs = sorted([(-weight, name) for name, weight in weights.items()])
    else:
        values = np.fromiter(weights.values(), np.float64, len(weights))
        found = np.flatnonzero(values >= np.partition(values, -n)[-n])
        names = list(weights)
        pairs = sorted(
            zip((-values[found]).tolist(), [names[at] for at in found.tolist()], strict=True)
        )
    return [(name, -weight) for weight, name in pairs[:n]]


def buckets_of(state: ItemState) -> Buckets:
    """Return the positives by hour and by day, oldest first."""
    return _ordered(state.hours, HOUR_MS), _ordered(state.days, DAY_MS)


def _ordered(buckets: Mapping[str, int], width: int) -> list[tuple[float, int]]:
    half = width / 2
    return sorted([(int(name) * width + half, count) for name, count in buckets.items()])


def popularity_of(buckets: Buckets, newest: int) -> dict[str, float]:
    """Return the decayed positives at the newest event, by name of the half-life.

    Hours serve the half-lives of a day and less; days the longer ones. Each bucket is decayed
    from its middle to the newest event; they are summed oldest first, so that equal counts give
    equal bytes. A sum of nothing is written without a point.
    """
    hours, days = buckets
    hour = day = 0.0 if hours else 0
    for middle, count in hours:
        past = middle - newest if middle < newest else 0.0
        hour += count * 2.0 ** (past / _HOUR)
        day += count * 2.0 ** (past / _DAY)
    week = month = 0.0 if days else 0
    for middle, count in days:
        past = middle - newest if middle < newest else 0.0
        week += count * 2.0 ** (past / _WEEK)
        month += count * 2.0 ** (past / _MONTH)
    return {"hour": hour, "day": day, "week": week, "month": month}
