"""What `rillet status` shows of who goes too fast, and of what has changed."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from rillet.cli.status import _screen
from rillet.state import State
from stream.metrics import Pulse


def pulse(busy: dict[str, int], counters: dict[str, int]) -> Pulse:
    said: dict[str, Any] = {"name": "personalize", "host": "h", "pid": 1, "group": "g"}
    said |= {"started_at": 0, "at": 0, "events": 1, "events_per_s": 1.0, "lag": 0}
    return Pulse(**said, partitions=[], counters=counters, steps={}, busy=busy)


def shown(busy: dict[str, int], **counters: int) -> str:
    nothing: dict[str, Any] = {
        "deadletters": 0,
        "newest": None,
        "generated_at": None,
        "model": "",
        "blends": [],
    }
    state = State(
        at=0, processes=[pulse(busy, counters), pulse({}, counters)], lag={}, kafka="", **nothing
    )
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
