"""Features of shown lists: laws, and checkpoints."""

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from features.card import AsOf, ItemCard
from features.catalogue import Catalogue
from models.arrays import pack, unpack
from models.differences import START
from models.item_stats import ItemStats
from models.lists import NAMES, PRIOR, SEEN, Closed, ListModel, ShownBefore, taste_of
from models.sources.base import World
from stream.errors import ModelError

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

NOBODY = ShownBefore(
    rows=np.zeros(0, np.int32),
    positions=np.zeros(0, np.int32),
    taken=np.zeros(0, np.bool_),
    lists=np.zeros(0, np.int32),
)


class NoQueries:
    """Nobody searches here."""

    def vectors(self, texts: object) -> F32:
        return np.zeros((0, 4), np.float32)


def items(first: int, last: int) -> tuple[list[ItemCard], F32]:
    rng = np.random.default_rng(first)
    numbers = range(first, last)
    cards = [
        ItemCard(AsOf(0, k, 0), f"item{k}", lists={"kind": [f"kind{k % 3}"]}, numbers={"n": k % 7})
        for k in numbers
    ]
    return cards, rng.normal(size=(len(cards), 4)).astype(np.float32)


def world(n: int = 30) -> World:
    catalogue = Catalogue(dim=4)
    catalogue.apply(*items(0, n))
    return World(catalogue, ItemStats(catalogue, served=4), NoQueries(), 30.0)


def shown(rows: I32, taken: NDArray[np.bool_]) -> ShownBefore:
    n = len(rows)
    return ShownBefore(rows, np.arange(n, dtype=np.int32), taken, np.zeros(n, np.int32))


def teach(model: ListModel, closed: list[Closed]) -> None:
    """Let a model learn from lists as the engine does, were something taken of each or not."""
    model.count(closed)
    model.learn(closed, model.tastes([(one.rows, one.before) for one in closed]))


def run(model: ListModel, lists: int, *, seed: int = 5, size: int = 30) -> F32:
    """Show lists of ten; kind 0 is taken. Return the last features."""
    rng, before = np.random.default_rng(seed), NOBODY
    x = np.zeros((0, len(NAMES)), np.float32)
    for _ in range(lists):
        rows = rng.choice(size, 10, replace=False).astype(np.int32)
        x = model.features([(rows, before)])
        taken = rows % 3 == 0
        teach(model, [Closed(rows, taken, before)])
        before = shown(rows, taken)
    return x


def test_features_are_finite_centred_and_named() -> None:
    x = run(ListModel(world()), 30)
    assert x.shape == (10, len(NAMES))
    assert x.dtype == np.float32
    assert np.isfinite(x).all()
    assert x.mean(axis=0) == pytest.approx(np.zeros(len(NAMES)), abs=1e-6)
    assert PRIOR.keys() <= set(ListModel.names)


