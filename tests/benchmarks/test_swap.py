"""The figures of the benchmark of swaps, from what was seen and what lies in Redis."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from typing import Any

from rich.console import Console

from benchmarks.swap.figures import Sight, account, figures
from benchmarks.swap.offers import Offer, planned
from benchmarks.swap.table import show
from benchmarks.swap.watch import ModelWatcher
from benchmarks.watch import Due, Seen
from features.session import encode_session
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain
from tests.builders import folded, interaction

TWO = {"sound": ["a", "b", "c"], "broken": ["x", "y", "z"]}


def a_sight() -> Sight:
    """Return a second of ten events; the model offered at 0.4 s holds up what comes then."""
    offer = Offer("sound", "m", 0.4, begun_s=0.4, took_s=0.1)
    delays: list[float | None] = [0.01] * 4 + [0.5, 0.4, None, 0.2] + [0.01] * 2
    memory = [(0.1 * n, 100.0 if n < 5 else 150.0) for n in range(10)]
    shown = [(0.05, ""), (0.9, "m"), (0.95, "m")]
    return Sight(
        [0.1 * n for n in range(10)], Seen(delays, [0.001]), [0.0] * 10, shown, memory, [offer]
    )


def test_an_offer_has_the_longest_wait_of_what_was_on_its_way() -> None:
    found = figures(a_sight())
    assert (found["events"], found["unseen"]) == (10, 1)
    assert found["latency_ms"]["max"] == 500
    assert found["lists"] == {"none": 1, "m": 2}
    (offer,) = found["offers"]
    assert offer["latency_ms"]["max"] == 500
    assert (offer["lists"], offer["first_list_after_s"]) == (2, 0.5)
    assert offer["memory_mib"] == {"before": 100, "peak": 150, "after": 0}
    before = replace(a_sight(), offers=[Offer("cut", "n", 0.1, 0.05)])
    assert figures(before)["before_ms"]["max"] == 10


def test_models_are_offered_evenly_sound_and_broken() -> None:
    offers = planned(TWO, 70.0)
    assert [one.due_s for one in offers] == [10, 20, 30, 40, 50, 60]
    assert [one.version for one in offers if one.what == "sound"] == TWO["sound"]
    assert {one.what for one in offers} == {"sound", "touched", "unusable", "cut"}


def test_what_is_lost_and_what_is_doubled_do_not_cancel_out(
    settings: Settings, store: Store
) -> None:
    class Here:
        pass

    place: Any = Here()
    place.store = store
    events = [interaction("i", user=user) for user in ("ann", "ann", "bob", "bob")]
    for user, many in (("ann", 3), ("bob", 1)):
        state = folded([interaction("i", user=user)] * many)
        state.user = user
        store.write_plain([Plain(store.keys.session(user), encode_session(state), 60_000)])
    found = account(place, events)
    assert (found["published"], found["folded"]) == (4, 4)
    assert (found["lost"], found["doubled"], found["types_off"]) == (1, 1, 2)
    assert found["lists_behind"] == 2  # there are none


def test_it_is_seen_by_which_model_a_list_was_made(settings: Settings, store: Store) -> None:
    raw = b'{"as_of":{"partition":0,"offset":1,"event_time":100},"user":"u","items":[%s],'
    raw = raw % (b" " * 2000) + b'"model":"blend-3+20261124T183000-ab12cd","sources":["new"]}'
    store.write_plain([Plain(store.keys.recs("u"), raw, 60_000)])
    watcher = ModelWatcher(settings.redis)
    seen = watcher.watch([Due("u", 0.0, 100)], time.monotonic(), patience_s=5)
    ((at, model),) = watcher.shown()
    watcher.close()
    assert seen.delays_s[0] is not None
    assert at >= seen.delays_s[0]
    assert model == "20261124T183000-ab12cd"


def test_the_table_is_no_wider_than_a_screen() -> None:
    account_ = {"published": 10, "users": 2, "lost": 0, "doubled": 0, "lists_behind": 0}
    found = figures(a_sight()) | {"account": account_, "load": {"rate": 200}, "verified": []}
    out = Console(file=io.StringIO(), width=80)
    show(found | {"personalize": {"models.swapped": 1, "models.refused": 0}}, out)
    assert isinstance(out.file, io.StringIO)
    text = out.file.getvalue()
    assert "0 lost, 0 doubled" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
