"""The whole engine over a small log: deterministic, and what it writes is sound."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from consumers.replay import source_names
from features.contexts import ask, meaning_of
from models.answer import Answer
from models.arrays import unpack
from models.evaluation import Evaluation
from stream.events import Event
from stream.keys import DEFAULT_USER
from stream.settings import Settings
from tests.builders import DAY, MINUTE, NOON, interaction, item, profile, search
from tests.consumers.small_log import (
    CLUSTERS,
    FORGOTTEN,
    WITHDRAWN,
    Result,
    Run,
    the_items,
    the_log,
)


def test_the_same_log_and_seed_give_the_same_bytes_of_every_key(run: Run, usual: Result) -> None:
    again = run(the_log()).keys()
    first = usual.keys()
    assert again.keys() == first.keys()
    assert [name for name in first if again[name] != first[name]] == []
    kinds = {name.split(":")[1] for name in first}
    assert kinds >= {"recs", "session", "item", "neighbours", "itemstate", "vector", "learner"}


def test_another_seed_learns_otherwise(
    run: Run, usual: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.lessons.EARLY", 0)
    one, other = (run(the_log(), blend={"seed": seed, "sample": 0.5}) for seed in (0, 1))
    assert one.kind("learner") != other.kind("learner")
    assert one.kind("session") == other.kind("session") == usual.kind("session")


def lists_of(result: Result) -> tuple[int, float, int]:
    """Return how many shown items taught the head, how many counted, and in how many lists."""
    engine, learner = result.replay.personalize.engine, result.replay.personalize.learners.held[0]
    known = unpack(engine.lists.state())
    total, told = known["counts.total"], known["differences.counts"]
    return learner.heads["shown"].examples, float(total[1]), int(told[0])


def test_few_lists_are_drawn_and_all_count(
    run: Run, usual: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.lessons.EARLY_CLICKS", 0)
    few = run(the_log(), blend={"sample": 0.25})
    all_examples, *all_counted = lists_of(usual)
    examples, *counted = lists_of(few)
    assert 0 < examples < all_examples / 2
    assert counted == all_counted


def test_who_is_watched_learns_no_more(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.lessons.EARLY", 0)
    monkeypatch.setattr("models.lessons.EARLY_CLICKS", 0)
    alone = run(the_log(), blend={"sample": 0.25})
    watcher = Evaluation(0, source_names(Settings()))
    watched = run(the_log(), blend={"sample": 0.25}, evaluation=watcher)
    assert lists_of(watched) == lists_of(alone)
    one, other = (r.replay.personalize.learners.held[0].heads for r in (watched, alone))
    for name in ("next", "shown"):  # sums of other batches: they differ in their last digits
        mine, theirs = one[name].state(), other[name].state()
        assert mine.examples == theirs.examples > 0
        assert mine.weights == pytest.approx(theirs.weights, rel=1e-4, abs=1e-6)
    assert watcher.report()["rerank"]["blend"]["n"] > lists_of(watched)[0] / 5


def test_early_positives_are_all_learned_from(run: Run, usual: Result) -> None:
    sparing = run(the_log(), blend={"sample": 0.01})
    assert sparing.kind("learner") == usual.kind("learner")


def stripped(states: dict[str, Any], *names: str) -> dict[str, Any]:
    for state in states.values():
        for name in names:
            state.pop(name, None)
    return states


def test_partitions_change_stamps_alone(run: Run, usual: Result) -> None:
    wide = run(the_log(), partitions=4)
    places = {state["as_of"]["partition"] for state in wide.kind("session").values()}
    assert len(places) > 1
    one, four = (stripped(r.kind("session"), "as_of", "merged") for r in (usual, wide))
    assert four == one
    one, four = (stripped(r.kind("itemstate"), "as_of", "seen") for r in (usual, wide))
    assert four == one
    one, four = (stripped(r.kind("neighbours"), "as_of") for r in (usual, wide))
    assert four == one


def test_every_topic_may_be_partitioned_otherwise(run: Run, usual: Result) -> None:
    topics = Settings().kafka
    one = (topics.catalogue, topics.transitions, topics.deadletters)
    parted = run(the_log(), partitions={topics.events: 3, **dict.fromkeys(one, 1)})
    assert parted.kind("item") == usual.kind("item")
    assert {state.as_of.partition for state in parted.sessions().values()} == {0, 1, 2}
    held, alone = (one.replay.personalize.learners.held for one in (parted, usual))
    assert sum(learner.positives for learner in held.values()) == alone[0].positives


def test_size_of_batches_does_not_change_states_and_statistics(run: Run, usual: Result) -> None:
    other = run(the_log(), batch={"max_records": 7})
    assert stripped(other.kind("session"), "as_of", "merged") == stripped(
        usual.kind("session"), "as_of", "merged"
    )
    assert stripped(other.kind("neighbours"), "as_of") == stripped(
        usual.kind("neighbours"), "as_of"
    )


def test_lists_hold_known_items_once_and_each_has_its_reasons(usual: Result) -> None:
    answers = usual.answers()
    assert len(answers) >= 10
    ids = set(usual.kind("item"))
    for name, answer in answers.items():
        items = [one.item for one in answer.items]
        assert answer.user == name
        assert items
        assert len(set(items)) == len(items)
        assert set(items) <= ids
        for one in answer.items:
            assert 0 < one.score < 1
            assert sum(reason.share for reason in one.reasons) <= 1.002
            assert all(reason.share > 0 for reason in one.reasons)
        assert set(answer.sources) <= set(source_names(usual.replay.settings))
        assert answer.as_of.event_time <= answer.generated_at


def test_users_are_shown_their_own_cluster_first(run: Run) -> None:
    result = run(the_log(), recommend={"repeats": "allow", "explore": 0})
    for n in range(10):
        if f"user{n}" == FORGOTTEN:
            continue
        answer = result.answer(f"user{n}")
        assert answer is not None
        mine = "k" if n < 5 else "c"
        top = [one.item[0] for one in answer.items[:5]]
        assert top.count(mine) >= 4


def test_unknown_users_get_the_default_list(usual: Result) -> None:
    answer = usual.answer(DEFAULT_USER)
    assert answer is not None
    assert answer.items
    assert any("trending" in name for name in answer.sources)


def test_a_withdrawn_item_vanishes_from_new_lists(usual: Result) -> None:
    assert usual.kind("item")[WITHDRAWN]["withdrawn"]
    ended = NOON + 31 * 5 * MINUTE
    fresh = [one for one in usual.answers().values() if one.as_of.event_time > ended]
    assert len(fresh) > 5
    assert all(WITHDRAWN not in [one.item for one in answer.items] for answer in fresh)


def filled(result: Result, user: str) -> set[str]:
    """Return the parts of a state in which there is anything."""
    state = msgspec.to_builtins(result.sessions()[user])
    return {name for name, part in state.items() if part}


def of_nobody(answer: Answer | None) -> bool:
    """Tell whether a list is that of somebody of whom nothing is known."""
    assert answer is not None
    return bool(answer.items) and not any(why.item for one in answer.items for why in one.reasons)


def test_a_forgotten_user_has_the_list_of_strangers_and_an_empty_state(usual: Result) -> None:
    assert of_nobody(usual.answer(FORGOTTEN))
    assert not of_nobody(usual.answer("user4"))
    assert filled(usual, FORGOTTEN) == {"as_of", "user", "forgotten"}


def test_a_stranger_becomes_the_user_he_is(usual: Result) -> None:
    states = usual.sessions()
    assert filled(usual, "stranger") == {"as_of", "user", "forgotten"}
    assert of_nobody(usual.answer("stranger"))
    assert "k1" in states["user2"].owned.items
    assert states["user2"].merged.keys() == {"stranger"}


def owned(result: Result, user: str) -> set[str]:
    return set(result.sessions()[user].owned.items)


def listed(result: Result, user: str) -> set[str]:
    answer = result.answer(user)
    assert answer is not None
    return {one.item for one in answer.items}


@pytest.mark.parametrize(("rule", "allowed"), [("exclude", False), ("allow", True)])
def test_the_rule_says_whether_items_come_again(run: Run, rule: str, allowed: bool) -> None:
    result = run(the_log(20), recommend={"repeats": rule})
    for user in ("user1", "user7"):
        assert bool(owned(result, user) & listed(result, user)) == allowed


def pass_by(repeats: bool) -> list[Event]:
    """Return clicks of two users, always of the same three items or of ever new ones."""
    events: list[Event] = the_items()
    for n in range(80):
        mine = CLUSTERS["kitchen" if n % 2 else "cycling"]
        place = (n // 2) % 3 if repeats else n // 2
        name = mine[place] if place < len(mine) else f"more{n}"
        events.append(interaction(name, NOON + n * DAY // 4, f"user{n % 2}"))
    return events


@pytest.mark.parametrize("repeats", [False, True])
def test_auto_learns_whether_users_come_back_to_items(run: Run, repeats: bool) -> None:
    result = run(pass_by(repeats), recommend={"repeats": "auto", "explore": 0})
    for user in ("user0", "user1"):
        assert bool(owned(result, user) & listed(result, user)) == repeats


@pytest.mark.parametrize("explore", [0, 1, 3])
def test_short_and_explored_lists_are_sound(run: Run, explore: int) -> None:
    new = [item(f"n{n}", NOON + 40 * MINUTE, title=f"New thing {n}") for n in range(3)]
    log = [*the_log(12)[:-1], *new, interaction("k1", NOON + 5 * 60 * MINUTE, "user1")]
    result = run(log, recommend={"length": 6, "explore": explore, "repeats": "allow"})
    answer = result.answer("user1")
    assert answer is not None
    items = [one.item for one in answer.items]
    assert len(items) == len(set(items)) == 6
    assert sum(name[0] == "n" for name in items) >= explore


def test_a_first_event_before_any_item_gives_an_empty_list(run: Run) -> None:
    result = run([search("tea", NOON, "early"), profile(NOON + 1, "early", age=3.0)])
    answer = result.answer("early")
    assert answer is not None
    assert answer.items == []
    default = result.answer(DEFAULT_USER)
    assert default is not None
    assert default.items == []


@pytest.mark.parametrize("sources", [["query"], ["repeat"], ["neighbours"], ["new"]])
def test_sources_that_know_nothing_leave_the_list_empty(run: Run, sources: list[str]) -> None:
    log = [*the_items(), profile(NOON, "quiet", age=3.0)]
    result = run(log, sources={"enabled": sources})
    answer = result.answer("quiet")
    assert answer is not None
    assert answer.items == []
    assert answer.sources == []


def test_bad_and_misplaced_records_do_not_stop_a_replay(run: Run) -> None:
    result = run([*the_log(4), interaction("*default*", NOON + DAY, "user1")])
    letters = result.replay.broker.records(result.replay.settings.kafka.deadletters)
    assert [dict(one.headers)["reason"] for one in letters] == [b"reserved"]


def test_parts_of_an_explanation_add_up_to_the_score(usual: Result) -> None:
    engine = usual.replay.personalize.engine
    catalogue = engine.world.catalogue
    signed = meaning_of(engine.settings)
    sessions = list(usual.sessions().values())
    asked = [ask(s, s.as_of.event_time, catalogue, signed) for s in sessions if s.events]
    checked = 0
    for chunk in engine.look(asked):
        lists, _ = engine.finish(chunk)
        there = lists.item >= 0
        # chances are proportional to the exponential of the score: ratios within a list tell
        scores = np.where(there, lists.part.sum(axis=2), 0)
        chances = np.log(np.where(there, lists.chance, 1))
        apart = (scores - chances) - (scores - chances)[:, :1]
        assert apart[there] == pytest.approx(np.zeros(int(there.sum())), abs=1e-3)
        assert not lists.part[~there].any()
        checked += int(there.sum())
        blocked = engine._blocked(chunk.retrieval.contexts)
        rows = np.nonzero(there)[0]
        assert not blocked.table()[rows, lists.item[there]].any()
    assert checked > 50


def test_a_log_of_nothing_is_replayed(run: Run) -> None:
    result = run([])
    assert [name for name in result.keys() if "recs" in name or "session" in name] == []


def test_what_is_excluded_by_its_type_is_not_listed_again(run: Run) -> None:
    result = run(
        the_log(), recommend={"repeats": "allow", "exclude_types": ["purchase"], "explore": 0}
    )
    bought = 0
    for name, session in result.sessions().items():
        history = zip(session.history.items, session.history.types, strict=True)
        mine = {item for item, kind in history if kind == "purchase"}
        if (answer := result.answer(name)) is not None:
            assert mine.isdisjoint(one.item for one in answer.items)
            bought += len(mine)
    assert bought > 10
