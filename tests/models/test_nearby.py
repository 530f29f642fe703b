"""What is near among very many items, found by an index: beside a table of all of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from features.catalogue import Catalogue
from models.item_stats import ItemStats
from models.near import LOOKED_AT, LOOKED_AT_TRAINED, NearIndex
from models.nearby import FOUND, LARGE, Nearby, mean_of
from models.pairs import Pairs, Slots
from models.projection import Centred
from models.scores import Blocked, Table
from models.sources.base import World
from models.sources.content import SHARPNESS, Content, Query, sharpened
from tests.builders import folded, search
from tests.models.sources.shop import HALF_LIFE_DAYS, Words, contexts, put, visits

F32 = NDArray[np.float32]

N_ITEMS, DIM = 20_000, 16

NONE = np.zeros(0, np.int32)


def crowd(n: int, seed: int = 0) -> F32:
    """Return unit vectors in some hundred heaps."""
    rng = np.random.default_rng(seed)
    heaps = rng.standard_normal((150, DIM))
    vectors = heaps[rng.integers(0, len(heaps), n)] + 0.5 * rng.standard_normal((n, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors, dtype=np.float32)


@pytest.fixture(scope="module")
def vectors() -> F32:
    return crowd(N_ITEMS)


def recall(found: NDArray[np.int32], wanted: F32, vectors: F32, k: int) -> float:
    exact = np.argpartition(-(wanted @ vectors.T), k, axis=1)[:, :k]
    pairs = zip(found[:, :k].tolist(), exact.tolist(), strict=True)
    return float(np.mean([len({*mine} & {*its}) / k for mine, its in pairs]))


def test_nearly_all_of_the_nearest_are_found_and_nearest_first(vectors: F32) -> None:
    wanted = crowd(40, seed=1)
    found = NearIndex(vectors).find(wanted, 100)
    assert found.shape == (40, 100)
    assert recall(found, wanted, vectors, 100) > 0.98
    products = np.take_along_axis(wanted @ vectors.T, found.astype(np.int64), axis=1)
    assert (np.diff(products, axis=1) < 2e-3).all()  # kept in half precision


def between(vectors: F32) -> F32:
    """Return what lies between two of the first vectors each: (200, d)."""
    return np.asarray((vectors[:200] + vectors[200:400]) / 2, np.float32)


@pytest.fixture(scope="module")
def many() -> F32:
    """Return the fewest unit vectors that have an index, in heaps that lie close."""
    rng = np.random.default_rng(0)
    heaps = rng.standard_normal((1000, DIM))
    vectors = heaps[rng.integers(0, len(heaps), LARGE)] + 0.7 * rng.standard_normal((LARGE, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


@pytest.mark.parametrize(("looked_at", "enough"), [(LOOKED_AT, True), (LOOKED_AT // 2, False)])
def test_the_hundred_nearest_of_many_are_found_and_half_of_the_cells_would_not_do(
    monkeypatch: pytest.MonkeyPatch, many: F32, looked_at: int, *, enough: bool
) -> None:
    monkeypatch.setattr("models.near.LOOKED_AT", looked_at)
    wanted = between(many)
    found = NearIndex(many).find(wanted, 100)
    assert (recall(found, wanted, many, 100) >= 0.99) is enough


@pytest.mark.parametrize(
    ("looked_at", "enough"), [(LOOKED_AT_TRAINED, True), (LOOKED_AT_TRAINED // 2, False)]
)
def test_half_of_the_cells_would_lose_some_of_what_was_learned(
    monkeypatch: pytest.MonkeyPatch, many: F32, looked_at: int, *, enough: bool
) -> None:
    """Those that were taken have a part of their own, and are longer; most are what texts say."""
    vectors = np.float32(0.7) * many
    own = np.random.default_rng(1).standard_normal((LARGE // 25, DIM)).astype(np.float32)
    vectors[: len(own)] += np.float32(0.08) * own
    monkeypatch.setattr("models.near.LOOKED_AT_TRAINED", looked_at)
    wanted = between(vectors)
    found = NearIndex(vectors, trained=True).find(wanted, 100)
    assert (recall(found, wanted, vectors, 100) >= 0.99) is enough


def test_the_same_vectors_make_the_same_index(vectors: F32) -> None:
    wanted = crowd(10, seed=2)
    one, other = NearIndex(vectors), NearIndex(vectors)
    assert one.find(wanted, 50).tolist() == other.find(wanted, 50).tolist()


def test_what_has_changed_or_come_is_found_where_it_is_now(vectors: F32) -> None:
    index, rng = NearIndex(vectors), np.random.default_rng(5)
    changed = rng.choice(N_ITEMS, 300, replace=False)
    now = np.concatenate([vectors, crowd(200, seed=9)])
    now[changed] = crowd(300, seed=8)
    index.update(now, changed)
    index.update(now, np.concatenate([changed[:5], changed[:5]]))
    asked = np.concatenate([changed, np.arange(N_ITEMS, N_ITEMS + 200)])
    assert (index.find(now[asked], 1)[:, 0] == asked).mean() > 0.99
    stayed = np.setdiff1d(np.arange(N_ITEMS), changed)[:300]
    assert (index.find(now[stayed], 1)[:, 0] == stayed).mean() > 0.99
    assert recall(index.find(now[asked], 50), now[asked], now, 50) > 0.95
    assert not index.outgrown(2 * N_ITEMS - 1)
    assert index.outgrown(2 * N_ITEMS)


def test_fewer_than_are_asked_for_are_followed_by_none() -> None:
    found = NearIndex(crowd(30)).find(crowd(2, seed=3), 50)
    assert (found[:, :20] >= 0).all()
    assert (found[:, 30:] == -1).all()


@pytest.fixture(scope="module")
def both(vectors: F32) -> tuple[Nearby, Table]:
    """Return scores of three questions, of which the second says nothing, in both forms."""
    wanted, rows = crowd(2, seed=4), np.array([0, 2])
    best = NearIndex(vectors).find(wanted, FOUND)
    near = Nearby.of(3, rows, wanted, vectors, best, scale=SHARPNESS)
    scores = np.zeros((3, N_ITEMS), np.float32)
    scores[rows] = sharpened(wanted @ vectors.T)
    return near, Table.of(scores)


def test_the_best_are_those_of_a_table_but_for_what_is_blocked(both: tuple[Nearby, Table]) -> None:
    near, exact = both
    first = exact.top(Blocked(np.ones(N_ITEMS, bool), NONE, NONE, 3), 50)
    dead, hidden = first[0, 3], first[2, :5]
    alive = np.ones(N_ITEMS, bool)
    alive[dead] = False
    blocked = Blocked(alive, np.full(5, 2, np.int32), hidden, 3)
    mine, its = near.top(blocked, 50), Table.of(exact.values.copy()).top(blocked, 50)
    assert mine.shape == its.shape
    assert (mine[1] == -1).all()
    for row in (0, 2):
        assert len({*mine[row].tolist()} & {*its[row].tolist()}) >= 48
        assert mine[row, :10].tolist() == its[row, :10].tolist()
    assert dead not in mine[0]
    assert not np.isin(hidden, mine[2]).any()


def test_scores_are_exact_and_the_mean_nearly(both: tuple[Nearby, Table]) -> None:
    near, exact = both
    row, item = np.indices((3, 500), dtype=np.int32)
    slots = Slots(Pairs(row.ravel(), item.ravel() * np.int32(7)), 3, N_ITEMS)
    assert near.at(slots) == pytest.approx(exact.at(slots), rel=1e-3, abs=1e-5)
    assert near.table() == pytest.approx(exact.table(), rel=1e-3, abs=1e-5)
    assert near.mean() == pytest.approx(exact.mean(), rel=0.1)
    assert near.mean()[1] == 0


def test_a_mean_is_that_of_the_largest_and_of_a_sample_of_the_others() -> None:
    best = np.array([[100.0, 50.0]], np.float32)
    others = np.array([[1.0, 3.0, 100.0, 2.0]], np.float32)  # 100 is among the best
    assert mean_of(best, others, 10).tolist() == [pytest.approx((150 + 8 * 2) / 10)]


def test_a_large_catalogue_proposes_what_a_table_would(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = crowd(1500, seed=6)
    catalogue = Catalogue(dim=DIM)
    place = World(catalogue, ItemStats(catalogue, served=3), Words(), HALF_LIFE_DAYS)
    for number, vector in enumerate(vectors):
        put(place, "abc"[number] if number < 3 else f"i{number}", vector=vector.tolist())
    people = [visits("ab"), visits("c"), visits("a", disliked="a")]
    asked = contexts(place, *people)
    alive = np.ones(len(vectors), bool)
    blocked = Blocked(alive, NONE, NONE, len(people))

    def top() -> NDArray[np.int32]:
        source = Content(Centred(place.catalogue), "near", window=5, decay=0.6)
        return source.score(asked).top(blocked, 20)

    exact = top()
    monkeypatch.setattr("models.projection.LARGE", 1000)
    found = top()
    assert LARGE > 1000
    assert (found[2] == -1).all()
    assert (exact[2] == -1).all()
    for row in (0, 1):
        assert len({*found[row].tolist()} & {*exact[row].tolist()}) >= 18


def test_a_large_catalogue_proposes_what_whole_vectors_say_of_a_query(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = crowd(3000, seed=6)
    catalogue = Catalogue(dim=DIM)
    place = World(catalogue, ItemStats(catalogue, served=3), Words(), HALF_LIFE_DAYS)
    for number, vector in enumerate(vectors):
        put(place, f"i{number}", vector=vector.tolist())
    wanted = crowd(2, seed=11)
    monkeypatch.setattr(Words, "known", {"tea": wanted[0], "hats": wanted[1]})
    monkeypatch.setattr("models.projection.LARGE", 1000)
    people = [folded([search(text)]) for text in ("tea", "hats")]
    source = Query(place, Centred(place.catalogue, axes=12))
    blocked = Blocked(np.ones(len(vectors), bool), NONE, NONE, len(people))
    found = source.score(contexts(place, *people)).top(blocked, 20)
    assert recall(found, wanted, vectors, 20) > 0.9
    products = np.take_along_axis(wanted @ vectors.T, found.astype(np.int64), axis=1)
    assert (np.diff(products, axis=1) <= 0).all()
