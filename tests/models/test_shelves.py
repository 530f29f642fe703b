"""Shelves: the k best of many items without a look at most of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.category_groups import CategoryGroups
from models.pairs import Pairs, Slots
from models.scores import Blocked
from models.shelves import Shelved, Shelves
from models.topk import top_k
from tests.models.sources.shop import put, world

F32 = NDArray[np.float32]

N_ROWS = 9


def drawn(n_items: int, n_shelves: int, seed: int) -> tuple[Shelved, Blocked]:
    """Return skewed strengths, a third of them none, and blocked items, some for nobody."""
    rng = np.random.default_rng(seed)
    strength = np.maximum(rng.standard_normal(n_items) ** 3, 0).astype(np.float32)
    shelf = rng.integers(0, n_shelves, n_items).astype(np.int32)
    alive = rng.random(n_items) < 0.9
    shelves = Shelves.of(strength, shelf, n_shelves, np.flatnonzero(alive).astype(np.int32))
    reach = np.maximum(rng.standard_normal((N_ROWS, n_shelves)), 0).astype(np.float32)
    reach[0] = 0
    row = rng.integers(0, N_ROWS, 40).astype(np.int32)
    best = (reach[:, shelf] * strength).argsort(axis=1)[:, ::-1]
    item = best[row, rng.integers(0, min(6, n_items), 40)].astype(np.int32)
    return Shelved(reach, shelves), Blocked(alive, row, item, N_ROWS)


@pytest.mark.parametrize("n_shelves", [1, 7, 300, 4000])
@pytest.mark.parametrize("n_items", [5, 60, 5000])
def test_the_best_are_those_of_a_table(n_items: int, n_shelves: int) -> None:
    scores, blocked = drawn(n_items, n_shelves, seed=n_items + n_shelves)
    table = scores.table()
    assert scores.mean() == pytest.approx(table.mean(axis=1), rel=1e-4)
    table[blocked.table()] = -1
    for k in (1, 10, 50):
        mine, its = scores.top(blocked, k), top_k(table, k)
        rows = np.arange(N_ROWS)[:, None]
        assert (np.where(mine >= 0, table[rows, mine], 0) > 0).tolist() == (its >= 0).tolist()
        assert np.where(mine >= 0, table[rows, mine], 0) == pytest.approx(
            np.where(its >= 0, table[rows, its], 0)
        )


def test_what_is_asked_about_is_what_the_table_says() -> None:
    scores, _ = drawn(200, 9, seed=3)
    row, item = np.indices(scores.table().shape, dtype=np.int32)
    pairs = Pairs(row.ravel(), item.ravel())
    assert scores.at(Slots(pairs, N_ROWS, 200)).tolist() == scores.table().ravel().tolist()


def test_items_of_the_same_categories_share_a_group_whatever_their_order() -> None:
    place = world("abcde")
    groups = CategoryGroups(place.catalogue)
    assert groups.of_items().tolist() == [0] * 5
    for item, kinds in (("a", "xy"), ("b", "yx"), ("c", "x"), ("d", "xx")):
        put(place, item, *kinds)
    a, b, c, d, e = groups.of_items().tolist()
    assert (a == b, c == d, e) == (True, True, 0)
    assert a != c
    names = place.catalogue.category_names
    member = groups.members().toarray()
    assert {names[k] for k in np.flatnonzero(member[:, a])} == {"x", "y"}
    assert [names[k] for k in np.flatnonzero(member[:, c])] == ["x"]
    assert not member[:, 0].any()


def test_a_group_follows_its_item() -> None:
    place = world("ab")
    groups = CategoryGroups(place.catalogue)
    put(place, "a", "x")
    before = groups.of_items().copy()
    put(place, "b", "x")
    put(place, "a", "z")
    put(place, "new", "x")
    after = groups.of_items()
    rows = place.catalogue.index
    assert after[rows["b"]] == after[rows["new"]] == before[rows["a"]]
    assert after[rows["a"]] not in (before[rows["a"]], 0)
    assert len(groups) == 3
    assert groups.members().shape == (2, 3)
