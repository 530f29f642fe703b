"""Neighbours: what follows the last items. Each test turns on one of its rules alone."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from string import ascii_letters
from typing import Any

import numpy as np
import pytest

from features.session import Session
from models.sources import neighbours
from models.sources.base import World
from models.sources.neighbours import SMOOTH, Horizon, Neighbours
from tests.builders import DAY, NOON, folded, interaction
from tests.models.sources.shop import (
    HALF_LIFE_DAYS,
    STRANGER,
    contexts,
    scored,
    table,
    tell,
    visits,
    world,
)

PLAIN = Horizon(window=100, decay=1, visit_decay=1, powers=(0, 0))


def near(place: World, **rules: Any) -> Neighbours:
    return Neighbours(place, "near", replace(PLAIN, **rules))


@pytest.fixture
def place() -> World:
    """Return a world where x follows a, and x and y follow b."""
    place = world("abxy")
    tell(place, "a", {"x": 3})
    tell(place, "b", {"x": 1, "y": 2})
    return place


def test_followers_are_summed(place: World) -> None:
    assert scored(near(place), place, visits("ab")) == {"x": 4, "y": 2}
    assert scored(near(place), place, visits("aab")) == {"x": 7, "y": 2}
    assert scored(near(place), place, STRANGER) == {}


def test_only_the_window_is_asked(place: World) -> None:
    assert scored(near(place, window=1), place, visits("ab")) == {"x": 1, "y": 2}
    assert scored(near(place, window=2), place, visits("aab")) == {"x": 4, "y": 2}


def test_each_further_interaction_counts_less(place: World) -> None:
    assert scored(near(place, decay=0.5), place, visits("ab")) == {"x": 1 + 3 / 2, "y": 2}
    assert scored(near(place, decay=0.5), place, visits("ba")) == {"x": 3 + 1 / 2, "y": 1}


def test_each_further_visit_counts_less(place: World) -> None:
    source = near(place, visit_decay=0.25)
    assert scored(source, place, visits("ab")) == {"x": 4, "y": 2}
    assert scored(source, place, visits("a", "b")) == {"x": 1 + 3 / 4, "y": 2}
    assert scored(source, place, visits("a", "c", "b")) == {"x": 1 + 3 / 16, "y": 2}


def test_visits_are_counted_from_the_last_one_that_left_a_trace(place: World) -> None:
    source = near(place, visit_decay=0.25)
    person = visits("a", "b")
    later = scored(source, place, person, visit=person.visit + 5)
    assert later == scored(source, place, person) == {"x": 1 + 3 / 4, "y": 2}


def test_a_disliked_item_takes_its_place_but_does_not_attract(place: World) -> None:
    person = visits("ab", disliked="b")
    assert scored(near(place), place, person) == {"x": 3}
    assert scored(near(place, decay=0.5), place, person) == {"x": 3 / 2}
    assert scored(near(place, window=1), place, person) == {}


def test_what_means_nothing_does_not_attract(place: World) -> None:
    person = folded([interaction("a", NOON - 1), interaction("b", type="odd")])
    assert scored(near(place), place, person) == {"x": 3}


def test_both_counts_are_smoothed_and_raised_to_their_powers(place: World) -> None:
    tell(place, "a", {"x": 6}, counts={"month": 9 - SMOOTH})
    tell(place, "x", counts={"month": 4 - SMOOTH})
    person = visits("a")
    assert scored(near(place, powers=(1, 0)), place, person) == {"x": pytest.approx(6 / 9)}
    assert scored(near(place, powers=(0, 0.5)), place, person) == {"x": pytest.approx(6 / 2)}
    assert scored(near(place, powers=(0.5, 1)), place, person) == {"x": pytest.approx(6 / 3 / 4)}


def test_an_item_that_nobody_took_lately_is_not_divided_by_nothing(place: World) -> None:
    found = scored(near(place, powers=(1, 1)), place, visits("a"))
    assert found == {"x": pytest.approx(3 / SMOOTH**2)}


def test_transitions_fade_with_their_half_life() -> None:
    place = world("abx")
    tell(place, "a", {"x": 8}, at=NOON - int(2 * HALF_LIFE_DAYS * DAY))
    assert scored(near(place), place, visits("a")) == {"x": pytest.approx(2)}
    slow = replace(place, half_life_days=2 * HALF_LIFE_DAYS)
    assert scored(near(slow), slow, visits("a")) == {"x": pytest.approx(4)}


def test_counts_fade_with_the_months() -> None:
    place = world("ax")
    tell(place, "a", {"x": 8})
    tell(place, "x", counts={"month": 2 * (4 - SMOOTH)}, at=NOON - 30 * DAY)
    assert scored(near(place, powers=(0, 1)), place, visits("a")) == {"x": pytest.approx(2)}


def test_a_new_view_of_an_item_replaces_the_old_one(place: World) -> None:
    tell(place, "b", {"z": 5})
    assert scored(near(place), place, visits("b")) == {"z": 5}


def origins(source: Neighbours, place: World, person: Session, items: str) -> str:
    """Return the letter that each item follows from, "-" for none."""
    item = place.catalogue.rows_of(items).astype(np.int32)
    found = source.origins(contexts(place, person), np.zeros_like(item), item)
    return "".join("-" if row < 0 else place.catalogue.ids[row] for row in found.tolist())


def test_an_item_follows_from_what_gave_it_most(place: World) -> None:
    assert origins(near(place), place, visits("ab"), "xya") == "ab-"
    assert origins(near(place, decay=0.1), place, visits("ab"), "xy") == "bb"
    assert origins(near(place, window=1), place, visits("ba"), "yx") == "-a"
    assert origins(near(place), place, visits("ab", disliked="a"), "x") == "b"
    assert origins(near(place), place, STRANGER, "xy") == "--"


def test_of_equal_causes_the_latest_is_named(place: World) -> None:
    tell(place, "b", {"x": 3})
    assert origins(near(place), place, visits("ab"), "x") == "b"
    assert origins(near(place), place, visits("ba"), "x") == "a"


def test_each_of_many_has_causes_of_his_own(place: World) -> None:
    people = [visits("ab"), STRANGER, visits("b"), visits("a"), visits("ba", disliked="b")]
    item = place.catalogue.rows_of("xyxyx").astype(np.int32)
    row = np.array([0, 0, 2, 2, 4], np.int32)
    found = near(place).origins(contexts(place, *people), row, item)
    assert [place.catalogue.ids[k] for k in found] == ["a", "b", "b", "b", "a"]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_questions_in_parts_are_scored_as_at_once(place: World, size: int) -> None:
    source = near(place, decay=0.9, visit_decay=0.7, powers=(0.5, 0.5))
    people = [visits("ab"), STRANGER, visits("bba", "a"), visits("b"), visits("aab", "ba")]
    together = table(source, contexts(place, *people))
    assert together.any(axis=1).tolist() == [True, False, True, True, True]
    for first in range(0, len(people), size):
        part = table(source, contexts(place, *people[first : first + size]))
        assert np.array_equal(part, together[first : first + size])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_questions_in_parts_have_the_same_causes(place: World, size: int) -> None:
    source, item = near(place, decay=0.9), place.catalogue.rows_of("xy").astype(np.int32)
    people = [visits("ab"), STRANGER, visits("bba", "a"), visits("b"), visits("aab", "ba")]

    def causes(some: list[Session]) -> list[int]:
        row = np.repeat(np.arange(len(some), dtype=np.int32), 2)
        found = source.origins(contexts(place, *some), row, np.tile(item, len(some)))
        return found.tolist()  # type: ignore[no-any-return]

    parts = [causes(people[first : first + size]) for first in range(0, len(people), size)]
    assert sum(parts, []) == causes(people)
    assert len(set(causes(people))) == 3


def test_many_questions_take_memory_by_their_entries_and_not_by_the_catalogue() -> None:
    others = 20_000  # a table of questions by items would take 240 MB
    place = world(["a", "b", "x", "y", "z", *(f"i{k}" for k in range(others))])
    for item in "ab":
        tell(place, item, {"x": 1.0, "y": 2.0, "z": 3.0})
    person = visits("".join("ab" * 50))
    asked = contexts(place, *[person] * 3000)  # 900,000 transitions
    source = near(place)
    tracemalloc.start()
    scores = source.score(asked)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    window = asked.weight.size * 8
    assert peak < 8 * window + 100 * others
    assert scores.mean() == pytest.approx(np.full(3000, 100 * 6 / (others + 5)))


@pytest.mark.parametrize("power", [0.0, 0.3])
def test_a_table_and_a_product_of_sparse_matrices_sum_alike(
    monkeypatch: pytest.MonkeyPatch, power: float
) -> None:
    names, rng = [*ascii_letters[:40]], np.random.default_rng(3)
    place = world(names)
    for name in names[:30]:
        after = rng.choice(names, 6, replace=False).tolist()
        tell(place, name, dict(zip(after, rng.integers(1, 9, 6).tolist(), strict=True)))
    source = near(place, decay=0.7, visit_decay=0.5, powers=(0.6, power))
    people = [visits("".join(rng.choice(names, 12)), "de"), STRANGER, visits("b")]
    asked = contexts(place, *people)
    assert asked.items.size * len(names) < neighbours.FEW
    by_table = table(source, asked)
    monkeypatch.setattr(neighbours, "FEW", 0)
    assert by_table == pytest.approx(table(source, asked), rel=1e-6)
    assert by_table[0].any() and not by_table[1].any()
