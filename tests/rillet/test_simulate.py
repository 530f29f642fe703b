"""The made-up shop: the same from the same seed, like life, and true to its own truth."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from rillet.simulate import EXAMINATION, HitRates, Step, World, oracle_hit_rates, oracle_scores
from stream.errors import RilletError
from stream.events import (
    BadRecord,
    Identify,
    Interaction,
    Item,
    Ranking,
    Search,
    decode,
    encode,
)

PLAN: dict[str, Any] = {"seed": 5, "users": 500, "items": 900, "days": 7}


@pytest.fixture(scope="module")
def world() -> World:
    return World(**PLAN)


@pytest.fixture(scope="module")
def steps(world: World) -> list[Step]:
    return list(world.steps())


@pytest.fixture(scope="module")
def found(world: World) -> HitRates:
    return oracle_hit_rates(world, sample=0.25, skip=0.3)


def test_the_same_plan_gives_the_same_bytes(steps: list[Step]) -> None:
    again = [encode(event) for event in World(**PLAN).events()]
    assert again == [encode(step.event) for step in steps]
    other = World(**(PLAN | {"seed": 6}))
    assert again[:50] != [
        encode(event) for _, event in zip(range(50), other.events(), strict=False)
    ]


def test_every_event_decodes_to_itself(steps: list[Step]) -> None:
    for step in steps:
        back = decode(encode(step.event))
        assert not isinstance(back, BadRecord)
        assert back == step.event


def test_events_come_in_time_order_with_ids_of_their_own(steps: list[Step]) -> None:
    assert all(a.event.timestamp <= b.event.timestamp for a, b in pairwise(steps))
    ids = [step.event.id for step in steps]
    assert None not in ids
    assert len(set(ids)) == len(ids)


def test_nothing_is_touched_or_shown_before_it_arrives(steps: list[Step]) -> None:
    there: set[str] = set()
    for step in steps:
        match step.event:
            case Item(item=name):
                there.add(name)
            case Interaction(item=name):
                assert name in there
            case Ranking(items=shown):
                assert all(one.id in there for one in shown)
            case _:
                pass
    late = [s.event for s in steps if isinstance(s.event, Item)][-1]
    assert late.timestamp > steps[0].event.timestamp


def test_clicks_name_lists_that_showed_the_item_to_the_same_actor(steps: list[Step]) -> None:
    lists = {s.event.id: s.event for s in steps if isinstance(s.event, Ranking)}
    named = [s.event for s in steps if isinstance(s.event, Interaction) and s.event.ranking]
    assert named
    for event in named:
        shown = lists[event.ranking]
        assert event.actor == shown.actor
        assert event.item in {one.id for one in shown.items}
        assert event.timestamp > shown.timestamp


def test_clicks_lean_to_the_top_and_propensities_are_chances(steps: list[Step]) -> None:
    lists = {s.event.id: s.event for s in steps if isinstance(s.event, Ranking)}
    places: Counter[int] = Counter()
    for step in steps:
        event = step.event
        if isinstance(event, Interaction) and event.ranking and event.type == "click":
            order = [one.id for one in lists[event.ranking].items]
            places[order.index(event.item)] += 1
    assert sum(places[p] for p in range(3)) > 1.5 * sum(places[p] for p in range(6, 9))
    assert EXAMINATION[0] == 1.0
    for shown in lists.values():
        assert all(0 < (one.propensity or 0) <= 1 for one in shown.items)


def test_propensities_tell_how_often_an_item_is_shown_first(steps: list[Step]) -> None:
    heads = [s.event.items[0] for s in steps if isinstance(s.event, Ranking)]
    mean = float(np.mean([head.propensity or 0 for head in heads]))
    # a draw by weights w shows first an item of mean weight sum(w^2): far above 1 / items
    assert mean > 3 / PLAN["items"]
    top, times = Counter(head.id for head in heads).most_common(1)[0]
    assert times / len(heads) < 0.2, top


def test_searches_are_followed_by_what_was_asked_for(world: World, steps: list[Step]) -> None:
    titles = {
        s.event.item: str(s.event.fields[0].value) for s in steps if isinstance(s.event, Item)
    }
    asked: dict[str, str] = {}
    matched = []
    for step in steps:
        if isinstance(step.event, Search):
            asked[step.event.actor] = step.event.query
        elif step.moment is not None and step.moment.kind == "noun":
            assert isinstance(step.event, Interaction)
            noun = asked[step.event.actor].split()[-1]
            matched.append(noun in titles[step.event.item])
    assert matched
    assert all(matched)


def test_anonymous_visitors_log_in_once_and_bring_a_past(steps: list[Step]) -> None:
    identifies = [s.event for s in steps if isinstance(s.event, Identify)]
    assert identifies
    assert len({event.anonymous for event in identifies}) == len(identifies)
    seen: set[str] = set()
    for step in steps:
        if isinstance(step.event, Identify):
            assert step.event.user not in seen
        if isinstance(step.event, Interaction | Ranking | Search):
            seen.add(step.event.actor)
    assert all(event.anonymous in seen for event in identifies)


def test_activity_and_popularity_are_skewed(steps: list[Step]) -> None:
    deeds = [s.event for s in steps if isinstance(s.event, Interaction)]
    by_user = sorted(Counter(event.actor for event in deeds).values())
    by_item = sorted(Counter(event.item for event in deeds).values())
    for counts in (by_user, by_item):
        tenth = len(counts) // 10
        assert sum(counts[-tenth:]) > 0.3 * sum(counts)
    assert by_user[len(by_user) // 2] <= 12


def test_consumables_are_bought_again(steps: list[Step]) -> None:
    bought: Counter[tuple[str, str]] = Counter()
    for step in steps:
        if isinstance(step.event, Interaction) and step.event.type == "purchase":
            bought[step.event.actor, step.event.item] += 1
    assert max(bought.values()) > 1


def test_there_are_negatives_and_values(steps: list[Step]) -> None:
    kinds = Counter(s.event.type for s in steps if isinstance(s.event, Interaction))
    assert set(kinds) == {"click", "view", "like", "dislike", "dwell", "cart", "purchase"}
    dwells = [s for s in steps if isinstance(s.event, Interaction) and s.event.type == "dwell"]
    for step in dwells:
        assert isinstance(step.event, Interaction)
        assert step.event.value is not None
        assert (step.moment is not None) == (step.event.value >= 10)


def test_scores_are_chances_over_what_is_on_sale(world: World, steps: list[Step]) -> None:
    picks = [s.moment for s in steps if s.moment is not None and s.moment.kind != "list"]
    for moment in picks[::97]:
        scores = oracle_scores(world, moment)
        assert scores.min() >= 0
        assert scores.sum() == pytest.approx(1.0)
        assert not scores[world.items.arrival > moment.time].any()


def test_what_happens_had_a_chance(world: World, steps: list[Step]) -> None:
    """The generator and the oracle share one truth: nothing happens that it calls impossible."""
    for step in steps[::13]:
        if step.moment is not None and isinstance(step.event, Interaction):
            assert oracle_scores(world, step.moment)[world.numbers[step.event.item]] > 0


def test_the_truth_is_calibrated(world: World, steps: list[Step]) -> None:
    """Of picks, the share that falls on the oracle's best ten is what it gave them."""
    hoped, hits = list[float](), list[bool]()
    for step in steps:
        if step.moment is None or step.moment.kind != "pick" or len(hoped) >= 3000:
            continue
        assert isinstance(step.event, Interaction)
        scores = oracle_scores(world, step.moment)
        best = np.argsort(-scores)[:10]
        hoped.append(scores[best].sum())
        hits.append(world.numbers[step.event.item] in best)
    error = 4 * np.sqrt(0.25 / len(hits))
    assert np.mean(hits) == pytest.approx(np.mean(hoped), abs=error)


def test_oracle_beats_popularity_beats_chance(found: HitRates) -> None:
    for rates in (found.rates, found.fresh):
        assert rates["oracle"].hr > 2 * rates["popularity"].hr
        assert rates["popularity"].hr > 2 * rates["random"].hr
        assert rates["oracle"].hr < 0.75
        assert rates["oracle"].ndcg > rates["popularity"].ndcg > rates["random"].ndcg


def test_users_and_items_are_cold_now_and_then(found: HitRates) -> None:
    assert 0.02 < found.cold_users < 0.5
    assert 0.02 < found.cold_items < 0.5
    assert found.as_dict()["positives"] == found.positives


@pytest.mark.parametrize("wrong", [{"items": 10}, {"users": 0}, {"days": 0}, {"seed": -1}])
def test_impossible_worlds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RilletError) as caught:
        World(**wrong)
    assert caught.value.mend
