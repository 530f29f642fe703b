from __future__ import annotations

import tracemalloc
from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from features.contexts import Contexts
from models.item_state import HALF_LIVES_MS
from models.pairs import Pairs, Slots
from models.sources.base import World
from models.sources.popular import CategoryTrend, Popular, affinity
from tests.builders import DAY, HOUR, NOON
from tests.models.sources.shop import STRANGER, contexts, put, scored, table, tell, visits, world

by_life = pytest.mark.parametrize("life", HALF_LIVES_MS)


@by_life
def test_each_life_has_its_own_counts(life: str) -> None:
    place = world("abc")
    tell(place, "a", counts={life: 1})
    tell(place, "b", counts=dict.fromkeys(HALF_LIVES_MS, 5.0) | {life: 3})
    assert scored(Popular(place, life), place, STRANGER) == {"a": 1, "b": 3}
    assert Popular(place, life).name == f"trending_{life}"


@by_life
def test_popularity_halves_with_its_half_life(life: str) -> None:
    place = world("ab")
    tell(place, "a", counts={life: 8}, at=NOON - 2 * HALF_LIVES_MS[life])
    tell(place, "b", counts={life: 3})
    source = Popular(place, life)
    assert scored(source, place, STRANGER) == {"a": pytest.approx(2), "b": 3}
    later = scored(source, place, STRANGER, now=NOON + HALF_LIVES_MS[life])
    assert later == {"a": pytest.approx(1), "b": pytest.approx(1.5)}


def test_the_short_lives_forget_first() -> None:
    place = world("ab")
    tell(place, "a", counts={"hour": 9, "month": 9}, at=NOON - DAY)
    tell(place, "b", counts={"hour": 2, "month": 2}, at=NOON - HOUR)
    now = scored(Popular(place, "hour"), place, STRANGER)
    ever = scored(Popular(place, "month"), place, STRANGER)
    assert now["b"] > now["a"] > 0
    assert ever["a"] > ever["b"] > 0


def test_popularity_from_after_the_question_is_not_raised() -> None:
    place = world("a")
    tell(place, "a", counts={"day": 4}, at=NOON + DAY)
    assert scored(Popular(place, "day"), place, STRANGER) == {"a": 4}


def test_everybody_gets_the_same() -> None:
    place = world("ab")
    tell(place, "a", counts={"day": 2})
    scores = table(Popular(place, "day"), contexts(place, visits("b"), STRANGER))
    assert scores.tolist() == [[2, 0], [2, 0]]


@pytest.fixture
def kinds() -> World:
    """Return a world with a and b of one kind, c of another, d of both, e of a third."""
    place = world("abcdez")
    for item, week in (("a", 3.0), ("b", 1.0), ("c", 2.0), ("d", 4.0), ("e", 7.0), ("z", 9.0)):
        tell(place, item, counts={"week": week})
    for item, categories in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "xy"), ("e", "w")):
        put(place, item, *categories)
    return place


def test_what_is_taken_in_the_users_category(kinds: World) -> None:
    found = scored(CategoryTrend(kinds), kinds, visits("b"))
    assert found == pytest.approx({"a": sqrt(3 / 8), "b": sqrt(1 / 8), "d": sqrt(4 / 8)})


def test_interest_is_shared_between_categories_and_fades_with_further_items(kinds: World) -> None:
    found = scored(CategoryTrend(kinds, half_life=1), kinds, visits("ac"))
    x, y = 1 / 3, 2 / 3  # the last item counts twice the one before it
    assert found == pytest.approx(
        {
            "a": sqrt(x * 3 / 8),
            "b": sqrt(x * 1 / 8),
            "c": sqrt(y * 2 / 6),
            "d": sqrt(x * 4 / 8 + y * 4 / 6),
        }
    )


def test_an_item_of_two_categories_is_interest_in_both(kinds: World) -> None:
    found = scored(CategoryTrend(kinds), kinds, visits("d"))
    assert found["a"] == pytest.approx(sqrt(3 / 8 / 2))
    assert found["c"] == pytest.approx(sqrt(2 / 6 / 2))


