"""An item's statistics: what follows it, how often it was shown and taken, by time.

The fold is exact and does not depend on the order in which rows of different
partitions arrive, up to ``neighbours.capacity`` successors; beyond that the
faintest are dropped, and which these are may depend on the order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

from features.card import AsOf
from features.parts.base import DAY_MS
from models.activity import Activity
from models.exact import decayed_unit, epoch_of, rebase, term
from stream.settings import NeighboursSettings

__all__ = [
    "HALF_LIVES_MS",
    "ItemState",
    "ItemView",
    "decode_item_state",
    "encode_item_state",
    "fold_rows",
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
    rows: tuple[list[int], list[int]],
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
    source = str(record.source)
    seen = state.seen.get(source, -1)
    followed = [row for row in rows[0] if record.follow_offset[row] > seen]
    counted = [row for row in rows[1] if record.count_offset[row] > seen]
    _follow(state, record, followed, int(settings.half_life_days * DAY_MS))
    for row in counted:
        _count(state, record.name[row], record.count[row], record.count_time[row])
    told = [record.follow_offset[row] for row in followed]
    told += [record.count_offset[row] for row in counted]
    state.seen[source] = max(told, default=seen)
    _drop_old(state)
    if len(state.next) > settings.capacity * 5 // 4:
        state.next = dict(_strongest(state.next, settings.capacity))


def _follow(state: ItemState, record: Activity, rows: list[int], half_life: int) -> None:
    """Add rows of what followed: the inner loop of `neighbours`, several of them an event."""
    times, items, weights = record.follow_time, record.items, record.weight
    followers, following, landmark = record.follower, state.next, state.landmark
    for row in rows:
        time = times[row]
        epoch, quarter = epoch_of(time, half_life)
        landmark = rebase(following, landmark, epoch)
        follower = items[followers[row]]
        gain = term(weights[row], epoch, quarter, landmark)
        following[follower] = following.get(follower, 0.0) + gain
    state.landmark = landmark
    state.newest = max(state.newest, max((times[row] for row in rows), default=0))


def _count(state: ItemState, name: str, count: int, time: int) -> None:
    state.totals[name] = state.totals.get(name, 0) + count
    state.newest = max(state.newest, time)
    if name == "taken":
        for buckets, width in ((state.hours, HOUR_MS), (state.days, DAY_MS)):
            bucket = str(time // width)
            buckets[bucket] = buckets.get(bucket, 0) + count


def _drop_old(state: ItemState) -> None:
    """Drop buckets out of the window before the newest event, whichever came first."""
    for buckets, width, kept in (
        (state.hours, HOUR_MS, KEPT_HOURS),
        (state.days, DAY_MS, KEPT_DAYS),
    ):
        oldest = state.newest // width - kept
        for old in [bucket for bucket in buckets if int(bucket) <= oldest]:
            del buckets[old]


def view(state: ItemState, settings: NeighboursSettings) -> ItemView:
    """Return what readers get of this state: trimmed, decayed to its newest event."""
    half_life = int(settings.half_life_days * DAY_MS)
    unit = decayed_unit(64, state.newest, half_life, state.landmark)
    return ItemView(
        as_of=state.as_of,
        item=state.item,
        time=state.newest,
        next=[(item, weight / unit) for item, weight in _strongest(state.next, settings.served)],
        popularity={name: _decayed(state, life) for name, life in HALF_LIVES_MS.items()},
        shown=state.totals.get("shown", 0),
        clicked=state.totals.get("clicked", 0),
        taken=state.totals.get("taken", 0),
    )


def _strongest(weights: Mapping[str, float], n: int) -> list[tuple[str, float]]:
    """Return the n pairs of the largest weights, largest first, then by name."""
    pairs: Iterable[tuple[str, float]] = weights.items()
    if len(weights) > n:
        values = np.fromiter(weights.values(), np.float64, len(weights))
        least = np.partition(values, -n)[-n]
        pairs = [pair for pair in pairs if pair[1] >= least]
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:n]


def _decayed(state: ItemState, half_life_ms: int) -> float:
    """Sum the buckets, each decayed from its middle to the newest event.

    Hours serve the half-lives of a day and less; days the longer ones. Buckets
    are summed oldest first, so that equal counts give equal bytes.
    """
    hourly = half_life_ms <= DAY_MS
    buckets, width = (state.hours, HOUR_MS) if hourly else (state.days, DAY_MS)
    newest = state.newest
    ages = {name: max(0.0, newest - int(name) * width - width / 2) for name in buckets}
    return sum(
        buckets[name] * math.pow(2.0, -ages[name] / half_life_ms)
        for name in sorted(buckets, key=int)
    )
