"""Repeat: the chance of a cell (visits with the item, visits since, days since) times a lift."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from features.contexts import Ragged, ask, build_contexts
from features.owned_before import Entry
from models.sources.base import Positive, World
from models.sources.own import PRIOR_CELL, PRIOR_ITEM, Repeat
from tests.models.sources.shop import SIGNED, STRANGER, named, scored, took, visits, world

UNTAUGHT = 1 / 20
"""One hit in twenty exposures is what an untaught source believes."""


def owning(source: Repeat, place: World, *entries: Entry) -> dict[str, float]:
    """Return the scores of who owns these."""
    contexts = build_contexts([ask(STRANGER, 0, place.catalogue, SIGNED)])
    item, count, age, back = np.array(entries).reshape(-1, 4).T
    f32, i32 = np.float32, np.int32
    row = np.zeros(len(entries), i32)
    owned = Ragged(row, item.astype(i32), count.astype(f32), age.astype(f32), back.astype(i32))
    return named(place, source.score(replace(contexts, owned=owned)))


def expose(source: Repeat, exposed: Entry, *, times: int, hits: int = 0) -> None:
    """Teach that an item was owned at the beginning of so many visits, and taken in some."""
    for k in range(times):
        again = exposed if k < hits else None
        source.learn([Positive(exposed[0], (), (exposed,), again)])


def test_untaught_it_knows_only_what_is_owned() -> None:
    place = world("abc")
    found = scored(Repeat(place), place, visits("ab", "c"))
    assert found == {"a": pytest.approx(UNTAUGHT), "b": pytest.approx(UNTAUGHT)}


def test_what_was_taken_in_this_visit_alone_is_not_offered_again() -> None:
    place = world("ab")
    assert scored(Repeat(place), place, visits("ab")) == {}
    assert scored(Repeat(place), place, visits("a", "ab")).keys() == {"a"}


def test_a_hit_by_hand() -> None:
    place = world("abc")
    source, owned = Repeat(place), (0, 1, 1.0, 1)
    source.learn([Positive(0, (), (owned,), owned)])
    mean = (1 + 1) / (1 + 20)
    chance = (1 + PRIOR_CELL * mean) / (1 + PRIOR_CELL)
    lift = (1 + PRIOR_ITEM) / (UNTAUGHT + PRIOR_ITEM)
    assert owning(source, place, owned) == {"a": pytest.approx(chance * lift)}
    other_item, other_cell = (1, 1, 1.0, 1), (2, 9, 1.0, 1)
    found = owning(source, place, other_item, other_cell)
    assert found == {"b": pytest.approx(chance), "c": pytest.approx(mean)}


def test_an_exposure_without_hit_by_hand() -> None:
    place = world("ab")
    source = Repeat(place)
    source.learn([took(place, "b", exposed="a")])
    mean = 1 / (1 + 20)
    chance = (0 + PRIOR_CELL * mean) / (1 + PRIOR_CELL)
    lift = PRIOR_ITEM / (UNTAUGHT + PRIOR_ITEM)
    assert owning(source, place, (0, 1, 6.5, 1)) == {"a": pytest.approx(chance * lift)}


def test_expectation_is_what_the_cell_said_before_the_lesson() -> None:
    place = world("ab")
    source, owned = Repeat(place), (0, 1, 1.0, 1)
    expose(source, owned, times=2, hits=2)
    after_one = (1 + PRIOR_CELL * 2 / 21) / (1 + PRIOR_CELL)
    lift = (2 + PRIOR_ITEM) / (UNTAUGHT + after_one + PRIOR_ITEM)
    chance = (2 + PRIOR_CELL * 3 / 22) / (2 + PRIOR_CELL)
    assert owning(source, place, owned) == {"a": pytest.approx(chance * lift)}


def test_lessons_of_one_micro_batch_are_all_counted() -> None:
    place = world("ab")
    source, owned = Repeat(place), (0, 1, 1.0, 1)
    source.learn([Positive(0, (), (owned, owned), owned), Positive(0, (), (), owned)])
    mean = (2 + 1) / (2 + 20)
    chance = (2 + PRIOR_CELL * mean) / (2 + PRIOR_CELL)
    lift = (2 + PRIOR_ITEM) / (2 * UNTAUGHT + PRIOR_ITEM)
    assert owning(source, place, owned) == {"a": pytest.approx(chance * lift)}


@pytest.mark.parametrize(
    ("like", "unlike"),
    [
        ((1, 6.9, 1), (2, 6.9, 1)),
        ((2, 0.0, 1), (3, 0.0, 1)),
        ((4, 0.0, 1), (5, 0.0, 1)),
        ((1, 0.0, 1), (1, 0.0, 2)),
        ((1, 0.0, 5), (1, 0.0, 6)),
        ((1, 0.0, 10), (1, 0.0, 11)),
        ((1, 0.5, 1), (1, 7.0, 1)),
        ((1, 20.9, 1), (1, 21.0, 1)),
        ((1, 44.9, 1), (1, 45.0, 1)),
        ((1, 119.0, 1), (1, 120.0, 1)),
    ],
)
def test_a_cell_learns_for_itself(
    like: tuple[int, float, int], unlike: tuple[int, float, int]
) -> None:
    place = world("abc")
    source = Repeat(place)
    expose(source, (0, *like), times=40, hits=40)
    found = owning(source, place, (1, *like), (2, *unlike))
    assert found["b"] > 1.05 * found["c"]


def test_a_cell_comes_near_its_share() -> None:
    place = world("ab")
    source = Repeat(place)
    expose(source, (0, 1, 1.0, 1), times=4000, hits=1000)
    assert owning(source, place, (1, 1, 1.0, 1))["b"] == pytest.approx(0.25, rel=0.01)


def test_an_item_that_is_taken_again_oftener_than_others_has_a_lift() -> None:
    place = world("abc")
    source = Repeat(place)
    cell = (1, 1.0, 1)
    for _ in range(100):
        expose(source, (0, *cell), times=10, hits=9)
        expose(source, (1, *cell), times=10, hits=1)
    found = owning(source, place, (0, *cell), (1, *cell), (2, *cell))
    assert found["a"] == pytest.approx(0.9, rel=0.05)
    assert found["b"] == pytest.approx(0.1, rel=0.1)
    assert found["c"] == pytest.approx(0.5, rel=0.05)
