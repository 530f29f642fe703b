"""Routine: who takes the same things again often does so in the same order."""

from __future__ import annotations

import pytest

from models.sources.own import ROUTINE_AHEAD, ROUTINE_DECAY, ROUTINE_LAST, Routine
from tests.builders import DAY, NOON, folded, interaction
from tests.models.sources.shop import STRANGER, scored, visits, world


def routine(*taken: str, disliked: str = "") -> dict[str, float]:
    place = world("abcdefg")
    return scored(Routine(place), place, visits(*taken, disliked=disliked))


def test_what_followed_in_an_earlier_visit_follows_again() -> None:
    assert routine("abc", "a") == {"b": 1, "c": ROUTINE_DECAY}
    assert routine("abc", "b") == {"c": 1}
    assert routine("abc", "c") == {}


def test_followers_lie_so_far_ahead_and_no_further() -> None:
    found = routine("abcdefg", "a")
    assert found == {"b": 1, "c": 0.5, "d": 0.25}
    assert len(found) == ROUTINE_AHEAD


def test_every_earlier_visit_counts() -> None:
    assert routine("ac", "ab", "ab", "d", "ef", "a") == {"b": 2, "c": 1}


def test_a_follower_is_of_the_same_visit() -> None:
    assert routine("a", "bc", "a") == {}
    assert routine("da", "bc", "a") == {}
    assert routine("ab", "c", "a") == {"b": 1}


def test_the_present_visit_is_no_evidence() -> None:
    assert routine("aba") == {}
    assert routine("ac", "aba") == {"c": 1 + ROUTINE_DECAY**2}


def test_the_items_before_the_last_one_count_less() -> None:
    assert routine("xc", "yd", "xy") == {"d": 1, "c": ROUTINE_DECAY}
    assert routine("xc", "yd", "yx") == {"c": 1, "d": ROUTINE_DECAY}


def test_only_the_last_items_count() -> None:
    last = "efg"
    assert len(last) == ROUTINE_LAST
    assert routine("xc", "x" + last[1:]) == {"c": ROUTINE_DECAY**2}
    assert routine("xc", "x" + last) == {}


def test_an_item_of_an_earlier_visit_asks_only_those_before_it() -> None:
    assert routine("ab", "ac", "z") == {"b": ROUTINE_DECAY**2}


def test_what_is_disliked_neither_leads_nor_follows() -> None:
    assert routine("abc", "a", disliked="a") == {}
    assert routine("abc", "a", disliked="b") == {"c": ROUTINE_DECAY}


def test_a_type_that_means_nothing_does_not_lead() -> None:
    place = world("ab")
    person = folded([interaction(x, NOON - DAY + k) for k, x in enumerate("ab")])
    again = folded([interaction("a", type="odd")], state=person, first=2)
    assert scored(Routine(place), place, again) == {}


def test_who_has_one_interaction_or_none_has_no_routine() -> None:
    assert routine("a") == {}
    place = world("a")
    assert scored(Routine(place), place, STRANGER) == {}


@pytest.mark.parametrize("others", [1, 3])
def test_it_is_the_users_own(others: int) -> None:
    place = world("abc")
    people = [visits("ab", "a"), *[visits("ac", "a")] * others]
    found = [scored(Routine(place), place, one) for one in people]
    assert found == [{"b": 1}, *[{"c": 1}] * others]
