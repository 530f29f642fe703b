"""Content and Query. Cosines are 1, 1/2 or less than 0 here: angles of 0, 60 and more degrees."""

from __future__ import annotations

from math import expm1, sqrt

import numpy as np
import pytest

from features.contexts import QUERY_LIFE_MS
from models.projection import Centred
from models.sources.base import World
from models.sources.content import SHARPNESS, Content, Query
from tests.builders import NOON, folded, interaction, search
from tests.models.sources.shop import STRANGER, contexts, put, scored, table, visits, world

SIXTY = (0.5, sqrt(3) / 2)
ONE, HALF = expm1(SHARPNESS), expm1(SHARPNESS / 2)
ROUND = {"a": (1, 0), "b": SIXTY, "c": (-1, 0), "d": (-SIXTY[0], -SIXTY[1])}


@pytest.fixture
def place() -> World:
    """Return a world of four items whose vectors' mean is 0; z has none."""
    place = world()
    for item, vector in ROUND.items():
        put(place, item, vector=vector)
    put(place, "z")
    return place


def content(place: World, window: int = 5, decay: float = 0.5) -> Content:
    return Content(Centred(place.catalogue), "content", window=window, decay=decay)


def test_the_cosine_to_the_last_item_is_sharpened(place: World) -> None:
    found = scored(content(place), place, visits("a"))
    assert found == pytest.approx({"a": ONE, "b": HALF}, rel=1e-5)


def test_further_items_count_less(place: World) -> None:
    found = scored(content(place), place, visits("ba"))
    length = sqrt(1.25**2 + (sqrt(3) / 4) ** 2)  # of (1, 0) + SIXTY / 2
    assert found == pytest.approx(
        {"a": expm1(SHARPNESS * 1.25 / length), "b": expm1(SHARPNESS * 1 / length)}, rel=1e-5
    )


def test_only_the_window_counts(place: World) -> None:
    narrow = content(place, window=1)
    assert scored(narrow, place, visits("dba")) == scored(narrow, place, visits("a"))
    assert scored(content(place), place, visits("dba")) != scored(narrow, place, visits("a"))


def test_a_disliked_item_is_left_out_of_the_mean(place: World) -> None:
    found = scored(content(place), place, visits("ab", disliked="b"))
    assert found == pytest.approx(scored(content(place), place, visits("a")))


def test_items_that_cancel_out_or_have_no_vector_say_nothing(place: World) -> None:
    assert scored(content(place, decay=1), place, visits("ac")) == {}
    assert scored(content(place), place, visits("z")) == {}
    assert scored(content(place), place, STRANGER) == {}


def test_what_all_titles_have_in_common_does_not_count() -> None:
    place = world()
    for item, vector in (("a", (3, 4)), ("b", (4, 3)), ("c", (3, 4))):
        put(place, item, vector=vector)
    found = scored(content(place), place, visits("a"))
    assert found == pytest.approx({"a": ONE, "c": ONE}, rel=1e-5)


def test_an_item_without_vector_does_not_move_the_mean(place: World) -> None:
    before = scored(content(place), place, visits("a"))
    for item in "uvw":
        put(place, item)
    assert scored(content(place), place, visits("a")) == pytest.approx(before)


def test_new_texts_are_taken_up(place: World) -> None:
    source = content(place)
    assert "d" not in scored(source, place, visits("a"))
    put(place, "a", vector=ROUND["d"])
    put(place, "d", vector=ROUND["a"])
    assert "d" not in scored(source, place, visits("a"))
    assert scored(source, place, visits("d")) == pytest.approx({"d": ONE, "b": HALF}, rel=1e-5)


def test_centred_vectors_are_kept_until_the_catalogue_changes(place: World) -> None:
    centred = Centred(place.catalogue)
    first = centred.vectors()
    assert np.shares_memory(centred.vectors(), first)
    first[0] = 7  # what is kept is not made again
    assert centred.vectors()[0].tolist() == [7, 7]
    place.catalogue.ensure("new")
    assert len(centred.vectors()) == len(first) + 1


def query(place: World) -> Query:
    """Return the source over whole vectors: there are too few items for axes."""
    return Query(place, Centred(place.catalogue, axes=64))


def test_the_cosine_to_the_query_is_sharpened_and_not_centred() -> None:
    place = world()
    put(place, "a", vector=(1, 0))
    put(place, "b", vector=SIXTY)
    put(place, "c", vector=(0, 1))
    put(place, "z")
    found = scored(query(place), place, folded([search("tea")]))
    assert found == pytest.approx({"a": ONE, "b": HALF}, rel=1e-5)


def test_no_query_says_nothing_and_a_stale_one_neither(place: World) -> None:
    assert scored(query(place), place, visits("ab")) == {}
    person = folded([search("tea"), interaction("a", NOON + 1)])
    assert scored(query(place), place, person, now=NOON + QUERY_LIFE_MS)
    assert scored(query(place), place, person, now=NOON + QUERY_LIFE_MS + 1) == {}


def test_each_gets_the_answer_to_his_own_query(place: World) -> None:
    put(place, "h", vector=(3, 4))
    people = [STRANGER, folded([search("hats")]), visits("a"), folded([search("tea")])]
    scores = table(query(place), contexts(place, *people))
    assert not scores[[0, 2]].any()
    best = scores[[1, 3]].argmax(axis=1)
    assert [place.catalogue.ids[row] for row in best] == ["h", "a"]