def of_many_lengths(chance: np.random.Generator) -> list[tuple[I32, ShownBefore]]:
    """Return lists of users who were shown nothing, little and much before."""
    lists = []
    for n, earlier in ((10, 0), (1, 3), (12, 1), (7, 40), (12, 12), (3, 40), (30, 2)):
        rows = chance.choice(30, n, replace=False).astype(np.int32)
        before = chance.integers(0, 30, earlier).astype(np.int32)
        sizes = np.sort(chance.integers(0, 1 + earlier // 8, earlier))
        number = np.unique(sizes, return_inverse=True)[1].astype(np.int32)
        taken, place = chance.random(earlier) < 0.3, np.arange(earlier, dtype=np.int32) % 8
        lists.append((rows, ShownBefore(before, place, taken, number)))
    return lists


@pytest.mark.parametrize("lists", [0, START])
def test_many_lists_at_once_are_as_each_alone(lists: int) -> None:
    model, chance = ListModel(world()), np.random.default_rng(8)
    run(model, lists)
    shown = of_many_lengths(chance)
    alone = [model.features([one]) for one in shown]
    together = model.features(shown)
    assert together == pytest.approx(np.concatenate(alone), abs=1e-5)
    assert np.ptp(together[:, NAMES.index("list.taste")]) > 0


def test_without_places_the_order_says_nothing() -> None:
    """Users differ by where they look, too, once there were so many lists."""
    model, chance = ListModel(world()), np.random.default_rng(11)
    for _ in range(START):
        rows = chance.choice(30, 10, replace=False).astype(np.int32)
        taken = np.arange(10) < (2 if chance.random() < 0.5 else 0)
        taken |= chance.random(10) < 0.1
        before = shown(chance.choice(30, 10, replace=False).astype(np.int32), taken)
        teach(model, [Closed(rows, taken, before)])
    rows = np.arange(20, dtype=np.int32)
    before = shown(np.arange(20, 30, dtype=np.int32), np.arange(10) < 2)
    turned = model.features([(rows[::-1].copy(), before)], placed=False)[::-1]
    assert model.features([(rows, before)], placed=False) == pytest.approx(turned, abs=1e-5)
    placed = model.features([(rows[::-1].copy(), before)])[::-1]
    taste = NAMES.index("list.taste")
    assert np.abs(model.features([(rows, before)])[:, taste] - placed[:, taste]).max() > 1e-2
    for name in ("list.depth", "list.top", "list.end"):
        assert not turned[:, NAMES.index(name)].any()


def test_lists_that_close_together_teach_as_one_after_the_other() -> None:
    together, alone, chance = ListModel(world()), ListModel(world()), np.random.default_rng(9)
    for _ in range(START // 7 + 2):  # the directions are found amid a batch, and again
        shown = of_many_lengths(chance)
        tastes = together.tastes(shown)
        closed = [Closed(rows, chance.random(len(rows)) < 0.3, before) for rows, before in shown]
        together.count(closed)
        together.learn(closed, tastes)
        for one, taste in zip(closed, tastes, strict=True):
            alone.count([one])
            alone.learn([one], [taste])
    found, wanted = unpack(together.state()), unpack(alone.state())
    assert found["differences.counts"][0] > START
    assert found["differences.directions"].any()
    for arrays in (found, wanted):  # the sign of a direction is nobody's choice
        directions = arrays["differences.directions"]
        arrays["differences.directions"] = directions @ directions.T
    for name, array in wanted.items():
        if array.dtype.kind == "f":
            scale = max(1.0, float(np.abs(array).max(initial=0)))
            assert np.allclose(found[name], array, rtol=0, atol=1e-7 * scale), name
        else:
            assert np.array_equal(found[name], array), name


def test_what_is_kept_of_a_list_is_the_taste_that_was_reckoned() -> None:
    model, chance = ListModel(world()), np.random.default_rng(3)
    run(model, 20)
    shown = of_many_lengths(chance)
    kept = np.split(taste_of(model.features(shown)), np.cumsum([len(rows) for rows, _ in shown]))
    for mine, reckoned in zip(kept[:-1], model.tastes(shown), strict=True):
        assert mine == pytest.approx(reckoned - reckoned.mean(), abs=1e-5)


def test_items_that_were_shown_in_vain_alone_are_kept_with_the_rest() -> None:
    model, other = ListModel(world()), ListModel(world())
    model.count([Closed(np.array([2, 29], np.int32), np.array([False, False]), NOBODY)])
    other.restore(model.state())
    assert other.state() == model.state()
    assert unpack(other.state())["counts.shown"].tolist() == [1, 1]


def test_no_lists_teach_nothing() -> None:
    model = ListModel(world())
    state = model.state()
    teach(model, [])
    assert model.state() == state


def test_the_same_lists_teach_the_same() -> None:
    one, two = ListModel(world()), ListModel(world())
    assert np.array_equal(run(one, 20), run(two, 20))
    assert one.state() == two.state()


def test_asking_changes_nothing() -> None:
    model, rows = ListModel(world()), np.arange(10, dtype=np.int32)
    run(model, 5)
    state = model.state()
    model.features([(rows[::-1].copy(), shown(rows, rows == 3))])
    assert model.state() == state


def test_what_is_taken_grows_strong_also_where_it_is_new() -> None:
    place = world()
    model = ListModel(place)
    run(model, 40)
    cards, _ = items(30, 36)
    place.catalogue.apply(cards, np.zeros((6, 4), np.float32))
    rows = np.arange(30, 36, dtype=np.int32)
    strength = model.features([(rows, NOBODY)])[:, NAMES.index("list.strength")]
    assert strength[rows % 3 == 0].min() > strength[rows % 3 != 0].max()


def test_it_grows_with_the_catalogue_while_it_learns() -> None:
    place = world(5)
    model = ListModel(place)
    place.catalogue.rows_of(f"item{k}" for k in range(20))  # most have no card yet
    run(model, 3, size=20)
    place.catalogue.apply(*items(0, 60))
    x = run(model, 30, size=60)
    assert np.isfinite(x).all()


def test_a_user_has_a_taste_of_his_own() -> None:
    model = ListModel(world())
    rows = np.arange(12, dtype=np.int32)
    before = shown(rows, rows % 3 == 1)
    x = model.features([(np.arange(12, 24, dtype=np.int32), before)])
    taste = x[:, NAMES.index("list.taste")]
    assert taste[rows % 3 == 1].min() > taste[rows % 3 != 1].max()
    assert not model.features([(rows, NOBODY)])[:, NAMES.index("list.taste")].any()


def test_shown_again_is_told_from_taken_again() -> None:
    model, rows = ListModel(world()), np.arange(3, dtype=np.int32)
    x = model.features([(rows, shown(rows, rows == 0))])
    again, ignored = (x[:, NAMES.index(f"list.{name}")] for name in ("retaken", "reignored"))
    assert again[0] > again[1] == again[2]
    assert ignored[0] < ignored[1] == ignored[2]


def test_a_list_of_one_says_nothing() -> None:
    model, rows = ListModel(world()), np.array([4], dtype=np.int32)
    x = model.features([(rows, NOBODY)])
    assert not x.any()
    teach(model, [Closed(rows, np.array([False]), NOBODY)])
    assert np.isfinite(run(model, 3)).all()


def test_an_item_twice_in_a_list_counts_twice() -> None:
    model, rows = ListModel(world()), np.array([1, 1, 2], dtype=np.int32)
    teach(model, [Closed(rows, np.array([True, True, False]), NOBODY)])
    x = model.features([(rows, NOBODY)])
    counted = x[:, NAMES.index("list.shown")]
    assert counted[0] == counted[1] > counted[2]


def test_a_list_that_another_process_scored_can_be_the_first_to_teach() -> None:
    model, rows = ListModel(world()), np.arange(10, dtype=np.int32)
    teach(model, [Closed(rows, rows == 3, NOBODY)])
    assert np.isfinite(model.features([(rows, NOBODY)])).all()


def test_only_what_was_seen_of_a_long_list_teaches() -> None:
    size = SEEN + 100
    long, short = ListModel(world(size)), ListModel(world(size))
    rows = np.random.default_rng(2).permutation(size).astype(np.int32)
    taken = rows % 3 == 0
    teach(long, [Closed(rows, taken, NOBODY)])
    teach(short, [Closed(rows[:SEEN], taken[:SEEN], NOBODY)])
    assert long.state() == short.state()


def test_memory_grows_with_a_lists_length_not_its_square() -> None:
    n = 6000
    catalogue = Catalogue(dim=4)
    # every word is common to two items
    cards = [ItemCard(AsOf(0, k, 0), f"i{k}", lists={"kind": [f"k{k // 2}"]}) for k in range(n)]
    catalogue.apply(cards, np.zeros((n, 4), np.float32))
    model = ListModel(World(catalogue, ItemStats(catalogue, served=4), NoQueries(), 30.0))
    rows = np.arange(n, dtype=np.int32)
    before = shown(rows[:100], rows[:100] % 3 == 0)
    tracemalloc.start()
    model.features([(rows, before)])
    features = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    teach(model, [Closed(rows, rows % 100 == 0, before)])
    learned = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert features < 50_000_000
    assert learned < 50_000_000


def test_a_restored_model_goes_on_as_if_nothing_had_happened() -> None:
    straight, broken, restored = (ListModel(world()) for _ in range(3))
    run(straight, 25)
    run(broken, 25)
    restored.restore(broken.state())
    assert np.array_equal(run(straight, 10, seed=6), run(restored, 10, seed=6))
    assert straight.state() == restored.state()


def test_a_restored_model_finds_its_items_by_name() -> None:
    model = ListModel(world())
    run(model, 25)
    catalogue = Catalogue(dim=4)
    cards, vectors = items(0, 30)
    catalogue.apply(cards[::-1], vectors[::-1].copy())
    other = ListModel(World(catalogue, ItemStats(catalogue, served=4), NoQueries(), 30.0))
    other.restore(model.state())
    rows = np.arange(10, dtype=np.int32)
    there = model.features([(rows, NOBODY)])
    assert other.features([(29 - rows, NOBODY)]) == pytest.approx(there, abs=1e-5)


@pytest.mark.parametrize("named", [True, False])
def test_scales_of_the_encoder_before_do_not_survive_a_restart(named: bool) -> None:
    before, after = world(), world()
    before.catalogue.encoder, after.catalogue.encoder = "old", "new"
    turned = np.roll(after.catalogue.vectors.copy(), 1, axis=1)
    turned *= np.array([5, 1, 1, 1], np.float32)
    after.catalogue.put_vectors(after.catalogue.ids, turned)
    old, restored, fresh = ListModel(before), ListModel(after), ListModel(after)
    run(old, 5)
    run(fresh, 1)
    arrays = dict(unpack(old.state()))
    if not named:  # as it was written before the encoder was kept in it
        del arrays["space.encoder"], arrays["space.described"]
    restored.restore(pack(arrays))
    run(restored, 1)
    wanted, found = unpack(fresh.state()), unpack(restored.state())
    assert not np.allclose(arrays["space.basis"], wanted["space.basis"])
    assert np.array_equal(found["space.basis"], wanted["space.basis"])
    assert np.array_equal(found["space.centre"], wanted["space.centre"])
    again = restored.state()
    restored.restore(again)
    assert restored.state() == again


def test_damage_is_refused_and_changes_nothing() -> None:
    model = ListModel(world())
    run(model, 5)
    state = model.state()
    arrays = unpack(state)
    poisoned = {**arrays, "strength.weights": arrays["strength.weights"] * np.nan}
    missing = {name: array for name, array in arrays.items() if name != "items"}
    narrow = {**arrays, "space.basis": arrays["space.basis"][:-1]}
    for raw in (b"", b"nonsense", state[:100], pack(poisoned), pack(missing), pack(narrow)):
        with pytest.raises(ModelError):
            model.restore(raw)
    assert model.state() == state
