"""Reasons: who is named, with which share, and which past item is named as the cause."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from features.card import AsOf
from features.contexts import ask
from features.session import Session
from models.answer import Reason, decode_answer, encode_answer
from models.engine import Engine
from models.explain import compose, reasons_of
from models.sources.base import World
from stream.settings import Settings
from tests.builders import NOON
from tests.models.sources.shop import SIGNED, put, tell, visits, world


def engine(place: World, *enabled: str, weights: Mapping[str, float], **recommend: float) -> Engine:
    """Return an engine of these sources that weighs these features and nothing else."""
    rules = {"explore": 0, "diversity": 0, "explained": 10} | recommend
    settings = {"sources": {"enabled": enabled}, "recommend": rules}
    made = Engine(Settings.model_validate(settings), place)
    made.weights["next"][:] = 0
    for name, weight in weights.items():
        made.weights["next"][:, made.signals.names.index(name)] = weight
    return made


def reasons(made: Engine, person: Session) -> dict[str, list[Reason]]:
    """Return the reasons for every item of a person's list."""
    catalogue = made.world.catalogue
    (chunk,) = made.look([ask(person, NOON, catalogue, SIGNED)])
    lists, view = made.finish(chunk)
    (found,) = reasons_of(made, chunk, lists, view)
    listed = [catalogue.ids[item] for item in lists.item[0].tolist() if item >= 0]
    return dict(zip(listed, found, strict=False))


def test_a_source_that_does_not_know_the_item_is_no_reason_for_it() -> None:
    place = world("abxy")
    tell(place, "a", {"x": 3})
    tell(place, "y", counts={"week": 4})
    # the silence of either speaks for what the other one knows
    names = ("last", "trending_week")
    weights = {f"{name}.lift": -1.0 for name in names} | {f"{name}.rank": 4.0 for name in names}
    found = reasons(engine(place, *names, weights=weights), visits("a"))
    assert found == {
        "x": [Reason("last", 1.0, "a")],
        "y": [Reason("trending_week", 1.0)],
    }


def test_shares_are_of_all_that_spoke_for_the_item() -> None:
    place = world("abxy")
    tell(place, "a", {"x": 3})
    tell(place, "x", counts={"week": 4})
    tell(place, "y", counts={"week": 4, "day": 1})
    weights = {"last.rank": 3.0, "trending_week.rank": 1.0, "trending_day.lift": -1.0}
    made = engine(place, "last", "trending_week", "trending_day", weights=weights)
    found = reasons(made, visits("a"))
    assert found["x"] == [Reason("last", 0.75, "a"), Reason("trending_week", 0.25)]
    assert [why.source for why in found["y"]] == ["trending_week"]


def test_the_last_source_follows_from_the_last_item_alone() -> None:
    place = world("abx")
    tell(place, "a", {"x": 9})
    tell(place, "b", {"x": 1})
    made = engine(place, "last", weights={"last.rank": 1.0})
    assert reasons(made, visits("ab"))["x"] == [Reason("last", 1.0, "b")]
    assert reasons(made, visits("ba"))["x"] == [Reason("last", 1.0, "a")]


def test_what_comes_after_an_item_of_long_ago_names_it() -> None:
    place = world("abcdefghijklmx")
    tell(place, "b", {"x": 9})
    tell(place, "c", {"x": 2})
    made = engine(place, "history", weights={"history.rank": 1.0})
    assert reasons(made, visits("abcdefghijklm"))["x"] == [Reason("history", 1.0, "b")]


def test_what_lies_further_back_attracts_less() -> None:
    place = world("abcdx")
    tell(place, "a", {"x": 3})
    tell(place, "d", {"x": 2})
    made = engine(place, "neighbours", weights={"neighbours.rank": 1.0})
    assert reasons(made, visits("abcd"))["x"] == [Reason("neighbours", 1.0, "d")]


def test_content_names_what_the_item_is_like() -> None:
    place = world()
    for name, vector in (("a", (1, 0)), ("b", (0, 1)), ("x", (0.9, 0.1)), ("z", (-1, -1))):
        put(place, name, vector=vector)
    made = engine(place, "content", "trending_week", weights={"content.rank": 1.0})
    assert reasons(made, visits("ab"))["x"] == [Reason("content", 1.0, "a")]


