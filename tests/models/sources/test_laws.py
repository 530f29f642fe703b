"""What every source of the registry must obey."""

from __future__ import annotations

import numpy as np
import pytest

from features.contexts import ask, meaning_of
from features.session import Session, new_session
from models.arrays import pack, unpack
from models.engine import Engine
from models.pairs import Pairs, Slots
from models.projection import Centred
from models.scores import Blocked
from models.sources.base import Source, World
from models.sources.factors import FEWEST
from models.sources.registry import SOURCES
from models.sources.transformer import Transformer
from models.topk import top_k
from stream.settings import Settings
from tests.builders import DAY, NOON, folded, interaction, search
from tests.models.sources.shop import (
    STRANGER,
    contexts,
    named,
    put,
    scored,
    table,
    tell,
    took,
    visits,
    world,
)
from tests.models.sources.tiny import LETTERS, serve, vector

SAME_FOR_ALL = {"trending_hour", "trending_day", "trending_week", "trending_month", "new"}
PEOPLE = [
    visits("abcab", "da", "ab"),
    STRANGER,
    visits("a"),
    folded([*(interaction(x, NOON - 9) for x in "ce"), search("tea", NOON - 5)]),
    visits("ab", "cd", "ef", "gh", "ij", disliked="bf"),
]

by_name = pytest.mark.parametrize("name", SOURCES)


def build(name: str, place: World) -> Source:
    """Return a source; one that needs a model has it from elsewhere, and before all else."""
    source = SOURCES[name](place, Centred(place.catalogue))
    if isinstance(source, Transformer):
        serve(source, place)
    return source


