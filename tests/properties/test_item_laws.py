"""Item statistics are the same whatever way the rows reach `neighbours`."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from random import Random
from typing import NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from features.card import AsOf
from models.activity import Activity, rows_by_item
from models.exact import decayed_unit, rebase
from models.item_state import (
    HOUR_MS,
    ItemState,
    decode_item_state,
    encode_item_state,
    fold_rows,
    view,
)
from models.kept_item import KeptItem
from stream.settings import NeighboursSettings
from tests.builders import DAY, NOON

SETTINGS = NeighboursSettings()
HALF_LIFE_DAYS = int(SETTINGS.half_life_days)
ITEMS = ["a", "b", "c", "d"]


class Fact(NamedTuple):
    """One row: a follower of item "a", or a count of it, at a place of the events topic."""

    source: int
    offset: int
    time: int
    follower: str | None
    weight: int
    name: str


def facts(source: int) -> st.SearchStrategy[list[Fact]]:
    """Return what one partition of the events topic says, in its order."""
    one = st.tuples(
        st.integers(NOON, NOON + 19 * HALF_LIFE_DAYS * DAY),
        st.sampled_from([None, *ITEMS[1:]]),
        st.integers(1, 255),
        st.sampled_from(["taken", "shown", "clicked"]),
    )
    return st.lists(one, max_size=8).map(
        lambda rows: [Fact(source, at, *row) for at, row in enumerate(rows)]
    )


def record(rows: list[Fact]) -> Activity:
    activity = Activity(source=rows[0].source, items=ITEMS)
    for row in rows:
        if row.follower is not None:
            activity.followed.append(0)
            activity.follower.append(ITEMS.index(row.follower))
            activity.weight.append(row.weight)
            activity.follow_time.append(row.time)
            activity.follow_offset.append(row.offset)
        else:
            activity.counted.append(0)
            activity.name.append(row.name)
            activity.count.append(1)
            activity.count_time.append(row.time)
            activity.count_offset.append(row.offset)
    return activity


def state_of(batches: list[list[Fact]]) -> ItemState:
    state = ItemState(AsOf(0, 0, 0), "a")
    for rows in batches:
        activity = record(rows)
        fold_rows(state, activity, rows_by_item(activity)["a"], SETTINGS)
    return state


def bytes_of(batches: list[list[Fact]]) -> tuple[bytes, bytes]:
    state = state_of(batches)
    public = view(state, SETTINGS)
    return encode_item_state(state), repr(public).encode()


partitions = st.tuples(facts(0), facts(1), facts(2)).filter(any)


@settings(max_examples=150)
@given(partitions, st.randoms(use_true_random=False))
def test_interleaving_of_partitions_does_not_matter(
    streams: tuple[list[Fact], ...], chance: Random
) -> None:
    whole = [stream for stream in streams if stream]
    dealt = list(streams)
    order: list[list[Fact]] = []
    turns = [source for source, stream in enumerate(streams) for _ in stream]
    chance.shuffle(turns)
    for source in turns:
        order.append([dealt[source][0]])
        dealt[source] = dealt[source][1:]
    assert bytes_of(order) == bytes_of(whole)


@settings(max_examples=150)
@given(facts(0).filter(bool), st.lists(st.integers(0, 8), max_size=5), st.integers(1, 4))
def test_rows_told_again_and_cut_differently_are_counted_once(
    stream: list[Fact], backs: list[int], step: int
) -> None:
    batches, reached = [], 0
    for back in [*backs, len(stream)]:
        start = min(back, reached)
        end = min(len(stream), reached + step) if back < len(stream) else len(stream)
        if start < end:
            batches.append(stream[start:end])
        reached = max(reached, end)
    assert bytes_of(batches) == bytes_of([stream])


@given(partitions)
def test_state_round_trips(streams: tuple[list[Fact], ...]) -> None:
    state = state_of([stream for stream in streams if stream])
    raw = encode_item_state(state)
    assert encode_item_state(decode_item_state(raw)) == raw


@settings(max_examples=150)
@given(partitions, st.integers(1, 4), st.lists(st.booleans(), min_size=24, max_size=24))
def test_what_is_kept_for_writing_is_what_the_state_is_written_as(
    streams: tuple[list[Fact], ...], served: int, written: list[bool]
) -> None:
    """Whenever it was written before, and whether what follows changed since or counts alone."""
    few = NeighboursSettings(served=served)
    kept, state = KeptItem(ItemState(AsOf(0, 0, 0), "a"), few), ItemState(AsOf(0, 0, 0), "a")
    for row, write in zip((row for stream in streams for row in stream), written, strict=False):
        activity = record([row])
        kept.fold(activity, rows_by_item(activity)["a"])
        fold_rows(state, activity, rows_by_item(activity)["a"], few)
        kept.state.as_of = state.as_of = AsOf(row.source, row.offset, row.time)
        if write:
            assert kept.encode() == encode_item_state(state)
            assert kept.encode_view() == msgspec.json.encode(view(state, few))
    assert kept.encode() == encode_item_state(state)
    assert kept.encode_view() == msgspec.json.encode(view(state, few))
    kept = KeptItem(decode_item_state(kept.encode()), few)
    assert kept.encode() == encode_item_state(state)
    assert kept.encode_view() == msgspec.json.encode(view(state, few))


@settings(max_examples=150)
@given(partitions)
def test_popularity_is_the_decayed_sum_over_buckets(streams: tuple[list[Fact], ...]) -> None:
    rows = [row for stream in streams for row in stream]
    shown = view(state_of([stream for stream in streams if stream]), SETTINGS)
    newest = max(row.time for row in rows)
    assert shown.time == newest
    taken = [row.time for row in rows if row.follower is None and row.name == "taken"]
    for name, life, width, kept in (
        ("hour", 3 * HOUR_MS, HOUR_MS, 48),
        ("day", DAY, HOUR_MS, 48),
        ("week", 7 * DAY, DAY, 60),
        ("month", 30 * DAY, DAY, 60),
    ):
        buckets = Counter(time // width for time in taken)
        expected = sum(
            count * 2 ** (min(0, bucket * width + width / 2 - newest) / life)
            for bucket, count in buckets.items()
            if bucket > newest // width - kept
        )
        assert math.isclose(shown.popularity[name], expected, rel_tol=1e-9, abs_tol=1e-12)
    names = Counter(row.name for row in rows if row.follower is None)
    assert (shown.taken, shown.shown, shown.clicked) == (
        names["taken"],
        names["shown"],
        names["clicked"],
    )


@settings(max_examples=150)
@given(partitions)
def test_successors_weigh_their_decayed_sums_strongest_first(
    streams: tuple[list[Fact], ...],
) -> None:
    rows = [row for stream in streams for row in stream]
    shown = view(state_of([stream for stream in streams if stream]), SETTINGS)
    half_life = HALF_LIFE_DAYS * DAY
    expected: dict[str, float] = defaultdict(float)
    for row in rows:
        if row.follower is not None:
            expected[row.follower] += row.weight / 64 * 2 ** ((row.time - shown.time) / half_life)
    assert dict(shown.next).keys() == expected.keys()
    for name, weight in shown.next:
        assert math.isclose(weight, expected[name], rel_tol=0.25)
    assert shown.next == sorted(shown.next, key=lambda pair: (-pair[1], pair[0]))


terms = st.lists(
    st.tuples(st.integers(1, 1020), st.integers(0, 20 * 1000 - 1)), min_size=1, max_size=30
)


@given(terms, st.randoms(use_true_random=False), st.integers(0, 3000))
def test_exact_sums_are_equal_in_any_order(
    rows: list[tuple[int, int]], chance: Random, epochs: int
) -> None:
    start = epochs * 1000

    def total(order: list[tuple[int, int]]) -> tuple[int, dict[str, float]]:
        values: dict[str, float] = {}
        landmark = 0
        for weight, time in order:
            landmark = rebase(values, landmark, (start + time) // 1000)
            gain = decayed_unit(weight, start + time, 1000, landmark)
            values["x"] = values.get("x", 0.0) + gain
        return landmark, values

    shuffled = list(rows)
    chance.shuffle(shuffled)
    assert total(shuffled) == total(rows)


@given(terms)
def test_exact_sums_are_near_the_true_ones(rows: list[tuple[int, int]]) -> None:
    """Time goes in quarters of a half-life; at their beginnings the terms are nearly right."""
    exact = sum(decayed_unit(weight, time, 1000, 20) for weight, time in rows)
    floored = [(weight, time // 250 * 250) for weight, time in rows]
    direct = sum(weight * 16 * 2 ** (time / 1000 - 20) for weight, time in floored)
    assert math.isclose(exact, direct, rel_tol=0.02)
