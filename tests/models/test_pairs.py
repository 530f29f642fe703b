from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.pairs import Pairs, Slots, union

ROWS, ITEMS = 5, 40
PAIR = st.tuples(st.integers(0, ROWS - 1), st.integers(0, ITEMS - 1))
Found = list[tuple[int, int]]


def columns(entries: Found) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    table = np.array(entries, dtype=np.int32).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def slots_of(entries: Found) -> Slots:
    return Slots(Pairs(*columns(entries)), ROWS, ITEMS)


@settings(deadline=None, max_examples=200)
@given(st.lists(PAIR, unique=True), st.lists(PAIR))
def test_slots_find_what_a_dict_finds(entries: Found, wanted: Found) -> None:
    slots, place = slots_of(entries), {pair: number for number, pair in enumerate(entries)}
    assert len(slots) == len(entries)
    assert slots.find(*columns(wanted)).tolist() == [place.get(pair, -1) for pair in wanted]
    assert slots.find(*columns(entries)).tolist() == list(range(len(entries)))


@settings(deadline=None, max_examples=200)
@given(st.lists(PAIR, max_size=30).map(lambda entries: entries + entries[::2]), st.lists(PAIR))
def test_of_a_pair_that_is_there_twice_always_the_same_is_found(
    entries: Found, wanted: Found
) -> None:
    slots = slots_of(entries)
    found = slots.find(*columns(entries)).tolist()
    assert [entries[place] for place in found] == entries
    assert len(set(found)) == len(set(entries))
    missing = [pair for pair in wanted if pair not in entries]
    assert slots.find(*columns(missing)).tolist() == [-1] * len(missing)


def test_slots_of_many_questions_of_a_large_catalogue_are_small() -> None:
    rows = np.repeat(np.arange(2000, dtype=np.int32), 5)
    items = np.tile(np.array([7, 999_999, 3, 500_000, 0], np.int32), 2000)
    slots = Slots(Pairs(rows, items), 2000, 1_000_000)  # a table of all would take 8 GB
    assert slots.find(rows, items).tolist() == list(range(10_000))
    assert slots.find(rows, items + np.int32(1) - (items == 999_999) * np.int32(2)).max() == -1


proposals = st.lists(
    st.lists(st.one_of(st.just(-1), st.integers(0, ITEMS - 1)), min_size=6, max_size=6),
    max_size=ROWS,
)


@settings(deadline=None, max_examples=200)
@given(proposals, st.sets(st.integers(0, 10**6), min_size=ROWS, max_size=ROWS))
def test_union_equals_a_set(proposed: list[list[int]], names: set[int]) -> None:
    table = np.array(proposed, dtype=np.int32).reshape(-1, 6)
    numbers = sorted(names)[: len(table)]
    for rows in (None, np.array(numbers, dtype=np.int32)):
        called = range(len(table)) if rows is None else rows.tolist()
        expected = sorted(
            {(row, i) for row, items in zip(called, proposed, strict=True) for i in items if i >= 0}
        )
        pairs = union(table, rows)
        assert list(zip(pairs.row.tolist(), pairs.item.tolist(), strict=True)) == expected
        assert len(pairs) == len(expected)
        assert {pairs.row.dtype.name, pairs.item.dtype.name} == {"int32"}


def test_union_has_room_for_many_questions_of_a_large_catalogue() -> None:
    last = 2_000_000_000
    pairs = union(np.array([[last, 0], [-1, last]], np.int32), np.array([8, 999], np.int32))
    assert pairs.row.tolist() == [8, 8, 999]
    assert pairs.item.tolist() == [0, last, last]
