from __future__ import annotations

import pytest

from models.sources.base import World
from models.sources.own import Fresh
from tests.builders import DAY, NOON
from tests.models.sources.shop import STRANGER, contexts, put, scored, table, visits, world


@pytest.fixture
def place() -> World:
    """Return a world that began with a and b; u has no date."""
    place = world("u")
    for item, days in (("a", 100), ("b", 100), ("c", 4), ("d", 2), ("e", 0)):
        put(place, item, seen=NOON - days * DAY)
    return place


def test_novelty_halves_with_its_half_life(place: World) -> None:
    assert scored(Fresh(place), place, STRANGER) == {"c": 0.25, "d": 0.5, "e": 1}
    assert scored(Fresh(place, half_life_days=4), place, STRANGER)["c"] == 0.5
    later = scored(Fresh(place), place, STRANGER, now=NOON + 2 * DAY)
    assert later == {"c": 0.125, "d": 0.25, "e": 0.5}


def test_what_was_there_at_the_start_is_not_new() -> None:
    place = world("u")
    put(place, "a", seen=NOON)
    put(place, "b", seen=NOON)
    assert scored(Fresh(place), place, STRANGER) == {}
    put(place, "c", seen=NOON + 1)
    assert scored(Fresh(place), place, STRANGER, now=NOON + 1) == {"c": 1}


def test_after_some_weeks_an_item_is_not_new_at_all(place: World) -> None:
    source = Fresh(place)
    assert "e" in scored(source, place, STRANGER, now=NOON + 19 * DAY)
    assert "e" not in scored(source, place, STRANGER, now=NOON + 20 * DAY)


def test_an_item_from_after_the_question_is_as_new_as_can_be(place: World) -> None:
    put(place, "f", seen=NOON + 9 * DAY)
    assert scored(Fresh(place), place, STRANGER)["f"] == 1


def test_one_that_was_asked_before_says_what_a_new_one_does(place: World) -> None:
    source = Fresh(place)
    for days in (0, 3, 18, 1, 30, 0, 25):
        now = NOON + days * DAY
        expected = scored(Fresh(place), place, STRANGER, now=now)
        assert scored(source, place, STRANGER, now=now) == expected
        put(place, f"of day {days}", seen=now - DAY)
        expected = scored(Fresh(place), place, STRANGER, now=now)
        assert f"of day {days}" in expected
        assert scored(source, place, STRANGER, now=now) == expected


def test_everybody_gets_the_same(place: World) -> None:
    together = table(Fresh(place), contexts(place, visits("ae"), STRANGER))
    alone = [table(Fresh(place), contexts(place, one))[0] for one in (visits("ae"), STRANGER)]
    assert together.tolist() == [alone[0].tolist()] * 2 == [alone[1].tolist()] * 2
    assert together.any()
