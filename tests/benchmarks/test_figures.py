"""What becomes of measured times: medians, ratios, percentiles, bytes."""

from __future__ import annotations

import doctest
import importlib

import pytest

from benchmarks import memory
from benchmarks.contender import Run
from benchmarks.freshness import Rate, figures
from benchmarks.throughput import learned, summary
from benchmarks.watch import Seen
from benchmarks.workload import Sizes, cut
from features.card import AsOf
from features.session import encode_session, new_session
from models.answer import Answer, Listed, encode_answer
from models.lessons import EARLY
from stream.errors import RilletError
from stream.events import Item
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain
from tests.builders import NOON, interaction


def runs(*cpu_us: float, lists: int = 50) -> list[Run]:
    return [Run(100, lists, 2 * us * 1e-4, us * 1e-4) for us in cpu_us]


def test_ratios_are_medians_of_the_rounds_ratios() -> None:
    disturbed = {"rillet": runs(200, 800, 210), "plain": runs(400, 1600, 400, lists=100)}
    found = summary(
        {**disturbed, "floor": runs(20, 80, 21), "neighbours": runs(20, 80, 21, lists=0)}
    )
    assert found["to_floor"] == {"cpu": 10.0, "cpu_with_neighbours": 11.0, "rate": 0.1}
    assert found["to_plain"]["cpu"] == 0.5
    assert found["rillet"]["cpu_us_per_event"] == 210
    assert found["rillet"]["lists_per_event"] == 0.5
    assert found["neighbours"]["cpu_us_per_event"] == 21


def test_percentiles_leave_the_warm_up_out_and_count_what_never_came() -> None:
    rate = Rate(per_s=10, warm_s=1.0, measured_s=1.0)
    delays = [9.0] * 10 + [0.01 * n for n in range(1, 10)] + [None]
    found = figures(Seen(delays, [0.002]), [0.0] * 20, 10.0, rate)
    assert (found["events"], found["unseen"]) == (10, 1)
    assert found["latency_ms"]["p50"] == 50.0
    assert found["latency_ms"]["max"] == 90.0
    assert found["look_every_ms"]["p50"] == 2.0


def test_nothing_seen_is_an_error() -> None:
    with pytest.raises(RilletError, match="no event had an effect"):
        figures(Seen([None], []), [0.0], 1.0, Rate(1, 0.0, 1.0))


def test_memory_is_told_by_kind_by_user_and_by_item(store: Store) -> None:
    keys = store.keys
    store.write_plain([Plain(keys.session(f"u{n}"), b"x" * 1000, 60_000) for n in range(10)])
    store.write_plain([Plain(keys.recs(f"u{n}"), b"x" * 4000, 60_000) for n in range(10)])
    store.write_plain([Plain(keys.item(f"i{n}"), b"x" * 500, 60_000) for n in range(5)])
    store.write_plain([Plain(keys.changes(), b"x", 60_000)])
    found = memory.measure(store)
    assert (found["users"], found["items"]) == (10, 5)
    assert 5000 < found["bytes_per_user"] < 7000
    assert 500 < found["bytes_per_item"] < 900
    assert set(found["kinds"]) == {"session", "recs", "item", "changes"}
    assert found["bytes"] == sum(kind["bytes"] for kind in found["kinds"].values())


def test_a_typical_user_has_twenty_events_and_a_full_list(store: Store) -> None:
    keys, items = store.keys, [Listed(f"i{n}", 0.1, []) for n in range(50)]
    writes = []
    for user, count, listed in (("u", 20, 50), ("short", 20, 49), ("new", 3, 50), ("old", 99, 50)):
        session = new_session(user)
        session.events = count
        writes.append(Plain(keys.session(user), encode_session(session), 60_000))
        answer = Answer(AsOf(0, 0, 0), user, items[:listed], "m", [], 1)
        writes.append(Plain(keys.recs(user), encode_answer(answer), 60_000))
    assert memory.typical(store) == {"users": 0}
    store.write_plain(writes)
    found = memory.typical(store)
    assert (found["users"], found["events"]) == (1, 20)
    assert found["bytes"] == found["session"] + found["recs"]


def test_how_much_is_learned_says_whether_the_early_phase_is_over() -> None:
    taken = [interaction("i", NOON + n, "u") for n in range(EARLY)]
    assert learned(taken[: EARLY // 2]) == 1.0
    assert learned(taken * 2) == 0.5
    assert learned(taken * 100) == Settings().blend.sample


def test_a_log_is_cut_into_items_warm_up_and_rounds() -> None:
    sizes = Sizes(users=60, items=400, days=3.0, warm=100, rounds=3, events=50)
    workload = cut(sizes)
    assert len(workload.items) == 400
    assert [len(part) for part in workload.rounds] == [50, 50, 50]
    deeds = [*workload.warm, *(event for part in workload.rounds for event in part)]
    assert not any(isinstance(event, Item) for event in deeds)
    assert [event.timestamp for event in deeds] == sorted(event.timestamp for event in deeds)
    with pytest.raises(RilletError, match="are needed"):
        cut(Sizes(users=5, items=400, days=1.0))


EXAMPLES = (
    *("compare", "freshness", "headline", "processes", "quality", "refs", "search", "watch"),
    "workload",
)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_in_docstrings(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"benchmarks.{name}"))
    assert found.attempted and not found.failed