def stock(place: World, letters: str = LETTERS) -> World:
    """Tell the world all about these items; what is told does not depend on their order."""
    for item in letters:
        k = LETTERS.index(item)
        content = vector(item).tolist()
        put(place, item, f"kind{k % 3}", vector=content, seen=NOON - (10 - k) * DAY)
        after = {LETTERS[(k + step) % 10]: 3.0 / step for step in (1, 2, 5)}
        counts = {"hour": k / 4, "day": k / 2, "week": 1.0 * k, "month": 2.0 * k}
        tell(place, item, after, counts=counts, at=NOON - k * DAY // 4)
    return place


def teach(source: Source, place: World, letters: str = LETTERS) -> None:
    """Teach that each letter is taken after the one before it, and again after a week."""
    lessons = [
        took(place, item, before, exposed=before + item if k % 2 else before)
        for k, (before, item) in enumerate(zip(letters, letters[1:], strict=False))
    ]
    source.learn(lessons)


def taught(name: str, letters: str = LETTERS) -> tuple[Source, World]:
    place = stock(world(letters))
    source = build(name, place)
    teach(source, place)
    return source, place


def each(source: Source, place: World, *people: Session) -> list[dict[str, float]]:
    return [scored(source, place, one) for one in people]


def assert_same(one: list[dict[str, float]], other: list[dict[str, float]]) -> None:
    for left, right in zip(one, other, strict=True):
        assert left == pytest.approx(right, rel=1e-4)


@by_name
def test_scores_are_finite_and_never_negative(name: str) -> None:
    source, place = taught(name)
    scores = table(source, contexts(place, *PEOPLE))
    assert scores.shape == (len(PEOPLE), len(LETTERS))
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert scores.min() == 0 < scores.max()


@by_name
def test_a_source_says_the_same_however_it_is_asked(name: str) -> None:
    source, place = taught(name)
    asked, shape = contexts(place, *PEOPLE), (len(PEOPLE), len(LETTERS))
    scores, whole = source.score(asked), table(source, asked)
    assert np.broadcast_to(scores.mean(), shape[:1]) == pytest.approx(
        whole.astype(np.float64).mean(axis=1), rel=1e-6
    )
    row, item = np.indices(shape, dtype=np.int32).reshape(2, -1)
    slots = Slots(Pairs(row, item), *shape)
    assert scores.at(slots).tolist() == whole.ravel().tolist()
    hidden = np.arange(len(row)) % 3 == 0
    blocked = Blocked(np.arange(shape[1]) != 4, row[hidden], item[hidden], shape[0])
    best = top_k(np.where(blocked.table(), -1, whole), 6)
    assert scores.top(blocked, 6).tolist() == best.tolist()


@by_name
def test_nothing_is_said_where_nothing_is_known(name: str) -> None:
    place = world("abc")
    source = build(name, place)
    assert scored(source, place, STRANGER) == {}


@by_name
def test_a_stranger_gets_only_what_everybody_gets(name: str) -> None:
    source, place = taught(name)
    assert bool(scored(source, place, STRANGER)) == (name in SAME_FOR_ALL)


@by_name
def test_what_is_disliked_does_not_attract(name: str) -> None:
    source, place = taught(name)
    hater = visits("abc", "ab", disliked="abc")
    assert scored(source, place, hater) == scored(source, place, STRANGER)


@by_name
def test_scoring_changes_nothing(name: str) -> None:
    source, place = taught(name)
    before = pack(source.state())
    first = table(source, contexts(place, *PEOPLE))
    assert np.array_equal(table(source, contexts(place, *PEOPLE)), first)
    assert pack(source.state()) == before


@by_name
def test_nothing_is_learned_from_nothing(name: str) -> None:
    source, _ = taught(name)
    before = pack(source.state())
    source.learn([])
    assert pack(source.state()) == before


@by_name
def test_people_do_not_disturb_each_other(name: str) -> None:
    source, place = taught(name)
    together = table(source, contexts(place, *PEOPLE))
    alone = [table(source, contexts(place, one))[0] for one in PEOPLE]
    assert together == pytest.approx(np.array(alone), rel=1e-5)


def test_an_engine_without_items_asks_nobody() -> None:
    place = world()
    engine = Engine(Settings(), place)
    session = new_session("u")
    asked = ask(session, NOON, place.catalogue, meaning_of(Settings()))
    assert list(engine.look([asked])) == []


@by_name
def test_a_source_that_is_older_than_the_items_knows_them_as_well(name: str) -> None:
    place = world("a")
    old = build(name, place)
    old.score(contexts(place, visits("a")))
    place.catalogue.rows_of(LETTERS)
    stock(place)
    teach(old, place)
    assert_same(each(old, place, *PEOPLE), each(*taught(name), *PEOPLE))


@by_name
def test_items_that_come_later_are_covered(name: str) -> None:
    source, place = taught(name, LETTERS)
    assert "y" not in place.catalogue.index
    scores = table(source, contexts(place, visits("ab", "xy")))
    assert scores.shape == (1, len(LETTERS) + 2)
    assert np.isfinite(scores).all()


@by_name
def test_a_restored_source_finds_its_items_by_name(name: str) -> None:
    source, place = taught(name)
    there = stock(world(LETTERS[::-1]))
    other = build(name, there)
    other.restore(unpack(pack(source.state())), there.catalogue.rows_of(place.catalogue.ids))
    assert_same(each(other, there, *PEOPLE), each(source, place, *PEOPLE))


@by_name
def test_a_restored_source_learns_on_as_if_nothing_had_happened(name: str) -> None:
    source, place = taught(name)
    few = LETTERS[:FEWEST]  # one positive too few for the factors, which keep it waiting
    teach(source, place, few)
    there = stock(world(LETTERS[::-1]))
    other = build(name, there)
    other.restore(unpack(pack(source.state())), there.catalogue.rows_of(place.catalogue.ids))
    for one, where in ((source, place), (other, there)):
        teach(one, where, few)
    assert_same(each(other, there, *PEOPLE), each(source, place, *PEOPLE))


def test_an_engine_keeps_its_sources_by_name() -> None:
    place, there = stock(world(LETTERS)), stock(world(LETTERS[::-1] + "x"))
    engine, other = Engine(Settings(), place), Engine(Settings(), there)
    engine.learn([(took(place, item, "a", exposed=item), True) for item in LETTERS[1:]])
    other.restore(engine.state())
    for one, same in zip(engine.sources, other.sources, strict=True):
        found = each(same, there, *PEOPLE)
        for scores in found:
            scores.pop("x", None)  # has come since
        assert_same(found, each(one, place, *PEOPLE))


@by_name
def test_a_clock_that_runs_a_year_ahead_does_no_harm(name: str) -> None:
    source, place = taught(name)
    tell(place, "a", {"b": 1.0}, counts={"month": 1.0}, at=NOON + 30 * 365 * DAY)
    put(place, "c", seen=NOON + 30 * 365 * DAY)
    scores = named(place, source.score(contexts(place, visits("ab", "ac"))))
    assert all(np.isfinite(score) and score > 0 for score in scores.values())
