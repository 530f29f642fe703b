"""What `rillet status` shows of who goes too fast, and of what has changed."""

from __future__ import annotations

import io
from typing import Any

import msgspec
from rich.console import Console

from rillet.cli.status import _screen
from rillet.state import State
from stream.metrics import Pulse


def pulse(busy: dict[str, int], counters: dict[str, int], pid: int = 1) -> Pulse:
    said: dict[str, Any] = {"name": "personalize", "host": "h", "pid": pid, "group": "g"}
    said |= {"started_at": 0, "at": 0, "events": 1, "events_per_s": 1.0, "lag": 0}
    return Pulse(**said, partitions=[], counters=counters, steps={}, busy=busy)


def state_of(*processes: Pulse) -> State:
    nothing: dict[str, Any] = {
        "deadletters": 0,
        "newest": None,
        "generated_at": None,
        "model": "",
        "blends": [],
    }
    return State(at=0, processes=list(processes), lag={}, kafka="", **nothing)


def shown(busy: dict[str, int], **counters: int) -> str:
    state = state_of(pulse(busy, counters, 1), pulse({}, counters, 2))
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(_screen(state))
    return console.export_text()


def test_who_goes_too_fast_is_named_whatever_he_is_called() -> None:
    assert "[bot]: 1,000,000 events in a minute" in shown({"[bot]": 1_000_000})


def test_nobody_is_named_where_nobody_is() -> None:
    assert "too fast" not in shown({})


def test_a_drift_of_any_process_is_told() -> None:
    assert "rose 2 times" in shown({}, drift=1)
    assert "rose" not in shown({}, drift=0)


def test_consumers_within_one_process_count_once() -> None:
    before, now = {"dead.future": 1, "drift": 1}, {"dead.future": 2, "drift": 3}
    one, other = pulse({}, now, 1), pulse({}, {"dead.future": 4, "events": 5}, 2)
    state = state_of(msgspec.structs.replace(one, at=1), pulse({}, before, 1), other)
    assert state.counters() == {"dead.future": 6, "drift": 3, "events": 5}
    assert state.set_aside() == {"future": 6}
    assert state_of().set_aside() == {}
