"""The whole engine over a small log: deterministic, honest, and what it writes is sound."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from consumers.replay import Replay, source_names
from features.contexts import ask, signed_weights
from features.session import decode_session
from features.text import Encoder, load_encoder
from models.answer import Answer, decode_answer
from models.engine import Chunk, Engine
from models.evaluation import Evaluation, _blend_scores
from models.lessons import Taken
from stream.events import Event
from stream.keys import DEFAULT_USER
from stream.settings import Settings
from stream.store import Store
from tests.builders import (
    DAY,
    MINUTE,
    NOON,
    forget,
    identify,
    interaction,
    item,
    profile,
    ranking,
    search,
    withdraw,
    write_log,
)

BATCH = 48
KITCHEN = ["tea cup", "coffee mug", "kettle", "plate", "bowl", "spoon", "fork", "saucer"]
CYCLING = ["bell", "pedal", "saddle", "chain", "helmet", "lamp", "pump", "tyre"]
CLUSTERS = {
    "kitchen": [f"k{n}" for n in range(len(KITCHEN))],
    "cycling": [f"c{n}" for n in range(len(CYCLING))],
}
WITHDRAWN, FORGOTTEN = "k7", "user3"

_prefixes = itertools.count()
Run = Callable[..., "Result"]


def the_items() -> list[Event]:
    named = [*zip(CLUSTERS["kitchen"], KITCHEN), *zip(CLUSTERS["cycling"], CYCLING)]  # noqa: B905
    return [
        item(
            name,
            NOON - DAY,
            title=f"{title.title()} for the {'kitchen' if name[0] == 'k' else 'bicycle'}",
            category="kitchen" if name[0] == "k" else "cycling",
            price=float(place + 1),
        )
        for place, (name, title) in enumerate(named)
    ]


def a_visit(user: str, at: int, cluster: str, chance: random.Random) -> list[Event]:
    """Return what a user does in one visit: a search, two lists with clicks, a purchase."""
    mine = CLUSTERS[cluster]
    events: list[Event] = [search(cluster, at, user)]
    for turn in range(2):
        at += MINUTE
        shown = chance.sample(mine, 3) + chance.sample(sum(CLUSTERS.values(), []), 2)
        name = f"{user}-{at}"
        events.append(ranking(dict.fromkeys(shown), at, user, id=name))
        events.append(interaction(shown[turn], at + 9000, user, ranking=name))
    events.append(interaction(chance.choice(mine), at + MINUTE, user, type="purchase"))
    return events


def the_log(visits: int = 60, seed: int = 5) -> list[Event]:
    chance = random.Random(seed)
    events: list[Event] = the_items()
    for n in range(visits):
        user, at = f"user{n % 10}", NOON + n * 5 * MINUTE
        cluster = "kitchen" if n % 10 < 5 else "cycling"
        events += a_visit(user, at, cluster, chance)
        if n == visits // 2:
            events.append(withdraw(WITHDRAWN, at + 3 * MINUTE))
            events.append(profile(at + 3 * MINUTE, "user1", age=7.0))
            events.append(interaction("k1", at + 3 * MINUTE, None, session="stranger"))
            events.append(identify("stranger", "user2", at + 4 * MINUTE))
    events = [e for e in events if getattr(e, "item", None) != WITHDRAWN or not _late(e, visits)]
    events.append(forget(FORGOTTEN, NOON + visits * 5 * MINUTE))
    return events


def _late(event: Event, visits: int) -> bool:
    return event.timestamp > NOON + (visits // 2) * 5 * MINUTE + 3 * MINUTE


class Result:
    """A finished replay: its consumers, and what lies in Redis."""

    def __init__(self, replay: Replay, store: Store) -> None:
        self.replay, self.store = replay, store

    def keys(self) -> dict[str, Any]:
        """Return every key without its prefix; the feed without the ids, which are times."""
        found: dict[str, Any] = {}
        client, head = self.store._redis, f"{self.store.settings.prefix}:"
        for key in client.keys(head + "*"):
            name = key.decode().removeprefix(head)
            if client.type(key) == b"stream":
                found[name] = [fields for _, fields in client.xrange(key)]
            else:
                found[name] = client.get(key)
        return found

    def kind(self, kind: str) -> dict[str, Any]:
        return {name: msgspec.json.decode(raw) for name, raw in self.store.scan(kind)}

    def answer(self, user: str) -> Answer | None:
        raw = self.store.get(self.store.keys.recs(user))
        return None if raw is None else decode_answer(raw)

    def answers(self) -> dict[str, Answer]:
        return {name: decode_answer(raw) for name, raw in self.store.scan("recs")}


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return load_encoder(Settings().encoder)


@pytest.fixture(scope="module")
def run(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    server = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    stores = [server]

    def start(
        events: Sequence[Event],
        *,
        partitions: int = 1,
        evaluation: Evaluation | None = None,
        **groups: Any,
    ) -> Result:
        redis = {"url": server.url, "prefix": f"replay{next(_prefixes)}"}
        options: dict[str, Any] = {"redis": redis, "batch": {"max_records": BATCH}} | groups
        settings = Settings.model_validate(options)
        path = write_log(tmp_path_factory.mktemp("log") / "events.jsonl", events)
        stores.append(Store(settings.redis))
        replay = Replay(settings, stores[-1], encoder, partitions=partitions, evaluation=evaluation)
        replay.run(path)
        return Result(replay, stores[-1])

    yield start
    for store in reversed(stores):
        store.close()


@pytest.fixture(scope="module")
def usual(run: Run) -> Result:
    return run(the_log())


def test_the_same_log_and_seed_give_the_same_bytes_of_every_key(run: Run, usual: Result) -> None:
    again = run(the_log()).keys()
    first = usual.keys()
    assert again.keys() == first.keys()
    assert [name for name in first if again[name] != first[name]] == []
    kinds = {name.split(":")[1] for name in first}
    assert kinds >= {"recs", "session", "item", "neighbours", "itemstate", "vector", "learner"}


def test_another_seed_learns_otherwise(run: Run, usual: Result) -> None:
    other = run(the_log(), blend={"seed": 1})
    assert other.kind("learner") != usual.kind("learner")
    assert other.kind("session") == usual.kind("session")


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
        if (answer := result.answer(f"user{n}")) is None:
            continue
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
    return {name for name, part in result.kind("session")[user].items() if part}


def test_a_forgotten_user_has_no_list_and_an_empty_state(usual: Result) -> None:
    assert usual.answer(FORGOTTEN) is None
    assert filled(usual, FORGOTTEN) == {"as_of", "user", "forgotten"}
    assert usual.answer("user4") is not None


def test_a_stranger_becomes_the_user_he_is(usual: Result) -> None:
    states = usual.kind("session")
    assert filled(usual, "stranger") == {"as_of", "user", "forgotten"}
    assert usual.answer("stranger") is None
    assert "k1" in states["user2"]["owned"]["items"]
    assert states["user2"]["merged"].keys() == {"stranger"}


def owned(result: Result, user: str) -> set[str]:
    return set(result.kind("session")[user]["owned"]["items"])


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


def test_bad_and_misplaced_records_do_not_stop_a_replay(run: Run, encoder: Encoder) -> None:
    result = run([*the_log(4), interaction("*default*", NOON + DAY, "user1")])
    letters = result.replay.broker.records(result.replay.settings.kafka.deadletters)
    assert [dict(one.headers)["reason"] for one in letters] == [b"reserved"]


class Watcher(Evaluation):
    """Keeps what every source, and the blend, said of an item before it was taken."""

    def __init__(self) -> None:
        super().__init__(0, source_names(Settings()))
        self.said: dict[tuple[int, bool], tuple[str, NDArray[np.float32]]] = {}
        self.ranks: dict[str, list[int]] = {}
        self.newest: list[tuple[bool, int, float]] = []

    def taken(self, engine: Engine, chunk: Chunk, taken: Sequence[Taken]) -> None:
        super().taken(engine, chunk, taken)
        blend, _ = _blend_scores(engine, chunk)
        for step in taken:
            row = step.question - chunk.first
            tables = np.stack([blend[row], *chunk.retrieval.scores[:, row]])
            name = engine.world.catalogue.ids[step.item]
            self.said[step.place[1], step.strict] = (name, tables)
            contexts = chunk.retrieval.contexts
            age = contexts.age[row][: contexts.length[row]]
            self.newest.append((step.strict, int(contexts.length[row]), float(age.min(initial=9))))


def watched(run: Run, log: Sequence[Event], **groups: Any) -> Watcher:
    watcher = Watcher()
    run(log, evaluation=watcher, **groups)
    return watcher


def test_nothing_is_known_of_an_item_before_it_is_taken_first(run: Run) -> None:
    log = the_log(20)
    log.insert(len(log) - 30, interaction("ghost", int(log[-31].timestamp), "user1"))
    watcher = watched(run, log)
    ghosts = [tables for name, tables in watcher.said.values() if name == "ghost"]
    assert len(ghosts) == 2
    for tables in ghosts:
        row = tables.shape[1] - 1
        assert tables[0, row] == -np.inf
        assert (tables[1:, row] == 0).all()
        assert (tables[0] > -np.inf).any()


def test_a_prediction_does_not_depend_on_what_it_predicts(run: Run) -> None:
    log, at = the_log(12)[:-1], NOON + 3 * 60 * MINUTE
    one, other = (watched(run, [*log, interaction(name, at, "user1")]) for name in ("k2", "c5"))
    assert one.said.keys() == other.said.keys()
    last = max(one.said)
    assert (one.said[last][0], other.said[last][0]) == ("k2", "c5")
    for place in one.said:
        assert np.array_equal(one.said[place][1], other.said[place][1])


def a_page(n: int) -> list[Event]:
    at = NOON + n * DAY
    return [interaction(f"k{place}", at, "user1", type="purchase") for place in range(4)]


def test_strict_predictions_hide_what_happened_at_the_same_time(run: Run) -> None:
    log = [*the_items(), *a_page(0), *a_page(1)]
    watcher = watched(run, log)
    strict = [(length, age) for hidden, length, age in watcher.newest if hidden]
    order = [(length, age) for hidden, length, age in watcher.newest if not hidden]
    assert [length for length, _ in strict] == [0] * 4 + [4] * 4
    assert [length for length, _ in order] == list(range(8))
    assert all(age == 1 for length, age in strict if length)
    assert sum(age == 0 for length, age in order if length) == 6


def test_an_evaluation_reports_every_source_of_both_kinds(run: Run) -> None:
    watcher = watched(run, the_log(30))
    report = watcher.report()
    names = ["blend", *source_names(Settings())]
    assert list(report["next"]["order"]) == names
    assert list(report["next"]["strict"]) == names
    assert {"shown", "blend"} <= set(report["rerank"])
    blend = report["next"]["order"]["blend"]
    assert blend["n"] == report["next"]["strict"]["blend"]["n"]
    assert 0 < blend["mrr"] <= blend["hr@10"] <= 1
    assert 0 < blend["coverage"] <= 1
    assert blend["n"] == sum(b["n"] for b in report["by_history"]["order"]["blend"].values())
    assert report["rerank"]["blend"]["n"] == report["rerank"]["shown"]["n"] > 0


def test_parts_of_an_explanation_add_up_to_the_log_odds(usual: Result) -> None:
    engine = usual.replay.personalize.engine
    catalogue = engine.world.catalogue
    signed = signed_weights(engine.settings.interactions)
    sessions = [decode_session(raw) for _, raw in sorted(usual.store.scan("session"))]
    asked = [ask(s, s.as_of.event_time, catalogue, signed) for s in sessions if s.events]
    checked = 0
    for chunk in engine.look(asked):
        lists = engine.finish(chunk)
        there = lists.item >= 0
        odds = np.log(lists.chance[there] / (1 - lists.chance[there]))
        assert lists.part[there].sum(axis=1) == pytest.approx(odds, abs=1e-4)
        assert not lists.part[~there].any()
        checked += int(there.sum())
        blocked = engine._blocked(chunk.retrieval.contexts)
        rows = np.nonzero(there)[0]
        assert not blocked[rows, lists.item[there]].any()
    assert checked > 50


def test_a_log_of_nothing_is_replayed(run: Run, tmp_path: Path) -> None:
    result = run([])
    assert [name for name in result.keys() if "recs" in name or "session" in name] == []