@pytest.mark.parametrize("explained", [0, 1, 2, 9])
def test_the_first_items_alone_are_explained_and_as_if_all_were(explained: int) -> None:
    place = world("abxyz")
    tell(place, "a", {"x": 3, "y": 2, "z": 1})
    made = engine(place, "last", weights={"last.rank": 1.0}, explained=explained)
    every = reasons(made, visits("a"))
    (chunk,) = made.look([ask(visits("a"), NOON, place.catalogue, SIGNED)])
    (answer,) = compose(made, chunk, [("u", AsOf(0, 0, NOON))], "m", NOON)
    listed = {one.item: one.reasons for one in answer.items}
    assert list(listed) == list(every) == ["x", "y", "z"]
    assert list(listed.values()) == [*list(every.values())[:explained], *[[]] * (3 - explained)][:3]
    plain = json.loads(encode_answer(answer))["items"]
    assert ["reasons" in one for one in plain] == [n < explained for n in range(3)]
    assert decode_answer(encode_answer(answer)) == answer


def a_large_place() -> World:
    """Return a world where all sources have something to say."""
    letters = "abcdefghij"
    place = world(letters)
    rng = np.random.default_rng(6)
    for k, item in enumerate(letters):
        put(place, item, f"kind{k % 3}", vector=rng.normal(size=2).tolist(), seen=NOON - k)
        following = {letters[(k + step) % 10]: 1.0 / step for step in (1, 2, 5)}
        tell(place, item, following, counts={"day": k, "week": 2.0 * k})
    return place


@pytest.mark.parametrize("explore", [0, 2])
@pytest.mark.parametrize("skip", [1, 2])
def test_lists_are_the_same_where_the_sources_were_asked_of_more(skip: int, explore: int) -> None:
    place = a_large_place()
    weights = {"last.rank": 1.0, "content.lift": 0.5, "new.rank": 0.2}
    made = engine(place, weights=weights, length=6, explore=explore, diversity=0.4)
    people = [visits("abc", "de"), visits("a"), visits("ij", disliked="j"), visits("gf", "a")]
    asked = [ask(person, NOON, place.catalogue, SIGNED) for person in people]
    users = [(str(n), AsOf(0, n, NOON)) for n in range(len(people) - skip)]
    (alone,), (more,) = made.look(asked[skip:]), made.look(asked)
    expected = compose(made, alone, users, "m", NOON)
    assert compose(made, replace(more, skip=skip), users, "m", NOON) == expected
    assert len({tuple(one.item for one in answer.items) for answer in expected}) > 1


@pytest.mark.parametrize("sign", [-1, 1])
def test_only_sources_that_score_an_item_are_named(sign: int) -> None:
    place, rng = a_large_place(), np.random.default_rng(7)
    made = engine(place, weights={})
    made.weights["next"][:] = sign * rng.random(made.weights["next"].shape)
    people = [visits("abc", "de"), visits("a"), visits("ij", disliked="j")]
    named = 0
    for person in people:
        (chunk,) = made.look([ask(person, NOON, place.catalogue, SIGNED)])
        lists, view = made.finish(chunk)
        (found,) = reasons_of(made, chunk, lists, view)
        for item, why in zip(lists.item[0], found, strict=True):
            tables = (chunk.retrieval.table(s)[0] for s in range(len(made.sources)))
            scores = [float(table[item]) for table in tables]
            score = {source.name: score for source, score in zip(made.sources, scores, strict=True)}
            sources = [one.source for one in why if one.source in score]
            assert all(score[name] > 0 for name in sources)
            named += len(sources)
    assert named > 10


def test_where_nothing_raised_the_score_all_who_know_the_item_share_alike() -> None:
    place = world("abx")
    tell(place, "a", {"x": 3})
    tell(place, "x", counts={"week": 4})
    found = reasons(engine(place, "last", "trending_week", weights={}), visits("a"))
    assert found["x"] == [Reason("last", 0.5, "a"), Reason("trending_week", 0.5)]