def test_a_trend_fades_with_the_week(kinds: World) -> None:
    tell(kinds, "a", counts={"week": 6}, at=NOON - 7 * DAY)
    tell(kinds, "d", counts={"week": 8}, at=NOON - 7 * DAY)
    found = scored(CategoryTrend(kinds), kinds, visits("b"))
    assert found == pytest.approx({"a": sqrt(3 / 8), "b": sqrt(1 / 8), "d": sqrt(4 / 8)})


def test_items_without_category_say_nothing(kinds: World) -> None:
    assert scored(CategoryTrend(kinds), kinds, visits("z")) == {}
    assert scored(CategoryTrend(world("ab")), world("ab"), visits("a")) == {}


def test_a_category_in_which_nothing_is_taken_says_nothing() -> None:
    place = world()
    put(place, "a", "x")
    assert scored(CategoryTrend(place), place, visits("a")) == {}


def test_a_disliked_item_is_no_interest(kinds: World) -> None:
    found = scored(CategoryTrend(kinds), kinds, visits("bc", disliked="c"))
    assert found == pytest.approx(scored(CategoryTrend(kinds), kinds, visits("b")))


def shelves(n_items: int, n_categories: int) -> World:
    """Return a world of items with up to four categories each, some of them twice, and a week."""
    rng = np.random.default_rng(4)
    place = world()
    for k in range(n_items):
        kinds = rng.integers(0, n_categories, rng.integers(0, 5)).tolist()
        put(place, f"i{k}", *(f"c{kind}" for kind in [*kinds[:2], *kinds]))
        tell(place, f"i{k}", counts={"week": float(rng.integers(0, 9))})
    return place


def dense(place: World, asked: Contexts) -> NDArray[np.float64]:
    """Return the trend by a table of categories by items."""
    catalogue = place.catalogue
    n_categories = len(catalogue.category_names)
    everything = np.arange(len(catalogue))
    week = place.stats.popularity(int(asked.now.max()), everything, 2)
    item, at = np.nonzero(catalogue.category >= 0)
    member = np.zeros((n_categories, len(catalogue)))
    member[catalogue.category[item, at], item] = week[item]
    member /= np.maximum(member.sum(axis=1, keepdims=True), 1e-9)
    interest = affinity(asked.items, asked.weight, catalogue.category, n_categories, 8.0)
    return np.sqrt(interest @ member)


def test_scores_are_those_of_a_table_of_categories_by_items() -> None:
    place = shelves(200, 30)
    source, people = CategoryTrend(place), [visits("ab"), STRANGER, visits("cde", "af")]
    for name in "abcdef":
        put(place, name, f"c{ord(name) % 7}", f"c{ord(name) % 5}")
    asked = contexts(place, *people)
    assert table(source, asked) == pytest.approx(dense(place, asked), rel=1e-5)
    assert table(source, asked)[0].any()
    # what it keeps of the catalogue follows the catalogue
    put(place, "a", "c29")
    put(place, "new", "c29")
    tell(place, "new", counts={"week": 50.0})
    asked = contexts(place, *people)
    assert table(source, asked) == pytest.approx(dense(place, asked), rel=1e-5)
    assert table(source, asked)[0, place.catalogue.index["new"]] > 0


def test_an_item_that_only_an_event_has_named_is_asked_about_at_the_same_moment(
    kinds: World,
) -> None:
    source, person = CategoryTrend(kinds), visits("b")
    before = scored(source, kinds, person)
    new = kinds.catalogue.ensure("unheard of")
    found = source.score(contexts(kinds, person))
    pairs = Pairs(np.zeros(1, np.int32), np.array([new], np.int32))
    assert found.at(Slots(pairs, 1, len(kinds.catalogue))).tolist() == [0]
    assert scored(source, kinds, person) == before


def test_many_categories_take_no_table() -> None:
    n_items, n_categories = 4000, 2000  # 32 MB
    place = world(f"i{k}" for k in range(n_items))
    for k in range(n_categories):
        put(place, f"i{k}", f"c{k}")
    source, asked = CategoryTrend(place), contexts(place, visits("a"))
    tracemalloc.start()
    source.score(asked)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000
