from __future__ import annotations

import msgspec
import numpy as np
import pytest
from msgspec import structs
from numpy.typing import NDArray

from features.card import AsOf
from features.catalogue import Catalogue
from models.activity import Activity, rows_by_item
from models.item_state import (
    ItemState,
    decode_item_state,
    encode_item_state,
    fold_rows,
    view,
)
from models.item_stats import LATE_MS, LIVES, PER_THOUSAND, ItemStats
from models.kept_item import KeptItem
from stream.settings import NeighboursSettings
from tests.builders import DAY, NOON

SETTINGS = NeighboursSettings(capacity=10, served=3)


def a_record(
    followers: dict[str, int], *, first: int = 0, at: int = NOON, source: int = 0
) -> Activity:
    """Return rows on item "x": each follower with its weight, at offsets from ``first``."""
    n = len(followers)
    return Activity(
        source=source,
        items=["x", *followers],
        followed=[0] * n,
        follower=list(range(1, n + 1)),
        weight=list(followers.values()),
        follow_time=[at] * n,
        follow_offset=list(range(first, first + n)),
    )


def popularity(stats: ItemStats, now: int, items: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the popularity of n items by each half-life: (half-lives, n)."""
    return np.stack([stats.popularity(now, items, life) for life in range(len(LIVES))])


def state_of(records: list[Activity], settings: NeighboursSettings = SETTINGS) -> ItemState:
    state = ItemState(AsOf(0, 0, 0), "x")
    for record in records:
        fold_rows(state, record, rows_by_item(record)["x"], settings)
    return state


def test_readers_get_the_strongest_successors_in_order() -> None:
    state = state_of([a_record({"a": 64, "b": 128, "c": 64, "d": 192})])
    assert view(state, SETTINGS).next == [("d", 3.0), ("b", 2.0), ("a", 1.0)]


def test_the_faintest_are_dropped_beyond_capacity() -> None:
    weights = {f"i{n:02}": n for n in range(1, 14)}
    state = state_of([a_record(weights)])
    assert sorted(state.next) == [f"i{n:02}" for n in range(4, 14)]
    assert len(state_of([a_record(dict(list(weights.items())[:12]))]).next) == 12


def test_an_old_transition_counts_half_after_its_half_life() -> None:
    life = int(SETTINGS.half_life_days * DAY)
    state = state_of([a_record({"old": 64}, at=NOON - life), a_record({"new": 64}, first=1)])
    assert view(state, SETTINGS).next == [("new", 1.0), ("old", 0.5)]


def test_weights_survive_thousands_of_half_lives() -> None:
    brief = NeighboursSettings(half_life_days=0.01)
    state = state_of([a_record({"a": 64}, at=DAY), a_record({"b": 64}, first=1)], brief)
    assert [name for name, _ in view(state, brief).next] == ["b"]
    assert view(state, brief).next[0][1] == pytest.approx(1.0)
    assert list(state.next) == ["b"]


def test_each_partition_of_the_events_has_its_own_offsets() -> None:
    state = state_of([a_record({"a": 64}), a_record({"a": 64}, source=1), a_record({"a": 64})])
    assert view(state, SETTINGS).next == [("a", 2.0)]
    assert state.seen == {"0": 0, "1": 0}


def test_state_is_written_with_its_maps_in_order() -> None:
    one = state_of([a_record({"a": 1}), a_record({"b": 1}, source=1)])
    other = state_of([a_record({"b": 1}, source=1), a_record({"a": 1})])
    assert encode_item_state(one) == encode_item_state(other)
    assert encode_item_state(decode_item_state(encode_item_state(one))) == encode_item_state(one)
    assert encode_item_state(one).startswith(b'{"as_of":{"partition":0,"offset":0')


def index_rows(*rows: int) -> NDArray[np.int32]:
    return np.array(rows, dtype=np.int32)


def test_statistics_read_what_neighbours_wrote() -> None:
    counted = Activity(
        source=0,
        items=["x"],
        counted=[0] * 4,
        name=["shown", "taken", "taken", "clicked"],
        count=[1] * 4,
        count_time=[NOON] * 4,
        count_offset=[10, 11, 12, 13],
    )
    state = state_of([a_record({"a": 64, "b": 128}), counted])
    index = Catalogue(dim=1)
    index.ensure("y")
    stats = ItemStats(index, served=2)
    stats.apply([view(state, SETTINGS)])
    row = index.index["x"]
    assert stats.counts(index_rows(row, 0)).tolist() == [[1, 1, 2], [0, 0, 0]]
    rows, weights = stats.successors(index_rows(row, -1, 0))
    assert rows.tolist() == [[index.index["b"], index.index["a"]], [-1, -1], [-1, -1]]
    assert weights.tolist() == [[2.0, 1.0], [0, 0], [0, 0]]
    now = popularity(stats, NOON, index_rows(row))[:, 0]
    later = popularity(stats, NOON + 7 * DAY, index_rows(row))[:, 0]
    assert now == pytest.approx([2, 2, 2, 2], rel=0.1)
    assert later[2] == pytest.approx(now[2] / 2)
    assert later[0] < 1e-10


def test_a_newer_view_replaces_the_older_one() -> None:
    index = Catalogue(dim=1)
    stats = ItemStats(index, served=3)
    stats.apply([view(state_of([a_record({"a": 64, "b": 32})]), SETTINGS)])
    stats.apply([view(state_of([a_record({"c": 64})]), SETTINGS)])
    rows, _ = stats.successors(index_rows(index.index["x"]))
    assert rows.tolist() == [[index.index["c"], -1, -1]]


def test_many_views_are_taken_as_one_by_one() -> None:
    counted = Activity(source=0, items=["x"], counted=[0], name=["shown"], count=[1])
    counted.count_time, counted.count_offset = [NOON], [5]
    views = [
        view(state_of([a_record({"a": 64, "y": 32})]), SETTINGS),
        structs.replace(view(state_of([a_record({"x": 64})]), SETTINGS), item="y"),
        structs.replace(view(state_of([]), SETTINGS), item="lonely"),
        view(state_of([a_record({"a": 128, "y": 64, "b": 32}), counted]), SETTINGS),
    ]
    alone, together = Catalogue(dim=1), Catalogue(dim=1)
    one, many = ItemStats(alone, served=2), ItemStats(together, served=2)
    for each in views:
        one.apply([each])
    many.apply(views)
    many.apply([])
    everything = index_rows(*range(len(together)))
    assert together.ids == ["x", "a", "y", "lonely"] == alone.ids
    assert many.totals.tolist() == one.totals.tolist() == [1, 0, 0]
    for mine, other in zip(many.successors(everything), one.successors(everything), strict=True):
        assert mine.tolist() == other.tolist()
    assert many.time(everything).tolist() == one.time(everything).tolist()
    assert many.counts(everything).tolist() == one.counts(everything).tolist()
    mine, other = (popularity(stats, NOON, everything).tolist() for stats in (many, one))
    assert mine == other
    assert sorted(many.popular(NOON).rows.tolist()) == sorted(one.popular(NOON).rows.tolist())


def test_what_is_popular_is_told_of_the_items_that_have_a_view() -> None:
    index = Catalogue(dim=1)
    index.rows_of(str(n) for n in range(50))
    stats = ItemStats(index, served=2)
    counted = Activity(source=0, items=["x"], counted=[0], name=["taken"], count=[3])
    counted.count_time, counted.count_offset = [NOON], [5]
    stats.apply([view(state_of([counted]), SETTINGS)])
    stats.apply([structs.replace(view(state_of([]), SETTINGS), item="7")])
    found = stats.popular(NOON + DAY)
    assert found.rows.tolist() == [index.index["x"], 7]
    everything = index_rows(*range(len(index)))
    whole = popularity(stats, NOON + DAY, everything)
    assert found.values.tolist() == whole[:, found.rows].tolist()
    assert np.delete(whole, found.rows, axis=1).tolist() == np.zeros((4, 49)).tolist()
    assert stats.popular(NOON + DAY) is found
    assert stats.popular(NOON) is not found


def test_what_is_popular_is_reckoned_anew_when_enough_has_changed() -> None:
    n = 1000
    index = Catalogue(dim=1)
    stats = ItemStats(index, served=2)
    nothing = view(state_of([]), SETTINGS)
    stats.apply([structs.replace(nothing, item=str(number)) for number in range(n)])
    found = stats.popular(NOON)
    week = {**nothing.popularity, "week": 9.0}
    for number in range(PER_THOUSAND):
        stats.apply([structs.replace(nothing, item=str(number), time=NOON, popularity=week)])
        assert stats.popular(NOON + 1) is found
    stats.apply([structs.replace(nothing, item="5", time=NOON, popularity=week)])
    assert stats.popular(NOON + 1).values[2, :7] == pytest.approx([*[9] * 6, 0])
    stats.apply([structs.replace(nothing, item="6", time=NOON, popularity=week)])
    assert stats.popular(NOON + 2).values[2, 6] == 0
    assert stats.popular(NOON + 2 + LATE_MS).values[2, 6] == pytest.approx(9, rel=1e-3)


def test_what_is_kept_for_writing_survives_that_the_faintest_are_dropped() -> None:
    kept = KeptItem(ItemState(AsOf(0, 0, 0), "x"), SETTINGS)
    for first in range(0, 60, 3):
        told = {f"i{n * 7 % 60:02}": 1 + n for n in range(first, first + 3)}
        record = a_record(told, first=first, at=NOON + first * DAY)
        kept.fold(record, rows_by_item(record)["x"])
        state = decode_item_state(kept.encode())
        assert kept.encode() == encode_item_state(kept.state) == encode_item_state(state)
        assert kept.encode_view() == msgspec.json.encode(view(state, SETTINGS))
        assert len(kept.state.next) <= 12
